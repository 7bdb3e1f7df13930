// Package jsonl writes rows as lines of JSON, to a file or a stream:
//
//	{"table":"...","time":"2026-03-11T08:00:00.000Z","event":{...}}
//
// The time is that of the pull, and the event's bytes are those that would go to Devo. A file is
// synced to disk before anything in it counts as delivered, and when that fails, what was not
// synced is taken out and written again; a line that a crash has cut off is removed at the next
// start; a file that is full, or of an earlier period, is renamed and a new one begun. One process
// writes a file at a time: another is refused.
package jsonl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/config"
)

// FileConfig of a file.
type FileConfig struct {
	Path     string        `env:"SINK_FILE_PATH" envDefault:"./data/events.jsonl" usage:"file that rows are written to"`
	MaxBytes int64         `env:"SINK_FILE_MAX_BYTES" envDefault:"1073741824" usage:"size at which the file is renamed and a new one begun; 0 for never"`
	Period   time.Duration `env:"SINK_FILE_PERIOD" envDefault:"0s" usage:"also begin a new file at each multiple of this since midnight UTC, such as 24h; 0s for never"`
	Keep     int           `env:"SINK_FILE_KEEP" envDefault:"10" usage:"renamed files that are kept"`
}

// Validate checks the ranges.
func (c FileConfig) Validate() error {
	switch {
	case c.Path == "":
		return config.Invalid("SINK_FILE_PATH", "", "want the path of a file")
	case c.MaxBytes < 0:
		return config.Invalid("SINK_FILE_MAX_BYTES", fmt.Sprint(c.MaxBytes), "want 0 or more")
	case c.Period < 0:
		return config.Invalid("SINK_FILE_PERIOD", c.Period.String(), "want 0s or more")
	case c.Keep < 1:
		return config.Invalid("SINK_FILE_KEEP", fmt.Sprint(c.Keep), "want 1 or more")
	}
	return nil
}

// target is what lines go to.
type target interface {
	io.Writer
	// settle makes everything written durable. If it fails with errNotDurable, what was written
	// since the last time is gone.
	settle() error
}

// Sink writes lines to one target, for any number of connections. It is safe
// for concurrent use.
type Sink struct {
	mu    sync.Mutex
	out   target
	buf   []byte
	epoch int // grows when rows were lost that are not confirmed
}

// errNotDurable says that rows that were written and not confirmed are gone.
var errNotDurable = errors.New("rows did not reach the disk and are rewritten")

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
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Conn{sink: s, epoch: s.epoch}, nil
}

// noted remembers that rows of all connections are gone. The caller holds the lock.
func (s *Sink) noted(err error) error {
	if errors.Is(err, errNotDurable) {
		s.epoch++
	}
	return err
}

// Conn is one connection's view of the sink.
type Conn struct {
	sink  *Sink
	epoch int // of the sink when the connection was opened
	mu    sync.Mutex
	sent  int
}

// Send writes the rows.
func (c *Conn) Send(e *batch.Events) error {
	if err := c.sink.write(e, c.epoch); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	return nil
}

func (s *Sink) write(e *batch.Events, epoch int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if epoch != s.epoch {
		return errNotDurable
	}
	s.buf = s.buf[:0]
	for i := range e.Events {
		row := &e.Events[i]
		s.buf = append(append(append(s.buf, `{"table":"`...), e.Table...), `","time":"`...)
		s.buf = time.UnixMilli(row.PullMS).UTC().AppendFormat(s.buf, "2006-01-02T15:04:05.000Z")
		s.buf = append(append(append(s.buf, `","event":`...), row.JSON...), "}\n"...)
	}
	if _, err := s.out.Write(s.buf); err != nil {
		return fmt.Errorf("write rows: %w", s.noted(err))
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
	if c.epoch != c.sink.epoch {
		return 0, errNotDurable
	}
	if err := c.sink.out.settle(); err != nil {
		return 0, fmt.Errorf("sync rows: %w", c.sink.noted(err))
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
