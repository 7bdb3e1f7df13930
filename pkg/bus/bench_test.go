package bus_test

import (
	"bytes"
	"fmt"
	"iter"
	"log/slog"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
)

// durable is a server that syncs every write, as in production.
func durable(b *testing.B) *bus.Bus {
	b.Helper()
	server, err := embedded.Start(embedded.Options{Dir: bustest.Dir(b), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Stop)
	conn := bustest.Connect(b, server)
	if err := conn.Setup(b.Context(), bustest.Limits, nil); err != nil {
		b.Fatal(err)
	}
	return conn
}

// BenchmarkPublishJob orders one window, durably.
func BenchmarkPublishJob(b *testing.B) {
	conn := durable(b)
	order := job()
	for i := 0; b.Loop(); i++ {
		order.Id = fmt.Sprint(i) // and another subject, as each window has its own
		order.Window.Start.Seconds--
		if err := conn.PublishJob(b.Context(), order); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPublishWindow stores the batches of one job with their marker, durably.
func BenchmarkPublishWindow(b *testing.B) {
	const size = 256 << 10
	for _, n := range []int{0, 1, 16, 128} {
		b.Run(fmt.Sprintf("batches=%d", n), func(b *testing.B) {
			conn := durable(b)
			data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
			var all iter.Seq2[bus.RawMessage, error] = func(yield func(bus.RawMessage, error) bool) {
				for range n {
					if !yield(bus.RawMessage{Feed: "clicksBlocked", Data: data}, nil) {
						return
					}
				}
			}
			b.SetBytes(int64(n * size))
			for i := 0; b.Loop(); i++ {
				w := bus.Window{Tenant: "main", JobID: fmt.Sprint(i), Batches: all, Marker: []byte("account")}
				if _, err := conn.PublishWindow(b.Context(), w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
