// Package spool holds the batches of one job between the end of the HTTP response and their atomic
// publication: in memory while they are small, in a file beyond that. A response that breaks off is
// forgotten by closing the spool; memory does not grow with the response. The file is encrypted
// with a key of its own that never leaves memory, so that what the disk still has of it can be read
// by no process, this one excepted.
package spool

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
)

// Spool is a list of batches, written once and then read. It is for one
// goroutine.
type Spool struct {
	dir    string
	limit  int
	items  []item
	memory int // bytes of batches in memory
	file   *os.File
	out    *bufio.Writer
	size   int64 // of the file
	block  cipher.Block
}

// stream encrypts or decrypts the file from its beginning. A key is used for one file, so the
// counter begins at zero.
func (s *Spool) stream() cipher.Stream {
	return cipher.NewCTR(s.block, make([]byte, aes.BlockSize)) //nolint:gosec // the key is random and of this file alone
}

// sealed encrypts what is written to a file.
type sealed struct {
	file   *os.File
	stream cipher.Stream
	buf    [128 << 10]byte
}

// Write implements io.Writer, which may not change what it gets.
func (w *sealed) Write(p []byte) (written int, err error) {
	for len(p) > 0 && err == nil {
		chunk := p[:min(len(p), len(w.buf))]
		w.stream.XORKeyStream(w.buf[:], chunk)
		var n int
		n, err = w.file.Write(w.buf[:len(chunk)])
		written, p = written+n, p[len(chunk):]
	}
	return written, err
}

type item struct {
	label  string
	length int
	// data is the batch, nil if it is in the file. Each has memory of its own: one slice that grows
	// to a few megabytes leaves several times as much behind on its way.
	data []byte
}

// Open makes an empty spool. Batches of more than limit bytes in total go to
// an anonymous file in dir; an empty dir means the system's temporary directory.
func Open(dir string, limit int) *Spool { return &Spool{dir: dir, limit: limit} }

// Add appends a batch; the data is copied.
func (s *Spool) Add(label string, data []byte) error {
	it := item{label: label, length: len(data)}
	if s.file == nil && s.memory+len(data) <= s.limit {
		it.data = append(make([]byte, 0, len(data)), data...) // not nil, even of nothing
		s.memory += len(data)
	} else if err := s.write(data); err != nil {
		return fmt.Errorf("spool a batch: %w", err)
	}
	s.items = append(s.items, it)
	return nil
}

func (s *Spool) write(data []byte) error {
	if s.file == nil {
		if s.dir != "" {
			if err := os.MkdirAll(s.dir, 0o700); err != nil {
				return err
			}
		}
		file, err := os.CreateTemp(s.dir, "tapline-spool-")
		if err != nil {
			return err
		}
		// Without a name it vanishes with the process, however that ends.
		if err := os.Remove(file.Name()); err != nil {
			return errors.Join(err, file.Close())
		}
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		if s.block, err = aes.NewCipher(key); err != nil {
			return errors.Join(err, file.Close())
		}
		s.file, s.out = file, bufio.NewWriterSize(&sealed{file: file, stream: s.stream()}, 256<<10)
	}
	n, err := s.out.Write(data)
	s.size += int64(n)
	return err
}

// Len is the number of batches.
func (s *Spool) Len() int { return len(s.items) }

// Each reads the batches in order, as often as wanted, until yield says stop.
// The data is valid during the call.
func (s *Spool) Each(yield func(label string, data []byte) bool) error {
	var disk *bufio.Reader
	if s.file != nil {
		if err := s.out.Flush(); err != nil {
			return fmt.Errorf("write the spool: %w", err)
		}
		disk = bufio.NewReaderSize(cipher.StreamReader{S: s.stream(), R: io.NewSectionReader(s.file, 0, s.size)}, 256<<10)
	}
	var buf []byte
	for _, it := range s.items {
		if it.data != nil {
			if !yield(it.label, it.data) {
				return nil
			}
			continue
		}
		if cap(buf) < it.length {
			buf = make([]byte, it.length)
		}
		if _, err := io.ReadFull(disk, buf[:it.length]); err != nil {
			return fmt.Errorf("read the spool: %w", err)
		}
		if !yield(it.label, buf[:it.length]) {
			return nil
		}
	}
	return nil
}

// Close forgets everything.
func (s *Spool) Close() error {
	if s.file == nil {
		return nil
	}
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("close the spool: %w", err)
	}
	return nil
}
