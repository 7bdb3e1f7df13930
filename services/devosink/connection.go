package devosink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// connection is one client. It belongs to one goroutine.
type connection struct {
	sink   *Sink
	tcp    net.Conn
	conn   net.Conn // tcp, or TLS over it
	number int64
	read   int64    // decrypted bytes
	struck []*Fault // faults with a count that this connection has used up
}

var (
	errFault       = errors.New("injected fault")
	errCertificate = errors.New("client certificate is refused on purpose")
)

func (c *connection) serve(ctx context.Context) error {
	defer c.tcp.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.tcp.Close() })
	defer stop()
	if c.sink.strike(c, FaultNoHandshake, 0) != nil {
		select {
		case <-ctx.Done():
		case <-c.sink.onClear():
		}
		return errFault
	}
	subject, err := c.shakeHands(ctx)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	c.number = c.sink.store.connected()
	defer c.sink.store.disconnected()
	return c.events(ctx, subject)
}

// shakeHands finds out who the client is. A relay does not ask.
func (c *connection) shakeHands(ctx context.Context) (subject string, err error) {
	if c.sink.cfg.TLS == nil {
		c.conn = c.tcp
		return "", nil
	}
	conf := c.sink.cfg.TLS.Clone()
	if hit := c.sink.strike(c, FaultRefuseCertificate, 0); hit != nil {
		conf.VerifyConnection = func(tls.ConnectionState) error {
			if hit.Delay > 0 {
				c.wait(ctx, hit.Delay)
			}
			return errCertificate
		}
	}
	secure := tls.Server(c.tcp, conf)
	c.conn = secure
	handshake, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := secure.HandshakeContext(handshake); err != nil {
		return "", err
	}
	return secure.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

// events reads until the stream ends.
func (c *connection) events(ctx context.Context, subject string) error {
	defer c.sink.store.announce()
	frames := NewFrameReader(readerFunc(func(p []byte) (int, error) { return c.receive(ctx, p) }))
	for {
		frame, err := frames.Next()
		if err != nil {
			return c.end(ctx, err)
		}
		if c.sink.strike(c, FaultDiscard, 0) != nil {
			continue
		}
		for _, part := range c.fit(frame) {
			e := Event{Received: time.Now().UTC(), Connection: c.number, Subject: subject, Frame: part}
			c.put(&e)
			if c.sink.strike(c, FaultTwice, 0) != nil {
				c.put(&e)
			}
		}
	}
}

// fit is what becomes of an event that is too long, if any is.
func (c *connection) fit(f Frame) []Frame {
	if hit := c.sink.strike(c, FaultDrop, 0); hit != nil && int64(len(f.Raw)) > hit.Bytes {
		return nil
	}
	if hit := c.sink.strike(c, FaultCut, 0); hit != nil && int64(len(f.Raw)) > hit.Bytes {
		f.Raw, f.Partial = f.Raw[:hit.Bytes], true
	}
	hit := c.sink.strike(c, FaultSplit, 0)
	if hit == nil {
		return []Frame{f}
	}
	var parts []Frame
	for piece := range slices.Chunk(f.Raw, int(hit.Bytes)) {
		part := f
		part.Raw, part.Partial = piece, f.Partial || int64(len(f.Raw)) > hit.Bytes
		parts = append(parts, part)
	}
	return parts
}

func (c *connection) put(e *Event) {
	h := ParseHeader(e.Frame.Raw)
	e.Date, e.Message = h.Date, h.Message
	c.sink.store.add(e, &h)
	if c.sink.cfg.OnEvent != nil {
		e.Tag, e.Host = string(h.Tag), string(h.Host)
		c.sink.cfg.OnEvent(*e)
	}
}

// end answers the end of the client's stream, or does not.
func (c *connection) end(ctx context.Context, err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	if hit := c.sink.strike(c, FaultNoClose, 0); hit != nil {
		select {
		case <-ctx.Done():
		case <-c.sink.onClear():
		}
	}
	if c.sink.strike(c, FaultBareFIN, c.read) != nil {
		return c.tcp.Close()
	}
	return c.conn.Close()
}

type readerFunc func([]byte) (int, error)

// Read implements io.Reader.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// receive reads decrypted bytes, and fails where a fault says so.
func (c *connection) receive(ctx context.Context, p []byte) (int, error) {
	c.sink.store.announce() // what was read so far is stored
	if hit := c.sink.strike(c, FaultStall, c.read); hit != nil {
		c.wait(ctx, hit.Delay)
	}
	if hit := c.sink.strike(c, FaultSlow, c.read); hit != nil {
		c.wait(ctx, hit.Delay)
	}
	if c.ends(ctx) {
		return 0, errFault
	}
	idle := c.sink.cfg.Idle
	if hit := c.sink.strike(c, FaultIdle, 0); hit != nil {
		idle = hit.Delay
	}
	if idle > 0 {
		if err := c.tcp.SetReadDeadline(time.Now().Add(idle)); err != nil {
			return 0, err
		}
	}
	n, err := c.conn.Read(p[:c.sink.reach(c.read, len(p))])
	c.read += int64(n)
	return n, err
}

// ends ends the connection if a fault says so.
func (c *connection) ends(ctx context.Context) bool {
	if hit := c.sink.strike(c, FaultReset, c.read); hit != nil {
		if hit.Delay > 0 {
			c.wait(ctx, hit.Delay)
		}
		if tcp, ok := c.tcp.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // unread data and no linger: the client gets RST
		}
		_ = c.tcp.Close()
		return true
	}
	if c.sink.strike(c, FaultFIN, c.read) != nil {
		_ = c.conn.Close()
		return true
	}
	if c.sink.strike(c, FaultBareFIN, c.read) != nil {
		_ = c.tcp.Close()
		return true
	}
	return false
}

// wait pauses for a time, or without one until the faults are cleared.
func (c *connection) wait(ctx context.Context, d time.Duration) {
	var after <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-ctx.Done():
	case <-c.sink.onClear():
	case <-after:
	}
}
