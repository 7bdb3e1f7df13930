package devo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tapline/tapline/pkg/batch"
)

const (
	dialTimeout  = 10 * time.Second
	firstPoll    = 100 * time.Microsecond
	slowestPoll  = 10 * time.Millisecond
	closeTimeout = 10 * time.Second
)

// Dialer opens connections to Devo.
type Dialer struct {
	cfg  Config
	keys *credentials
}

// NewDialer checks the configuration and reads the certificates.
func NewDialer(c Config) (*Dialer, error) {
	keys, err := newCredentials(c)
	if err != nil {
		return nil, err
	}
	return &Dialer{c, keys}, nil
}

// Conn is one connection. Send is for one goroutine, Confirm for another.
type Conn struct {
	cfg    Config
	tcp    *net.TCPConn
	raw    syscall.RawConn
	cipher *countedConn
	tls    *tls.Conn
	framer framer
	buf    []byte
	opened time.Time

	keys       *credentials
	generation int // of the credentials

	lost chan struct{} // closed when the connection is finished
	once sync.Once
	err  error // why; set before lost is closed

	sending sync.Mutex  // held while rows are written, and when the stream is ended
	ended   atomic.Bool // by rotate, under sending; the reader wants to know, too

	mu    sync.Mutex
	marks []mark // one for each unconfirmed batch, in the order they were sent
}

// mark is where a batch ends in the stream.
type mark struct {
	count int64     // ciphertext bytes
	acked time.Time // when the other kernel was seen to have them; zero before
}

// Open connects and shakes hands.
func (d *Dialer) Open(ctx context.Context) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var dialer net.Dialer
	plain, err := dialer.DialContext(ctx, "tcp", d.cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to Devo: %w", err)
	}
	tcp, ok := plain.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("connect to Devo: %T is not TCP", plain), plain.Close()) //nolint:err113 // cannot happen
	}
	c := &Conn{
		cfg: d.cfg, tcp: tcp, cipher: &countedConn{Conn: tcp, direct: true}, framer: framer{host: d.cfg.Host()},
		opened: time.Now(), lost: make(chan struct{}), keys: d.keys,
	}
	conf, generation := d.keys.current()
	c.generation = generation
	c.tls = tls.Client(c.cipher, conf)
	if err := c.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to Devo at %s: %w", d.cfg.Address, err), tcp.Close())
	}
	go c.read()
	return c, nil
}

func (c *Conn) prepare(ctx context.Context) error {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return err
	}
	c.raw = raw
	if err := setUserTimeout(raw, int(c.cfg.StallTimeout.Milliseconds())); err != nil {
		return fmt.Errorf("set the time-out of the connection: %w", err)
	}
	if c.cfg.Confirm == ConfirmAcked {
		if _, err := acked(raw); err != nil {
			return err
		}
	}
	if err := c.tls.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.cipher.setDirect(false)
	return nil
}

// read waits for whatever the other side says, which is never data: its end, a
// reset, or an alert.
func (c *Conn) read() {
	buf := make([]byte, 512)
	for {
		_, err := c.tls.Read(buf)
		switch {
		case errors.Is(err, io.EOF) && c.ended.Load():
			c.fail(ErrRotated)
			return
		case errors.Is(err, io.EOF):
			c.fail(errEnded)
			return
		case err != nil:
			c.fail(fmt.Errorf("connection to Devo: %w", err))
			return
		}
	}
}

// fail finishes the connection. The first reason stays.
func (c *Conn) fail(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.lost)
	})
}

// Wait returns why the connection is finished, or nil when ctx has ended.
func (c *Conn) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.lost:
		return c.err
	}
}

// Old reports whether the connection should be replaced when it is convenient.
func (c *Conn) Old() bool {
	_, generation := c.keys.current()
	return generation != c.generation || time.Since(c.opened) > c.cfg.MaxAge
}

// Send writes the rows. They are under way when it returns nil.
func (c *Conn) Send(e *batch.Events) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.ended.Load() {
		// Whoever gets an error closes the connection, and that must not come before the other side's end.
		<-c.lost
		return c.err
	}
	for i := range e.Events {
		c.buf = c.framer.append(c.buf, e.Table, &e.Events[i])
		if len(c.buf) >= collect {
			if err := c.write(); err != nil {
				return err
			}
		}
	}
	if err := c.write(); err != nil {
		return err
	}
	count, err := c.cipher.flush()
	if err != nil {
		return c.broken(err)
	}
	c.mu.Lock()
	c.marks = append(c.marks, mark{count: count})
	c.mu.Unlock()
	return nil
}

func (c *Conn) write() error {
	_, err := c.tls.Write(c.buf)
	c.buf = c.buf[:0]
	if err != nil {
		return c.broken(err)
	}
	return nil
}

// broken prefers what the reader has learned over what a write says.
func (c *Conn) broken(err error) error {
	c.fail(fmt.Errorf("write to Devo: %w", err))
	<-c.lost
	return c.err
}

// Confirm waits until at least one more batch is confirmed and says how many
// are. Call it only while batches are unconfirmed.
func (c *Conn) Confirm(ctx context.Context) (int, error) {
	if c.cfg.Confirm == ConfirmRotate {
		return c.rotate(ctx)
	}
	wait := firstPoll
	progress, best := time.Now(), int64(-1)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		passed, err := acked(c.raw)
		if err != nil {
			c.fail(err)
			return 0, err
		}
		if n := c.confirmed(passed, time.Now()); n > 0 {
			return n, nil
		}
		if passed > best {
			best, progress = passed, time.Now()
		} else if time.Since(progress) > c.cfg.StallTimeout {
			c.fail(errStalled)
			return 0, errStalled
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-c.lost:
			return 0, c.err // a batch acknowledged meanwhile is sent twice, which is allowed
		case <-timer.C:
		}
		wait = min(2*wait, slowestPoll)
	}
}

// confirmed takes out of the list the marks that were passed long enough ago.
func (c *Conn) confirmed(passed int64, now time.Time) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.marks {
		m := &c.marks[i]
		if m.count > passed {
			break
		}
		if m.acked.IsZero() {
			m.acked = now
		}
		if now.Sub(m.acked) >= c.cfg.Settle {
			n++
		}
	}
	c.marks = c.marks[n:]
	return n
}

// Close ends the connection, whatever state it is in.
func (c *Conn) Close() {
	c.fail(errEnded)
	_ = c.tcp.SetDeadline(time.Now().Add(time.Second))
	c.cipher.setDirect(true) // after its last words crypto/tls allows no more writes
	_ = c.tls.CloseWrite()
	_ = c.tcp.Close()
}
