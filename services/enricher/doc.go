// Package enricher makes rows for Devo tables out of records.
//
//	RAW ──▶ enricher ──▶ EVENTS
//	           └──▶ DEAD, LEDGER
//
// Consumes: batches of records from RAW. Emits: one batch of events for each of
// them into EVENTS. Owns: nothing; it can be replaced at any moment.
//
// A SIEM record becomes a row as it is: the same keys in the same order, the
// same text of every number, the same escapes. Added at the end are
// @devo_pulling_id, the time of the pull as Devo's own collector writes it, and
// @tapline_id, the same for every copy of the same content. What cannot stand in
// a syslog line is taken out: white space between tokens that is not a blank, and
// bytes that are not UTF-8, which become U+FFFD.
//
// Guarantees: a message of RAW is acknowledged only after its events are stored, and
// then noted in the ledger.
// The publication is named <RAW sequence>/<table>/<generation>, so a repetition
// within two hours is dropped by the bus; later it costs duplicates that carry
// the same @tapline_id.
//
// Fails how: a message that cannot be decoded goes to DEAD whole; a record that
// cannot be a row goes to DEAD alone, and its neighbours go on. When EVENTS is
// full or the bus is away, messages wait in RAW.
package enricher
