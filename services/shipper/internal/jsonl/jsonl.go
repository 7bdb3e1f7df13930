// Package jsonl writes rows as lines of JSON, to a file or a stream:
//
//	{"table":"...","time":"2026-03-11T08:00:00.000Z","event":{...}}
//
// The time is that of the pull, and the event's bytes are those that would go
// to Devo. A file is synced to disk before anything in it counts as delivered;
// a line that a crash has cut off is removed at the next start; a full file is
// renamed and a new one begun.
package jsonl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/config"
)

// FileConfig of a file.
type FileConfig struct {
	Path     string `env:"SINK_FILE_PATH" envDefault:"./data/events.jsonl" usage:"file that rows are written to"`
	MaxBytes int64  `env:"SINK_FILE_MAX_BYTES" envDefault:"1073741824" usage:"size at which the file is renamed and a new one begun; 0 for never"`
	Keep     int    `env:"SINK_FILE_KEEP" envDefault:"10" usage:"renamed files that are kept"`
}

// Validate checks the ranges.
func (c FileConfig) Validate() error {
	switch {
	case c.Path == "":
		return config.Invalid("SINK_FILE_PATH", "", "want the path of a file")
	case c.MaxBytes < 0:
		return config.Invalid("SINK_FILE_MAX_BYTES", fmt.Sprint(c.MaxBytes), "want 0 or more")
	case c.Keep < 1:
		return config.Invalid("SINK_FILE_KEEP", fmt.Sprint(c.Keep), "want 1 or more")
	}
	return nil
}

// target is what lines go to.
type target interface {
	io.Writer
	// settle makes everything written durable.
	settle() error
}

// Sink writes lines to one target, for any number of connections. It is safe
// for concurrent use.
type Sink struct {
	mu  sync.Mutex
	out target
	buf []byte
}

// NewStream writes to w; a row counts as delivered when w has taken it.
func NewStream(w io.Writer) *Sink { return &Sink{out: stream{w}} }

type stream struct{ io.Writer }

func (stream) settle() error { return nil }

// NewFile opens the file, or makes it and its directory.
func NewFile(c FileConfig) (*Sink, error) {
	f := &file{cfg: c}
	if err := f.open(); err != nil {
		return nil, &config.ProblemError{Variable: "SINK_FILE_PATH", Value: c.Path, Reason: "cannot be used: " + err.Error()}
	}
	return &Sink{out: f}, nil
}

// Close syncs and closes a file.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.out.(io.Closer); ok {
		return errors.Join(s.out.settle(), c.Close())
	}
	return nil
}

// Open gives a connection.
func (s *Sink) Open(context.Context) (*Conn, error) {
	return &Conn{sink: s}, nil
}

// Conn is one connection's view of the sink.
type Conn struct {
	sink *Sink
	mu   sync.Mutex
	sent int
}

// Send writes the rows.
func (c *Conn) Send(e *batch.Events) error {
	if err := c.sink.write(e); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	return nil
}

func (s *Sink) write(e *batch.Events) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf = s.buf[:0]
	for i := range e.Events {
		row := &e.Events[i]
		s.buf = append(append(append(s.buf, `{"table":"`...), e.Table...), `","time":"`...)
		s.buf = time.UnixMilli(row.PullMS).UTC().AppendFormat(s.buf, "2006-01-02T15:04:05.000Z")
		s.buf = append(append(append(s.buf, `","event":`...), row.JSON...), "}\n"...)
	}
	if _, err := s.out.Write(s.buf); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	return nil
}

// Confirm makes what was sent durable and says how many batches that are.
func (c *Conn) Confirm(context.Context) (int, error) {
	c.mu.Lock()
	n := c.sent
	c.sent = 0
	c.mu.Unlock()
	c.sink.mu.Lock()
	defer c.sink.mu.Unlock()
	if err := c.sink.out.settle(); err != nil {
		return 0, fmt.Errorf("sync rows: %w", err)
	}
	return n, nil
}

// Wait waits for ctx: a file is never lost.
func (c *Conn) Wait(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Close does nothing: the sink stays open.
func (c *Conn) Close() {}

// file is an append-only file that rotates.
type file struct {
	cfg  FileConfig
	f    *os.File
	size int64
}

// open opens the path, or leaves the file at hand as it is.
func (f *file) open() error {
	dir := filepath.Dir(f.cfg.Path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	next, err := os.OpenFile(f.cfg.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	size, err := mend(next)
	if err == nil {
		_, err = next.Seek(size, io.SeekStart)
	}
	if err = errors.Join(err, syncDir(dir)); err != nil {
		return errors.Join(err, next.Close())
	}
	f.f, f.size = next, size
	return nil
}

// syncDir makes the names in a directory durable; without it a power cut may
// take a whole file whose rows were synced.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the directory of a configured file
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// mend cuts off a last line without an end: it was not confirmed and comes again.
func mend(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	const step = 64 << 10
	buf := make([]byte, step)
	for end := info.Size(); end > 0; {
		start := max(0, end-step)
		n, err := f.ReadAt(buf[:end-start], start)
		if err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			whole := start + int64(i) + 1
			return whole, f.Truncate(whole)
		}
		end = start
	}
	return 0, f.Truncate(0)
}

// Write appends; a file that is full is renamed before.
func (f *file) Write(p []byte) (int, error) {
	if f.cfg.MaxBytes > 0 && f.size > 0 && f.size+int64(len(p)) > f.cfg.MaxBytes {
		if err := f.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := f.f.Write(p)
	if err != nil && n > 0 { // a full disk: leave no torn line behind
		err = errors.Join(err, f.f.Truncate(f.size))
		_, seek := f.f.Seek(f.size, io.SeekStart)
		return 0, errors.Join(err, seek)
	}
	f.size += int64(n)
	return n, err
}

func (f *file) settle() error { return f.f.Sync() }

// Close closes the file.
func (f *file) Close() error { return f.f.Close() }

// rotate renames path to path.1, path.1 to path.2, and so on. When it fails, the
// file at hand stays open, and the next write tries again from where this one stopped.
func (f *file) rotate() error {
	if err := f.f.Sync(); err != nil {
		return err
	}
	name := func(i int) string { return fmt.Sprintf("%s.%d", f.cfg.Path, i) }
	if _, err := os.Stat(f.cfg.Path); err == nil {
		for i := f.cfg.Keep - 1; i >= 1; i-- {
			if err := os.Rename(name(i), name(i+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		if err := os.Rename(f.cfg.Path, name(1)); err != nil {
			return err
		}
	}
	full := f.f
	if err := f.open(); err != nil {
		return err
	}
	return full.Close()
}
