package proofpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// body reads a response: decompressed, counted, and telling a watchdog whenever
// something arrives.
type body struct {
	source io.Reader
	gzip   *gzip.Reader
	touch  func()
	read   int64
	head   []byte // its beginning, for an alarm
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
	// What is not gzip in spite of its header is read as it is: a proxy may have decompressed it, or made it up.
	magic := make([]byte, 2)
	n, err := io.ReadFull(arrival{b.source, b.touch}, magic)
	if n == 0 && err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	b.source = io.MultiReader(bytes.NewReader(magic[:n]), b.source)
	if string(magic[:n]) != "\x1f\x8b" {
		return nil
	}
	arriving := arrival{b.source, b.touch}
	if z, ok := gzips.Get().(*gzip.Reader); ok {
		b.gzip = z
		return z.Reset(arriving)
	}
	b.gzip, err = gzip.NewReader(arriving)
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
	if b.gzip != nil {
		n, err = b.gzip.Read(p)
	} else {
		n, err = arrival{b.source, b.touch}.Read(p)
	}
	b.read += int64(n)
	if missing := maxWords - len(b.head); missing > 0 {
		b.head = append(b.head, p[:min(n, missing)]...)
	}
	return n, err
}

type arrival struct {
	io.Reader
	touch func()
}

func (a arrival) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	a.touch()
	return n, err
}
