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

// objection is how long the peer has to refuse a connection: with TLS 1.3 it judges our certificate
// after the handshake has ended for us.
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
	ask    func() (said, error) // the kernel
	cipher *countedConn
	tls    *tls.Conn     // nil for a relay
	stream io.ReadWriter // tls or cipher
	framer framer
	buf    []byte
	packer *packer // nil without compression
	opened time.Time

	admitted atomic.Bool // the peer has taken our certificate
	shaken   time.Time   // when the handshake had ended for us

	keys       *credentials
	generation int // of the credentials

	lost chan struct{} // closed when the connection is finished
	once sync.Once
	err  error // why; set before lost is closed

	sending sync.Mutex  // held while rows are written, and when the stream is ended
	ended   atomic.Bool // by rotate, under sending; the reader wants to know, too

	proof proof
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
		return nil, errors.Join(fmt.Errorf("connect to Devo: %T is not TCP", plain), plain.Close())
	}
	c := &Conn{
		cfg: d.cfg, tcp: tcp, cipher: &countedConn{Conn: tcp, direct: true}, framer: framer{host: d.cfg.Host(), layout: layouts[d.cfg.Date]},
		opened: time.Now(), lost: make(chan struct{}), keys: d.keys,
		proof: proof{settle: d.cfg.Settle},
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
	c.ask = func() (said, error) { return ask(raw) }
	if err := setUserTimeout(raw, int(c.cfg.StallTimeout.Milliseconds())); err != nil {
		return fmt.Errorf("set the time-out of the connection: %w", err)
	}
	if c.cfg.Confirm == ConfirmAcked {
		if _, err := c.ask(); err != nil {
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
	if c.tls.ConnectionState().Version < tls.VersionTLS13 { // the handshake ends after the peer has judged
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

// read waits for whatever the peer says, which is never data: its end, a reset, or an alert.
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

// farewell waits for the end of TCP behind that of TLS: a reset in its place says that not
// everything was read.
func (c *Conn) farewell(buf []byte) error {
	for {
		_, err := c.tcp.Read(buf)
		if err != nil {
			return c.parted(err)
		}
	}
}

// parted judges the end of a connection that we ended before.
func (c *Conn) parted(end error) error {
	s, err := c.ask()
	switch {
	case !errors.Is(end, io.EOF):
		return fmt.Errorf("connection to Devo, after its last words: %w", end)
	case errors.Is(err, errNoProof):
		return ErrRotated // the peer's word is all there is
	case err != nil || s.acked < c.cipher.given():
		return errUnheard // it ended by itself, at the same time
	}
	return ErrRotated
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
	c.proof.sent(count)
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
	progress := progress{limit: c.cfg.StallTimeout}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		asked := time.Now()
		s, err := c.ask()
		if err != nil {
			c.fail(err)
			return 0, err
		}
		if n := c.confirmed(s, asked); n > 0 {
			return n, nil
		}
		if progress.stalled(s.acked, time.Now()) {
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

// confirmed counts the batches that are confirmed by what the kernel said when it was asked.
func (c *Conn) confirmed(s said, asked time.Time) int {
	return c.proof.confirmed(s, view{
		asked: asked, now: time.Now(), attended: c.cipher.attended.Load(), judged: c.admitted.Load() || asked.Sub(c.shaken) >= objection,
	})
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
