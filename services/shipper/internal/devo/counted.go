package devo

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// collect is how many bytes of ciphertext make a write worth a system call.
const collect = 256 << 10

// countedConn collects the records of TLS into large writes and counts them.
// Besides the sender, the reader may write: TLS 1.3 answers key updates.
type countedConn struct {
	net.Conn

	stall time.Duration                 // longest wait without progress
	acked func() (count int64, ok bool) // bytes that the other end's kernel has; not ok where that cannot be told

	heard   atomic.Int64 // bytes read
	closing atomic.Bool  // the last deadline is set; no write may move it

	mu     sync.Mutex
	buf    []byte
	count  int64 // bytes given so far
	direct bool  // during handshake and close, when the other side waits
}

// Read counts what the other side says.
func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.heard.Add(int64(n))
	return n, err
}

// Write keeps the bytes until there are many.
func (c *countedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count += int64(len(p))
	c.buf = append(c.buf, p...)
	if c.direct || len(c.buf) >= collect {
		return len(p), c.write()
	}
	return len(p), nil
}

// flush writes what is kept and tells how many bytes that makes so far.
func (c *countedConn) flush() (count int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.write()
}

// given is how many bytes were given so far, also those that are kept.
func (c *countedConn) given() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// setDirect lets every write through at once, or collects.
func (c *countedConn) setDirect(direct bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.direct = direct
}

// closeBy sets the deadline after which nothing is written or read any more.
func (c *countedConn) closeBy(deadline time.Time) error {
	c.closing.Store(true)
	return c.SetDeadline(deadline)
}

// write goes on for as long as the other side takes something: a slow link is
// not a dead one. The caller holds the lock.
func (c *countedConn) write() error {
	rest := c.buf
	c.buf = c.buf[:0]
	last, _ := c.acked()
	for len(rest) > 0 {
		if !c.closing.Load() && !c.direct {
			if err := c.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
				return err
			}
			if c.closing.Load() { // closeBy came in between
				return os.ErrDeadlineExceeded
			}
		}
		n, err := c.Conn.Write(rest)
		rest = rest[n:]
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded) || c.closing.Load():
			return err
		default:
			now, ok := c.acked()
			if n == 0 && (!ok || now == last) {
				return ErrStalled
			}
			last = now
		}
	}
	return nil
}
