package devo

import (
	"net"
	"sync"
	"sync/atomic"
)

// countedConn collects the records of TLS into large writes and counts what it is
// given. Besides the sender, the reader may write: TLS 1.3 answers key updates.
type countedConn struct {
	net.Conn

	mu     sync.Mutex
	buf    []byte
	count  int64 // bytes given so far
	direct bool  // during handshake and close, when the peer waits

	received int64        // of the goroutine that reads
	attended atomic.Int64 // bytes received that were dealt with
}

// Read takes what came before for processed: a reader that asks for more has no whole TLS record
// left.
func (c *countedConn) Read(p []byte) (int, error) {
	c.attended.Store(c.received)
	n, err := c.Conn.Read(p)
	c.received += int64(n)
	return n, err
}

const collect = 256 << 10

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

// flush writes what is kept and returns how many bytes that makes so far.
func (c *countedConn) flush() (count int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.write()
}

// given returns how many bytes it was given so far.
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

func (c *countedConn) write() error {
	if len(c.buf) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}
