package shipper

import "time"

// AppendMarked is for tests of what a replay adds to a row.
var AppendMarked = appendMarked

type (
	// Opener is for tests that have a sink of their own.
	Opener = opener
	// Conn is a connection to one.
	Conn = conn
)

// SetSink has everything go to a sink of the test.
func (s *Shipper) SetSink(open Opener) { s.sink.open = open }

// SetDoubt has refused messages redelivered sooner, and blames their rows sooner.
func (s *Shipper) SetDoubt(pause, after time.Duration) {
	s.doubted.pause, s.doubted.after = pause, after
}

// Doubts is how many refused messages are remembered.
func (s *Shipper) Doubts() int {
	s.doubted.mu.Lock()
	defer s.doubted.mu.Unlock()
	return len(s.doubted.since)
}

// Slips is what a shipper knows of its place in the stream.
type Slips struct{ place place }

// Given is called with what the consumer gives for the first time, in order.
func (s *Slips) Given(sequence uint64) (doubtful bool) { return s.place.doubtful(sequence) }

// Confirmed is called with the confirmation of what is doubtful.
func (s *Slips) Confirmed(at time.Time) (lost bool) { return s.place.far(at) }
