package telemetry_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tapline/tapline/pkg/telemetry"
)

// pipes is a listener without a network, for the clock of a bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// serving runs a test against a server in a bubble; max bounds connections.
func serving(t *testing.T, max int, handler http.HandlerFunc, test func(p *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		server := telemetry.NewServer(handler)
		done := make(chan error, 1)
		go func() { done <- server.Serve(telemetry.Bounded(p, max)) }()
		test(p)
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

func ok(http.ResponseWriter, *http.Request) {}

// ended is how long the server keeps a connection to a client that has sent some text and waits;
// what it answers is read.
func ended(t *testing.T, p *pipes, text string) (after time.Duration, answer string) {
	t.Helper()
	c := p.dial()
	go func() { _, _ = io.WriteString(c, text) }()
	begin := time.Now()
	data, _ := io.ReadAll(c) // the pipe's end is the server's
	_ = c.Close()
	return time.Since(begin), string(data)
}

// TestSlowClientsAreEnded: one that sends nothing, half a header, half a body, or nothing more.
func TestSlowClientsAreEnded(t *testing.T) {
	t.Parallel()
	read := func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	for name, test := range map[string]struct {
		text string
		want time.Duration
	}{
		"silent":      {"", telemetry.HeaderTimeout},
		"half header": {"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", telemetry.HeaderTimeout},
		"half body":   {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{", telemetry.ReadTimeout},
		"idle":        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", telemetry.IdleTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			serving(t, 8, read, func(p *pipes) {
				// A server that closes after an answer waits half a second for what is on its way.
				if after, answer := ended(t, p, test.text); after < test.want || after > test.want+time.Second {
					t.Errorf("ended after %s, want %s; answer %q", after, test.want, answer)
				}
			})
		})
	}
}

// TestADripIsEnded: a byte a second keeps no connection.
func TestADripIsEnded(t *testing.T) {
	t.Parallel()
	serving(t, 8, ok, func(p *pipes) {
		c := p.dial()
		var drip sync.WaitGroup
		defer drip.Wait()
		defer c.Close()
		drip.Go(func() {
			for _, err := io.WriteString(c, "GET / HTTP/1.1\r\nX: "); err == nil; _, err = io.WriteString(c, "a") {
				<-time.After(time.Second) // by the clock of the bubble
			}
		})
		begin := time.Now()
		_, _ = io.Copy(io.Discard, c)
		if after := time.Since(begin); after > telemetry.HeaderTimeout+time.Second {
			t.Errorf("ended after %s", after)
		}
	})
}

func TestLongHeadersAreRefused(t *testing.T) {
	t.Parallel()
	serving(t, 8, ok, func(p *pipes) {
		_, answer := ended(t, p, "GET / HTTP/1.1\r\nHost: a\r\nX-Long: "+strings.Repeat("a", 2*telemetry.MaxHeaderBytes)+"\r\n\r\n")
		if !strings.Contains(answer, "431") {
			t.Errorf("answer %q", answer)
		}
	})
}

// TestLongAnswersAreNotCut: a handler that takes longer than a request may take is left alone, and
// so is its context.
func TestLongAnswersAreNotCut(t *testing.T) {
	t.Parallel()
	handler := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(10 * telemetry.ReadTimeout):
			_, _ = io.WriteString(w, "at last")
		case <-r.Context().Done():
		}
	}
	serving(t, 8, handler, func(p *pipes) {
		if _, answer := ended(t, p, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(answer, "at last") {
			t.Errorf("answer %q", answer)
		}
	})
}

// TestOldestConnectionMakesRoom: with all connections taken a new one is served, and no more stay
// open.
func TestOldestConnectionMakesRoom(t *testing.T) {
	t.Parallel()
	const most = 4
	serving(t, most, ok, func(p *pipes) {
		var held []net.Conn
		for range most {
			held = append(held, p.dial())
		}
		for i := range 3 * most {
			c := p.dial()
			go func() { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") }()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("connection %d: %v", i, err)
			}
			_ = resp.Body.Close()
			_ = c.Close()
			synctest.Wait()
		}
		// The first made room once; what ended by itself gave its place back.
		for i, c := range held {
			_ = c.SetReadDeadline(time.Now())
			_, err := c.Read(make([]byte, 1))
			if open := !errors.Is(err, io.EOF); open != (i > 0) {
				t.Errorf("held connection %d: open is %t (%v)", i, open, err)
			}
			_ = c.Close()
		}
	})
}
