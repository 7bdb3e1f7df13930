package devo

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/gzip"
)

// packer compresses rows. A member holds whole rows and ends with the batch at the latest, so that
// the bytes of a batch end where its last member does.
type packer struct {
	out  bytes.Buffer
	gzip *gzip.Writer
}

// member makes one member. It is valid until the next one.
func (p *packer) member(rows []byte) ([]byte, error) {
	p.out.Reset()
	if p.gzip == nil {
		var err error
		if p.gzip, err = gzip.NewWriterLevel(&p.out, gzip.BestSpeed); err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
	} else {
		p.gzip.Reset(&p.out)
	}
	if _, err := p.gzip.Write(rows); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := p.gzip.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return p.out.Bytes(), nil
}
