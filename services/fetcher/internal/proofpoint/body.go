package proofpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"

	"github.com/tapline/tapline/pkg/jsonline"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// body reads a response: decompressed, counted and bounded, and telling a watchdog whenever enough
// has arrived.
type body struct {
	source  arrival
	gzip    *gzip.Reader
	text    io.Reader // what is decompressed
	most    int64     // bytes, arrived or decompressed
	read    int64
	arrived *int64
	head    []byte // its beginning, for an alarm
}

func newBody(source io.Reader, most int64, progress func()) *body {
	b := &body{most: most, arrived: new(int64)}
	b.source = arrival{source, most, b.arrived, progress}
	return b
}

var gzips sync.Pool

// decompress reads the stream as its Content-Encoding says.
func (b *body) decompress(encoding string) error {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
	default:
		return fmt.Errorf("%w: Content-Encoding %.40q", errOdd, encoding)
	}
	// What is not gzip in spite of its header is read as it is: a proxy may have decompressed it,
	// or made it up.
	magic := make([]byte, 2)
	n, err := io.ReadFull(b.source, magic)
	if n == 0 && err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	b.source.Reader = io.MultiReader(bytes.NewReader(magic[:n]), b.source.Reader)
	*b.arrived = 0
	if string(magic[:n]) != "\x1f\x8b" {
		return nil
	}
	if z, ok := gzips.Get().(*gzip.Reader); ok {
		b.gzip = z
		return z.Reset(b.source)
	}
	b.gzip, err = gzip.NewReader(b.source)
	return err
}

// release gives the decompressor back.
func (b *body) release() {
	if b.gzip != nil {
		gzips.Put(b.gzip)
		b.gzip = nil
	}
}

// Read reads decompressed bytes.
func (b *body) Read(p []byte) (n int, err error) {
	if b.text == nil {
		b.text = jsonline.SkipMark(b.source)
		if b.gzip != nil {
			b.text = jsonline.SkipMark(b.gzip)
		}
	}
	n, err = b.text.Read(p)
	b.read += int64(n)
	switch most := bound.Unpacked + bound.Expansion*(*b.arrived); {
	case b.read > b.most:
		return 0, fmt.Errorf("%w: more than %d bytes", errTooMuch, b.most)
	case b.gzip != nil && b.read > most:
		return 0, fmt.Errorf("%w: %d bytes were decompressed to more than %d", errTooMuch, *b.arrived, most)
	}
	if missing := maxWords - len(b.head); missing > 0 {
		b.head = append(b.head, p[:min(n, missing)]...)
	}
	return n, err
}

// arrival is what comes over the wire.
type arrival struct {
	io.Reader
	most     int64
	arrived  *int64
	progress func() // called for the first byte, and for each bound.Progress bytes
}

// Read implements io.Reader.
func (a arrival) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	before := *a.arrived
	*a.arrived += int64(n)
	if n > 0 && (before == 0 || *a.arrived/bound.Progress > before/bound.Progress) {
		a.progress()
	}
	if *a.arrived > a.most { // what it is decompressed to may be nothing
		return 0, fmt.Errorf("%w: more than %d bytes", errTooMuch, a.most)
	}
	return n, err
}
