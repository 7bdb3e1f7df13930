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
	keepAlive    = 15 * time.Second
)

// objection is how long the other side has to refuse a connection: with TLS 1.3 it judges our
// certificate after the handshake has ended for us.
const objection = 10 * time.Second

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
	tls    *tls.Conn     // nil for a relay
	stream io.ReadWriter // tls or cipher
	framer framer
	buf    []byte
	packer *packer // nil without compression
	opened time.Time

	admitted atomic.Bool // the other side has taken our certificate
	shaken   time.Time   // when the handshake had ended for us

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
	c, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	go c.read()
	return c, nil
}

func (d *Dialer) connect(ctx context.Context) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: 3}}
	plain, err := dialer.DialContext(ctx, "tcp", d.cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("connect to Devo: %w", err)
	}
	tcp, ok := plain.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("connect to Devo: %T is not TCP", plain), plain.Close()) //nolint:err113 // cannot happen
	}
	c := &Conn{
		cfg: d.cfg, tcp: tcp, cipher: &countedConn{Conn: tcp, direct: true}, framer: framer{host: d.cfg.Host(), layout: layouts[d.cfg.Date]},
		opened: time.Now(), lost: make(chan struct{}), keys: d.keys,
	}
	if d.cfg.Compress == CompressGzip {
		c.packer = &packer{}
	}
	if err := c.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to Devo at %s: %w", d.cfg.Address, err), tcp.Close())
	}
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
		if _, err := ask(raw); err != nil {
			return err
		}
	}
	defer c.cipher.setDirect(false)
	conf, generation := c.keys.current()
	c.generation = generation
	if conf == nil {
		c.stream = c.cipher
		c.admitted.Store(true)
		return nil
	}
	conf = conf.Clone()
	conf.ClientSessionCache = doorkeeper{&c.admitted}
	c.tls = tls.Client(c.cipher, conf)
	c.stream = c.tls
	if err := c.tls.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.shaken = time.Now()
	if c.tls.ConnectionState().Version < tls.VersionTLS13 { // the handshake ends after the other side has judged
		c.admitted.Store(true)
	}
	return nil
}

// doorkeeper notices the first session ticket: servers write it when they have taken the client's
// certificate. It keeps none, so that every connection is judged.
type doorkeeper struct{ admitted *atomic.Bool }

// Get implements tls.ClientSessionCache.
func (doorkeeper) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

// Put implements tls.ClientSessionCache.
func (d doorkeeper) Put(string, *tls.ClientSessionState) { d.admitted.Store(true) }

// read waits for whatever the other side says, which is never data: its end, a
// reset, or an alert.
func (c *Conn) read() {
	buf := make([]byte, 512)
	for {
		_, err := c.stream.Read(buf)
		switch {
		case errors.Is(err, io.EOF) && c.ended.Load():
			c.fail(c.farewell(buf))
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

// farewell waits for the end of TCP behind that of TLS: a reset in its place says that not everything was read.
func (c *Conn) farewell(buf []byte) error {
	for {
		_, err := c.tcp.Read(buf)
		switch {
		case errors.Is(err, io.EOF) && !heard(c.raw, c.cipher.given()):
			return errUnheard // it ended by itself, at the same time
		case errors.Is(err, io.EOF):
			return ErrRotated
		case err != nil:
			return fmt.Errorf("connection to Devo, after its last words: %w", err)
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

// Send writes the rows. They are under way when it returns nil. When the stream was ended
// to confirm what it carried, it waits for that: the connection is not finished before.
func (c *Conn) Send(e *batch.Events) error {
	err := c.send(e)
	if errors.Is(err, ErrRotated) {
		<-c.lost
		return c.err
	}
	return err
}

func (c *Conn) send(e *batch.Events) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.ended.Load() {
		return ErrRotated
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
	out := c.buf
	if c.packer != nil && len(out) > 0 {
		var err error
		if out, err = c.packer.member(out); err != nil {
			return c.broken(err)
		}
	}
	_, err := c.stream.Write(out)
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
		asked := time.Now()
		s, err := ask(c.raw)
		if err != nil {
			c.fail(err)
			return 0, err
		}
		if n := c.confirmed(s, asked); n > 0 {
			return n, nil
		}
		if s.acked > best {
			best, progress = s.acked, time.Now()
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

// said is what the kernel knows of a connection.
type said struct {
	acked    int64 // bytes of ours that the other kernel has
	received int64 // bytes of theirs, read or not
	closed   bool  // the other window: its buffer is full of what its program has not read
	open     bool  // neither side has ended it
}

// confirmed takes out of the list the marks that were passed long enough before the kernel was asked. While the other
// side's window is closed nothing gets older: its program does not read. A certificate may still be refused for a while
// if nothing shows that it was taken. And time counts only if nothing has come meanwhile that we have not looked at: a
// process that stood still would otherwise take its own silence for the other side's consent.
func (c *Conn) confirmed(s said, asked time.Time) (n int) {
	judged := c.admitted.Load() || asked.Sub(c.shaken) >= objection
	attended := s.open && s.received <= c.cipher.attended.Load()
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.marks {
		m := &c.marks[i]
		if m.count > s.acked {
			break
		}
		if m.acked.IsZero() || s.closed {
			m.acked = now
		}
		if judged && attended && asked.Sub(m.acked) >= c.cfg.Settle {
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
	_ = c.closeNotify()
	_ = c.tcp.Close()
}

// closeNotify says the last words of TLS.
func (c *Conn) closeNotify() error {
	c.cipher.setDirect(true) // after its last words crypto/tls allows no more writes
	if c.tls == nil {
		return nil
	}
	return c.tls.CloseWrite()
}
