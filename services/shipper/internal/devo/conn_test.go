package devo

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSilenceIsNoConsent: what the peer has said and was not read yet may be its refusal. A process
// that stood still finds both when it resumes, the acknowledgement and the refusal, and must not
// believe the first.
func TestSilenceIsNoConsent(t *testing.T) {
	t.Parallel()
	for name, object := range map[string]func(net.Conn) error{
		"it has said something": func(c net.Conn) error { _, err := c.Write([]byte("!")); return err },
		"it has ended":          func(c net.Conn) error { return c.(*net.TCPConn).CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, peer := pair(t)
			if err := c.Send(&batch.Events{Table: "my.app.a.b", Events: []batch.Event{{JSON: []byte(`{}`)}}}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAtLeast(peer, make([]byte, 1<<10), int(c.cipher.given())); err != nil {
				t.Fatal(err)
			}
			before := state(t, c, func(s said) bool { return s.acked >= c.cipher.given() })
			if before.acked != c.cipher.given() {
				t.Errorf("%d bytes are acknowledged of %d", before.acked, c.cipher.given())
			}
			if err := object(peer); err != nil {
				t.Fatal(err)
			}
			after := state(t, c, func(s said) bool { return s.received > 0 || !s.open })
			late := time.Now().Add(time.Hour)
			if n := c.confirmed(after, late); n != 0 {
				t.Fatal("confirmed, though the other side has said something that nobody has looked at")
			}
			if n := c.confirmed(before, late); n != 1 {
				t.Errorf("%d batches were confirmed before it said so, want 1", n)
			}
		})
	}
}

// TestWhatWasLookedAtDoesNotMatter: a word that means nothing holds nothing up.
func TestWhatWasLookedAtDoesNotMatter(t *testing.T) {
	t.Parallel()
	c, peer := pair(t)
	go c.read()
	if _, err := peer.Write([]byte("!")); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(&batch.Events{Table: "my.app.a.b", Events: []batch.Event{{JSON: []byte(`{}`)}}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if n, err := c.Confirm(ctx); n != 1 || err != nil {
		t.Errorf("%d batches are confirmed, %v", n, err)
	}
	c.Close()
	if err := c.Wait(ctx); !errors.Is(err, errEnded) {
		t.Error(err)
	}
}

// pair is a connection to a relay whose words are not read yet, and its peer.
func pair(t *testing.T) (*Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // on loopback
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d, err := NewDialer(Config{
		Address: ln.Addr().String(), Hostname: "host", VerifyName: true, Compress: CompressOff, Date: "devo", Confirm: ConfirmAcked,
		StallTimeout: time.Minute, Settle: time.Millisecond, Idle: time.Minute, MaxAge: time.Hour, RotateAfter: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	return c, peer
}

// state asks the kernel until it says what is expected.
func state(t *testing.T, c *Conn, expected func(said) bool) said {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		s, err := c.ask()
		switch {
		case err != nil:
			t.Fatal(err)
		case expected(s):
			return s
		case time.Now().After(deadline):
			t.Fatalf("the kernel goes on to say %+v", s)
		}
	}
}
