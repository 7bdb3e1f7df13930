package devo

import (
	"context"
	"errors"
	"time"
)

// rotate collects for a while, then ends our half of the stream and waits until the peer has ended
// its own. It reads to the end first, so everything the connection carried is confirmed. The
// connection is finished afterwards either way.
func (c *Conn) rotate(ctx context.Context) (int, error) {
	timer := time.NewTimer(c.cfg.RotateAfter)
	defer timer.Stop()
	select {
	case <-c.lost:
		return 0, c.err
	case <-ctx.Done(): // a shutdown confirms what it can
	case <-timer.C:
	}
	n, err := c.endStream()
	if err != nil {
		c.fail(err) // unless the peer has ended already, and the session closed the connection
	}
	<-c.lost
	if !errors.Is(c.err, ErrRotated) {
		return 0, c.err
	}
	return n, ErrRotated
}

// endStream ends our half after the batches sent so far and counts them.
func (c *Conn) endStream() (int, error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.ended.Store(true)
	if err := errors.Join(c.tcp.SetDeadline(time.Now().Add(closeTimeout)), c.closeNotify()); err != nil {
		return 0, err
	}
	return c.proof.waiting(), c.tcp.CloseWrite()
}
