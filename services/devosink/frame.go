package devosink

import (
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
)

// Kind says how a frame was delimited.
type Kind uint8

// The kinds of frames.
const (
	Line    Kind = iota // ended by a separator
	Counted             // had its length in front
)

// Frame is one event as it came over the wire, without its delimiter.
type Frame struct {
	Raw     []byte // valid until the next frame
	Kind    Kind
	Zipped  bool  // came inside a gzip member
	Partial bool  // the stream ended inside it
	Offset  int64 // of its first byte in the stream (or gzip member)
}

// FrameReader cuts a stream into frames.
type FrameReader struct {
	r      io.Reader
	buf    []byte
	pos    int
	end    int
	base   int64 // offset of buf[0] in the stream
	err    error
	member *FrameReader // reads the gzip member at hand
}

// maxFrame bounds the memory of one frame. What is longer is cut; the engine
// itself has no limit.
const maxFrame = 64 << 20

// gzipMagic is the first byte of a gzip member.
const gzipMagic = 0x1f

// NewFrameReader reads frames from r.
func NewFrameReader(r io.Reader) *FrameReader {
	return &FrameReader{r: r, buf: make([]byte, 256<<10)}
}

// Next gives the next frame that is not empty. The error is that of the
// stream, after everything that came before it.
func (f *FrameReader) Next() (Frame, error) {
	for {
		if f.member != nil {
			frame, err := f.member.Next()
			if err == nil {
				frame.Zipped = true
				return frame, nil
			}
			f.member = nil
			if !errors.Is(err, io.EOF) { // a broken member: nothing behind it can be framed
				f.err = err
				f.pos = f.end
			}
		}
		if !f.skip() {
			return Frame{}, f.err
		}
		if f.gzip() {
			continue
		}
		n, header, counted := f.counted()
		if counted {
			return f.take(header, n), nil
		}
		if frame := f.line(); len(frame.Raw) > 0 {
			return frame, nil
		}
	}
}

// skip passes separators and blanks; false means that nothing is left.
func (f *FrameReader) skip() bool {
	for {
		for ; f.pos < f.end; f.pos++ {
			if c := f.buf[f.pos]; c > ' ' || c == gzipMagic {
				return true
			}
		}
		if !f.more() {
			return false
		}
	}
}

// more reads on, making room first. false means that nothing more comes.
func (f *FrameReader) more() bool {
	if f.err != nil {
		return false
	}
	if f.pos == f.end {
		f.base += int64(f.pos)
		f.pos, f.end = 0, 0
	}
	if f.end == len(f.buf) {
		if f.pos > 0 {
			f.base += int64(f.pos)
			f.end = copy(f.buf, f.buf[f.pos:f.end])
			f.pos = 0
		} else {
			f.buf = append(f.buf, make([]byte, len(f.buf))...)
		}
	}
	for range 100 {
		n, err := f.r.Read(f.buf[f.end:])
		f.end += n
		f.err = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	f.err = io.ErrNoProgress
	return false
}

// need makes n bytes available from pos on, if the stream has them.
func (f *FrameReader) need(n int) bool {
	for f.end-f.pos < n {
		if !f.more() {
			return false
		}
	}
	return true
}

// gzip begins to read a member if one is next.
func (f *FrameReader) gzip() bool {
	if !f.need(2) || f.buf[f.pos] != gzipMagic || f.buf[f.pos+1] != 0x8b {
		return false
	}
	z, err := gzip.NewReader(f.bytes())
	if err != nil {
		f.err, f.pos = err, f.end
		return true
	}
	z.Multistream(false)
	f.member = &FrameReader{r: z, buf: make([]byte, 64<<10)}
	return true
}

// byteReader lets the decompressor take exactly the bytes of its member.
type byteReader struct{ f *FrameReader }

func (f *FrameReader) bytes() io.Reader { return byteReader{f} }

// ReadByte implements io.ByteReader.
func (b byteReader) ReadByte() (byte, error) {
	if !b.f.need(1) {
		return 0, b.f.err
	}
	b.f.pos++
	return b.f.buf[b.f.pos-1], nil
}

// Read implements io.Reader.
func (b byteReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if !b.f.need(1) {
		return 0, b.f.err
	}
	n := copy(p, b.f.buf[b.f.pos:b.f.end])
	b.f.pos += n
	return n, nil
}

// counted recognizes "DIGITS SP <".
func (f *FrameReader) counted() (length, header int, ok bool) {
	const maxDigits = 9
	for i := 0; i <= maxDigits; i++ {
		if !f.need(i + 1) {
			return 0, 0, false
		}
		switch c := f.buf[f.pos+i]; {
		case c >= '0' && c <= '9':
			length = length*10 + int(c-'0')
		case c == ' ' && i > 0 && length > 0 && length <= maxFrame && f.need(i+2) && f.buf[f.pos+i+1] == '<':
			return length, i + 1, true
		default:
			return 0, 0, false
		}
	}
	return 0, 0, false
}

// take reads a frame of a known length behind its header.
func (f *FrameReader) take(header, length int) Frame {
	f.pos += header
	whole := f.need(length)
	n := min(length, f.end-f.pos)
	frame := Frame{Raw: trim(f.buf[f.pos : f.pos+n]), Kind: Counted, Partial: !whole, Offset: f.base + int64(f.pos)}
	f.pos += n
	return frame
}

// line reads up to a separator, or to the end of the stream.
func (f *FrameReader) line() Frame {
	seen := 0
	for {
		if i := separator(f.buf[f.pos+seen : f.end]); i >= 0 {
			return f.cut(seen+i, false)
		}
		seen = f.end - f.pos
		if seen >= maxFrame {
			return f.cut(seen, true)
		}
		if !f.more() {
			return f.cut(f.end-f.pos, true)
		}
	}
}

func (f *FrameReader) cut(n int, partial bool) Frame {
	frame := Frame{Raw: trim(f.buf[f.pos : f.pos+n]), Partial: partial, Offset: f.base + int64(f.pos)}
	f.pos += n
	return frame
}

// separator finds the first \n, \r or \0.
func separator(b []byte) int {
	i := bytes.IndexByte(b, '\n')
	if i >= 0 {
		b = b[:i]
	}
	if j := bytes.IndexByte(b, '\r'); j >= 0 {
		i, b = j, b[:j]
	}
	if j := bytes.IndexByte(b, 0); j >= 0 {
		i = j
	}
	return i
}

func trim(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] <= ' ' {
		b = b[:len(b)-1]
	}
	return b
}
