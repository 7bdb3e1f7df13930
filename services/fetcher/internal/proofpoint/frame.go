package proofpoint

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/tapline/tapline/pkg/jsonline"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// stream is the part of the stream that is in memory: buf[pos:end] is unread.
type stream struct {
	r        io.Reader
	buf      []byte
	pos, end int
	err      error // of the stream, once everything before it is in buf
	max      int   // a value beyond this is cut into pieces
	nesting  []byte
}

const firstBuffer = 128 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, firstBuffer); return &b }}

func newStream(r io.Reader, limit int) stream {
	b, _ := buffers.Get().(*[]byte)
	return stream{r: r, buf: *b, max: limit}
}

func (s *stream) release() {
	if cap(s.buf) == firstBuffer {
		buffers.Put(&s.buf)
	}
}

// more reads on behind what is unread, and moves or grows the buffer for it.
func (s *stream) more() error {
	if s.err != nil {
		return s.err
	}
	if s.pos > 0 && s.end == len(s.buf) {
		s.end = copy(s.buf, s.buf[s.pos:s.end])
		s.pos = 0
	}
	if s.end == len(s.buf) {
		grown := make([]byte, 2*len(s.buf))
		copy(grown, s.buf[:s.end])
		s.buf = grown
	}
	for range 100 {
		n, err := s.r.Read(s.buf[s.end:])
		s.end += n
		s.err = err
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// token passes white space and looks at the next byte.
func (s *stream) token() (byte, error) {
	for {
		for ; s.pos < s.end; s.pos++ {
			switch c := s.buf[s.pos]; c {
			case ' ', '\t', '\n', '\r':
			default:
				return c, nil
			}
		}
		if err := s.more(); err != nil {
			return 0, err
		}
	}
}

func (s *stream) expect(want byte) error {
	c, err := s.token()
	if err != nil {
		return err
	}
	if c != want {
		return s.unexpected(fmt.Sprintf("%q", want))
	}
	s.pos++
	return nil
}

func (s *stream) unexpected(want string) error {
	return fmt.Errorf("%w: %q where %s should be", errMalformed, s.buf[s.pos:min(s.pos+20, s.end)], want)
}

// element is the text of one value.
type element struct {
	raw    []byte // valid until the next read; never more than the limit
	before int64  // bytes before raw, of a value that is too large
}

// frame reads one value by its brackets and strings alone: up to the comma or closing bracket that
// belongs to what is around it. A value beyond the limit is cut into pieces that are exactly as
// large as the limit, however it arrives. large, if set, gets each but the last.
func (s *stream) frame(large func(piece []byte) error) (element, error) {
	f := framer{nesting: s.nesting[:0]}
	var before int64
	at := s.pos // next byte to look at
	for {
		n, done, err := f.feed(s.buf[at:s.end])
		at += n
		if err != nil {
			return element{}, err
		}
		for at-s.pos > s.max {
			if large != nil {
				if err := large(s.buf[s.pos : s.pos+s.max]); err != nil {
					return element{}, err
				}
			}
			before += int64(s.max)
			s.pos += s.max
		}
		if done {
			break
		}
		offset := at - s.pos
		if err := s.more(); err != nil {
			return element{}, err
		}
		at = s.pos + offset
	}
	s.nesting = f.nesting
	raw := bytes.TrimRight(s.buf[s.pos:at], " \t\r\n")
	s.pos = at
	return element{raw, before}, nil
}

// framer finds the end of one value, piece by piece.
type framer struct {
	nesting []byte // closing brackets that are due, of the outermost bound.Depth
	deeper  int    // how many more are due: what they close is malformed, so it does not matter which they are
	text    bool   // inside a string
	escaped bool   // behind a backslash inside a string
}

// feed looks at the next piece. done: the value ends behind n bytes; else the
// whole piece belongs to it.
func (f *framer) feed(p []byte) (n int, done bool, err error) {
	for i := 0; i < len(p); i++ {
		if f.text {
			if i = f.inText(p, i); i < 0 {
				return len(p), false, nil
			}
			if len(f.nesting) == 0 {
				return i + 1, true, nil // a string that is the value itself
			}
			continue
		}
		switch c := p[i]; c {
		case '"':
			f.text = true
		case '{', '[':
			f.open(c + 2)
		case '}', ']':
			if len(f.nesting) == 0 {
				return i, true, nil // closes what is around the value
			}
			if done, err := f.closes(c); done || err != nil {
				return i + 1, done, err
			}
		case ',', ':':
			if len(f.nesting) == 0 {
				return i, true, nil
			}
		}
	}
	return len(p), false, nil
}

// open records that a closing bracket is due.
func (f *framer) open(closing byte) {
	if len(f.nesting) == bound.Depth {
		f.deeper++
		return
	}
	f.nesting = append(f.nesting, closing)
}

// closes takes a closing bracket. It reports whether the value ends with it.
func (f *framer) closes(c byte) (done bool, err error) {
	if f.deeper > 0 {
		f.deeper--
		return false, nil
	}
	top := len(f.nesting) - 1
	if f.nesting[top] != c {
		return false, fmt.Errorf("%w: %q closes a %q", errMalformed, c, f.nesting[top])
	}
	f.nesting = f.nesting[:top]
	return top == 0, nil
}

// inText goes to the quote that ends the string, or returns -1.
func (f *framer) inText(p []byte, i int) int {
	for i < len(p) {
		if f.escaped {
			f.escaped = false
			i++
			continue
		}
		if i += jsonline.Special(p[i:]); i == len(p) {
			return -1
		}
		switch p[i] {
		case '"':
			f.text = false
			return i
		case '\\':
			f.escaped = true
		}
		i++ // a control character is not valid, which is not for framing to judge
	}
	return -1
}
