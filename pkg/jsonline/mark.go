package jsonline

import (
	"errors"
	"io"
)

const mark = "\ufeff"

// SkipMark reads r without the byte order mark that it may begin with, which is no part of JSON.
func SkipMark(r io.Reader) io.Reader { return &unmarked{r: r} }

type unmarked struct {
	r     io.Reader
	begun bool
	front []byte
	err   error // behind front
}

// Read implements io.Reader.
func (u *unmarked) Read(p []byte) (int, error) {
	if !u.begun {
		u.begun = true
		first := make([]byte, len(mark))
		n, err := io.ReadFull(u.r, first)
		if u.err = err; errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
			u.err = io.EOF
		}
		if u.front = first[:n]; string(u.front) == mark {
			u.front = nil
		}
	}
	n := copy(p, u.front)
	u.front = u.front[n:]
	switch {
	case n > 0 && (n == len(p) || u.err != nil):
		return n, nil //nolint:nilerr // the next call returns it
	case u.err != nil:
		return 0, u.err
	}
	more, err := u.r.Read(p[n:])
	return n + more, err
}
