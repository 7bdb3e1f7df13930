package shipper

// AppendMarked is for tests of what a replay adds to a row.
var AppendMarked = appendMarked

type (
	// Opener is for tests that have a sink of their own.
	Opener = opener
	// Conn is a connection to one.
	Conn = conn
)

// SetSink has everything go to a sink of the test.
func (s *Shipper) SetSink(open Opener) { s.open = open }
