// Package bustest gives a test its own JetStream server, in process and set up
// like a real one.
package bustest

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/embedded"
)

// Limits are small enough for a test's disk.
var Limits = bus.Limits{RawMaxBytes: 1 << 30, EventsMaxBytes: 1 << 30, Replicas: 1, AckWait: 15 * time.Second}

var discard = slog.New(slog.DiscardHandler)

// Start gives a connection to a fresh server with all streams, consumers and
// buckets. Both end with the test.
func Start(tb testing.TB, seeds ...bus.Seed) *bus.Bus {
	tb.Helper()
	b := Connect(tb, Server(tb))
	if err := b.Setup(tb.Context(), Limits, seeds); err != nil {
		tb.Fatalf("set up the bus: %v", err)
	}
	return b
}

// Server starts a server without streams. It ends with the test.
func Server(tb testing.TB) *embedded.Server {
	tb.Helper()
	s, err := embedded.Start(embedded.Options{Dir: Dir(tb), NoSync: true, Log: discard})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Stop)
	return s
}

// Connect gives one more connection. It ends with the test.
func Connect(tb testing.TB, s *embedded.Server) *bus.Bus {
	tb.Helper()
	b, err := s.Connect("test")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(b.Close)
	return b
}

// Publish stores any bytes on any subject, as a stranger would.
func Publish(tb testing.TB, s *embedded.Server, subject string, data []byte) {
	tb.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		tb.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request(subject, data, 5*time.Second); err != nil {
		tb.Fatalf("publish on %s: %v", subject, err)
	}
}

// Dir is a directory for a store. Unlike t.TempDir it does not fail the test
// when the server's last file appears while the directory is being removed.
func Dir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "tapline-test-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
