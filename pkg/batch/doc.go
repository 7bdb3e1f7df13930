// Package batch reads and writes the two messages that carry data, RawBatch and
// EventBatch, without copying what is inside them.
//
// The generated code would allocate one struct and one copy for each record;
// here the records of a decoded batch alias the message they came from, and a
// batch under construction is one growing buffer. The wire format is the one of
// proto/tapline/v1; a test compares both ways with the generated code, and
// unknown fields are skipped, so newer writers stay readable.
package batch
