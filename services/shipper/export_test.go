package shipper

import (
	"context"
	"sync/atomic"
	"time"
)

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

// CountOpen counts the connections that workers hold: from their opening until the worker, too, has
// let go of them.
func (s *Shipper) CountOpen(n *atomic.Int32) {
	open := s.sink.open
	s.sink.open = func(ctx context.Context) (conn, error) {
		c, err := open(ctx)
		if err != nil {
			return nil, err
		}
		n.Add(1)
		return &counted{conn: c, held: n}, nil
	}
}

// counted is a connection whose end is counted. A session closes it twice: at once when it ends,
// and after all its goroutines have. It hides how old the connection is.
type counted struct {
	conn

	held   *atomic.Int32
	closes atomic.Int32
}

func (c *counted) Close() {
	c.conn.Close()
	if c.closes.Add(1) == 2 {
		c.held.Add(-1)
	}
}

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
