package bus_test

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestAScanIsWholeOrAnError: what the server has sent and the way has held back longer than a scan waits counts as
// delivered at the server, and is not. A server that is silent longer than that ends the scan.
func TestAScanIsWholeOrAnError(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Options{Dir: bustest.Dir(t), Listen: "127.0.0.1:0", NoSync: true, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	const letters = 20
	for i := range letters {
		letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "shipper", Feed: "clicksBlocked", Payload: []byte{byte(i)}}
		if err := b.PublishDead(t.Context(), letter, "letter"); err != nil {
			t.Fatal(err)
		}
	}
	slow, err := bus.Connect(t.Context(), bus.Config{URL: heldBack(t, server.URL())}, "scan", log)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	visited := 0
	ended := make(chan error, 1)
	go func() {
		ended <- slow.Scan(t.Context(), bus.DeadLetters(), func(bus.Stored) (bool, error) { visited++; return true, nil })
	}()
	select {
	case err = <-ended:
	case <-time.After(time.Minute):
		t.Fatal("a scan waits for ever")
	}
	if (err == nil) != (visited == letters) {
		t.Errorf("%d of %d letters, error: %v", visited, letters, err)
	}
	visited = 0
	if err := b.Scan(t.Context(), bus.DeadLetters(), func(bus.Stored) (bool, error) { visited++; return true, nil }); err != nil || visited != letters {
		t.Errorf("without delay %d of %d letters: %v", visited, letters, err)
	}
}

// heldBack is a way to the server that holds back everything from the first dead letter on, until the client asks
// what became of its consumer, which it may never do.
func heldBack(t *testing.T, server string) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it ends with the test
	if err != nil {
		t.Fatal(err)
	}
	var ways sync.WaitGroup
	ways.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", strings.TrimPrefix(server, "nats://")) //nolint:noctx // the same
			if err != nil {
				_ = client.Close()
				return
			}
			w := &way{client: client, up: up, holds: make(chan struct{}), asked: make(chan struct{})}
			ways.Go(w.down)
			ways.Go(w.ask)
		}
	})
	t.Cleanup(ways.Wait)
	t.Cleanup(func() { _ = ln.Close() })
	return "nats://" + ln.Addr().String()
}

// way is one connection of [heldBack].
type way struct {
	client, up   net.Conn
	holds, asked chan struct{}
}

func (w *way) down() {
	defer w.client.Close()
	hold := sync.OnceFunc(func() {
		close(w.holds)
		<-w.asked
	})
	for b := make([]byte, 64<<10); ; {
		n, err := w.up.Read(b)
		if bytes.Contains(b[:n], []byte("MSG dead.main.")) {
			hold()
		}
		if _, failed := w.client.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}

func (w *way) ask() {
	defer w.up.Close()
	release := sync.OnceFunc(func() { close(w.asked) })
	defer release()
	for b := make([]byte, 64<<10); ; {
		n, err := w.client.Read(b)
		if _, failed := w.up.Write(b[:n]); err != nil || failed != nil {
			return
		}
		if bytes.Contains(b[:n], []byte("$JS.API.CONSUMER.INFO.DEAD.")) {
			select {
			case <-w.holds:
				release()
			default:
			}
		}
	}
}
