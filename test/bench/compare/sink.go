package compare

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// sink takes lines over mutual TLS, counts and hashes them, and knows when the last one has come.
type sink struct {
	ln    net.Listener
	want  int64
	lines atomic.Int64
	last  atomic.Int64  // when a line came last, in Unix nanoseconds
	first chan struct{} // closed when there is a connection
	began time.Time     // when that was, from then on
	all   chan struct{} // closed when as many lines came as were wanted

	opened sync.Once
	wg     sync.WaitGroup
	mu     sync.Mutex
	conns  []net.Conn
	hashes []uint64
	errs   []error
}

// listen opens a sink that waits for so many lines.
func listen(ctx context.Context, conf *tls.Config, want int) (*sink, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open the sink: %w", err)
	}
	s := &sink{ln: ln, want: int64(want), first: make(chan struct{}), all: make(chan struct{})}
	s.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(ctx, tls.Server(conn, conf)) })
		}
	})
	return s, nil
}

func (s *sink) address() string { return s.ln.Addr().String() }

func (s *sink) serve(ctx context.Context, conn *tls.Conn) {
	defer conn.Close()
	err := conn.HandshakeContext(ctx)
	var hashes []uint64
	if err == nil {
		s.opened.Do(func() {
			s.began = time.Now()
			close(s.first)
		})
		hashes = s.read(conn)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hashes = append(s.hashes, hashes...)
	if err != nil {
		s.errs = append(s.errs, fmt.Errorf("handshake at the sink: %w", err))
	}
}

// read takes lines until the connection ends. Half a line at its end is none: the sender has to
// resend it.
func (s *sink) read(conn net.Conn) (hashes []uint64) {
	for in := bufio.NewReaderSize(conn, longest); ; {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return hashes
		}
		hashes = append(hashes, maphash.Bytes(seed, line[:len(line)-1]))
		s.last.Store(time.Now().UnixNano())
		if s.lines.Add(1) == s.want {
			close(s.all)
		}
	}
}

// close ends everything. The sender has ended before, so that what it sent is read to the end.
func (s *sink) close() ([]uint64, error) {
	_ = s.ln.Close()
	s.mu.Lock()
	for _, conn := range s.conns {
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	}
	s.mu.Unlock()
	s.wg.Wait()
	return s.hashes, errors.Join(s.errs...)
}
