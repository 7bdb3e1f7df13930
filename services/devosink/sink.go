package devosink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config of a sink.
type Config struct {
	Addr     string      // "host:port"; port 0 chooses one
	TLS      *tls.Config // see devocert; nil makes a relay of it, which takes plain TCP
	Mode     Mode        // empty means Full
	MaxBytes int64       // kept in mode full; 0 means 256 MiB
	Idle     time.Duration
	Log      *slog.Logger
	// OnEvent, if set, gets every stored event, in order for each connection. The event
	// is valid during the call.
	OnEvent func(Event)
}

const defaultMaxBytes = 256 << 20

// Sink is a running endpoint.
type Sink struct {
	cfg    Config
	store  *store
	addr   string
	ctx    context.Context // it is the life of the sink, ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	faulty atomic.Bool // whether faults were injected since the last Clear

	mu       sync.Mutex
	listener net.Listener
	faults   []*Fault
	cleared  chan struct{} // closed and replaced by Clear
}

// New starts to listen. Close ends it.
func New(c Config) (*Sink, error) {
	if c.Mode == "" {
		c.Mode = Full
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sink{cfg: c, store: newStore(c.Mode, c.MaxBytes), addr: c.Addr, ctx: ctx, cancel: cancel, cleared: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.listen(); err != nil {
		cancel()
		return nil, err
	}
	return s, nil
}

// Addr is where the sink listens, or would if it did not refuse.
func (s *Sink) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Close ends all connections and waits for them.
func (s *Sink) Close() error {
	s.cancel()
	s.mu.Lock()
	err := s.unlisten()
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

// listen opens the listener unless it is open. The caller holds the lock.
func (s *Sink) listen() error {
	if s.listener != nil {
		return nil
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(s.ctx, "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.addr, err)
	}
	s.listener, s.addr = ln, ln.Addr().String()
	s.wg.Go(func() { s.accept(ln) })
	return nil
}

// unlisten closes the listener. The caller holds the lock.
func (s *Sink) unlisten() error {
	if s.listener == nil {
		return nil
	}
	err := s.listener.Close()
	s.listener = nil
	return err
}

func (s *Sink) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
			return
		}
		if err != nil {
			s.cfg.Log.Warn("cannot accept", slog.Any("error", err))
			continue
		}
		s.wg.Go(func() {
			c := &connection{sink: s, tcp: conn}
			if err := c.serve(s.ctx); err != nil {
				s.cfg.Log.Debug("connection ended", slog.Any("error", err))
			}
		})
	}
}
