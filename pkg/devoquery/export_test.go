package devoquery

import "io"

// Reader reads one answer, for the fuzz target.
func Reader(r io.Reader) func(visit func(row []byte) error) error {
	return func(visit func(row []byte) error) error { return read(r, visit) }
}
