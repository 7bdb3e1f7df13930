package devoquery

import (
	"io"
	"time"
)

// Reader reads one answer, for the fuzz target.
func Reader(r io.Reader) func(visit func(row []byte) error) error {
	return func(visit func(row []byte) error) error { return read(r, visit) }
}

// Within bounds a query in time.
func (c *Client) Within(most time.Duration) { c.most = most }
