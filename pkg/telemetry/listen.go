package telemetry

import (
	"container/list"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of every HTTP server of Tapline. A client that is slow, silent or long-winded loses its
// connection.
const (
	// HeaderTimeout bounds how long the header of a request takes.
	HeaderTimeout = 5 * time.Second
	// ReadTimeout bounds how long a whole request takes, its body included.
	ReadTimeout = 30 * time.Second
	// IdleTimeout bounds how long a connection stays without a request.
	IdleTimeout = 60 * time.Second
	// MaxHeaderBytes bounds the header of a request.
	MaxHeaderBytes = 16 << 10
	// MaxConnections bounds how many connections are open at a time.
	MaxConnections = 256
)

// NewServer is an HTTP server with limits on what a client sends. Its answers may take as long as
// they do.
func NewServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: HeaderTimeout, ReadTimeout: ReadTimeout, IdleTimeout: IdleTimeout, MaxHeaderBytes: MaxHeaderBytes,
	}
}

// Bounded is a listener with at most max open connections: the oldest one makes room for the
// newest. So a probe is answered even while one client holds all connections.
func Bounded(ln net.Listener, max int) net.Listener {
	return &bounded{Listener: ln, max: max, open: list.New()}
}

type bounded struct {
	net.Listener

	max  int
	mu   sync.Mutex
	open *list.List // of *boundedConn, the oldest first
}

func (b *bounded) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &boundedConn{Conn: conn, in: b}
	b.mu.Lock()
	c.place = b.open.PushBack(c)
	var oldest *boundedConn
	if b.open.Len() > b.max {
		oldest, _ = b.open.Remove(b.open.Front()).(*boundedConn)
	}
	b.mu.Unlock()
	if oldest != nil {
		_ = oldest.Conn.Close() // its server notices
	}
	return c, nil
}

type boundedConn struct {
	net.Conn

	in    *bounded
	place *list.Element
}

// Close may be called more than once, and after the connection made room.
func (c *boundedConn) Close() error {
	c.in.mu.Lock()
	c.in.open.Remove(c.place)
	c.in.mu.Unlock()
	return c.Conn.Close()
}
