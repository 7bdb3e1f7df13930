package devosink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// connection is one client. It belongs to one goroutine.
type connection struct {
	sink   *Sink
	tcp    net.Conn
	tls    *tls.Conn
	number int64
	read   int64    // decrypted bytes
	struck []*Fault // faults with a count that this connection has used up
}

var (
	errFault       = errors.New("injected fault")
	errCertificate = errors.New("client certificate is refused on purpose")
)

func (c *connection) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.tcp.Close() })
	defer stop()
	defer c.tcp.Close()
	if c.sink.strike(c, FaultNoHandshake, 0) != nil {
		select {
		case <-ctx.Done():
		case <-c.sink.onClear():
		}
		return errFault
	}
	conf := c.sink.cfg.TLS.Clone()
	if c.sink.strike(c, FaultRefuseCertificate, 0) != nil {
		conf.VerifyConnection = func(tls.ConnectionState) error { return errCertificate }
	}
	c.tls = tls.Server(c.tcp, conf)
	handshake, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.tls.HandshakeContext(handshake); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	c.number = c.sink.store.connected()
	return c.events(ctx)
}

// events reads until the stream ends.
func (c *connection) events(ctx context.Context) error {
	defer c.sink.store.announce()
	subject := c.tls.ConnectionState().PeerCertificates[0].Subject.CommonName
	frames := NewFrameReader(readerFunc(func(p []byte) (int, error) { return c.readTLS(ctx, p) }))
	for {
		frame, err := frames.Next()
		if err != nil {
			return c.end(ctx, err)
		}
		if c.sink.strike(c, FaultDiscard, 0) != nil {
			continue
		}
		if cut := c.sink.strike(c, FaultCut, 0); cut != nil && int64(len(frame.Raw)) > cut.Bytes {
			frame.Raw, frame.Partial = frame.Raw[:cut.Bytes], true
		}
		e := Event{Received: time.Now().UTC(), Connection: c.number, Subject: subject, Frame: frame}
		c.put(&e)
		if c.sink.strike(c, FaultTwice, 0) != nil {
			c.put(&e)
		}
	}
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
	return c.tls.Close()
}

type readerFunc func([]byte) (int, error)

// Read implements io.Reader.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// readTLS reads decrypted bytes, and fails where a fault says so.
func (c *connection) readTLS(ctx context.Context, p []byte) (int, error) {
	c.sink.store.announce() // what was read so far is stored
	if hit := c.sink.strike(c, FaultStall, c.read); hit != nil {
		c.wait(ctx, hit.Delay)
	}
	if hit := c.sink.strike(c, FaultSlow, c.read); hit != nil {
		c.wait(ctx, hit.Delay)
	}
	if c.sink.strike(c, FaultReset, c.read) != nil {
		if tcp, ok := c.tcp.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // unread data and no linger: the client gets RST
		}
		_ = c.tcp.Close()
		return 0, errFault
	}
	if c.sink.strike(c, FaultFIN, c.read) != nil {
		_ = c.tls.Close()
		return 0, errFault
	}
	if c.sink.cfg.Idle > 0 {
		if err := c.tcp.SetReadDeadline(time.Now().Add(c.sink.cfg.Idle)); err != nil {
			return 0, err
		}
	}
	n, err := c.tls.Read(p)
	c.read += int64(n)
	return n, err
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
