package torture

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
)

// proxy forwards TCP connections to one address, until told otherwise.
type proxy struct {
	target string
	ln     net.Listener
	wg     sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	thaw    chan struct{} // not nil while nothing is forwarded
	refuses bool
}

func newProxy(ctx context.Context, target string) (*proxy, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy to %s: %w", target, err)
	}
	p := &proxy{target: target, ln: ln, conns: make(map[net.Conn]bool)}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuses := p.refuses
		p.mu.Unlock()
		if refuses {
			reset(c)
			continue
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *proxy) serve(near net.Conn) {
	p.wait()
	var d net.Dialer
	far, err := d.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		reset(near)
		return
	}
	if p.add(near, far) {
		var pair sync.WaitGroup
		var up, down bool
		pair.Go(func() { up = p.copy(far, near) })
		pair.Go(func() { down = p.copy(near, far) })
		pair.Wait()
		p.remove(near, far)
		if up && down {
			_, _ = near.Close(), far.Close()
			return
		}
	}
	reset(near)
	reset(far)
}

// copy forwards one direction, and reports whether it ended in order. A half-close is forwarded as
// such: the sink's proof of delivery rests on it.
func (p *proxy) copy(dst, src net.Conn) bool {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		p.wait()
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				reset(src)
				return false
			}
		}
		if err == io.EOF { //nolint:errorlint // Read of a net.Conn gives it bare
			if tcp, ok := dst.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			return true
		}
		if err != nil {
			reset(dst)
			return false
		}
	}
}

// wait holds while the proxy is frozen.
func (p *proxy) wait() {
	p.mu.Lock()
	thaw := p.thaw
	p.mu.Unlock()
	if thaw != nil {
		<-thaw
	}
}

func (p *proxy) add(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return false
	}
	for _, c := range conns {
		p.conns[c] = true
	}
	return true
}

func (p *proxy) remove(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

// cut breaks every connection, with what is under way in it.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

// refuse breaks new connections as soon as they are made.
func (p *proxy) refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = on
}

// freeze keeps connections open and forwards nothing: as if the way were gone.
func (p *proxy) freeze(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.thaw == nil:
		p.thaw = make(chan struct{})
	case !on && p.thaw != nil:
		close(p.thaw)
		p.thaw = nil
	}
}

func (p *proxy) close() {
	_ = p.ln.Close()
	p.freeze(false)
	p.cut()
	p.mu.Lock()
	p.conns = nil
	p.mu.Unlock()
	p.wg.Wait()
}

// reset closes with RST, so that the peer cannot take it for an orderly end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
