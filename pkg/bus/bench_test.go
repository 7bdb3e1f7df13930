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
				w := bus.JobOutput{Tenant: "main", JobID: fmt.Sprint(i), Batches: all, Marker: []byte("account")}
				if _, err := conn.StoreJob(b.Context(), w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkThroughAccounts stores a batch of rows, takes and acknowledges it, as the users of
// enricher and shipper: with an account for each of them, and with one for all as it was before.
func BenchmarkThroughAccounts(b *testing.B) {
	for name, folder := range map[string]string{"shared": oneAccount, "own": deployed} {
		b.Run(name, func(b *testing.B) {
			server := bustest.StartGuarded(b, folder)
			if err := as(b, server, bus.UserAdmin, "tapctl").Setup(b.Context(), bustest.Limits, nil); err != nil {
				b.Fatal(err)
			}
			enricher, shipper := as(b, server, "enricher", "enricher"), as(b, server, "shipper", "shipper")
			sub, err := shipper.Subscribe(b.Context(), bus.ConsumerShipper, 1)
			if err != nil {
				b.Fatal(err)
			}
			defer sub.Stop()
			data := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
			b.SetBytes(int64(len(data)))
			for i := 0; b.Loop(); i++ {
				meta := bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.tap_people.vap", MsgID: fmt.Sprint(i)}
				if _, err := enricher.PublishEvents(b.Context(), data, meta); err != nil {
					b.Fatal(err)
				}
				d, err := sub.Next(b.Context())
				if err != nil || d.Ack() != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkScan reads 100 000 messages.
func BenchmarkScan(b *testing.B) {
	const n = 100_000
	conn := bustest.Start(b)
	letter := make([]byte, 500)
	for i := range n / 1000 {
		w := bus.JobOutput{Tenant: "main", JobID: fmt.Sprint(i), Marker: letter, Batches: func(yield func(bus.RawMessage, error) bool) {
			for range 999 {
				if !yield(bus.RawMessage{Feed: "clicksBlocked", Data: letter}, nil) {
					return
				}
			}
		}}
		if _, err := conn.StoreJob(b.Context(), w); err != nil {
			b.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		selection bus.Selection
		want      int
	}{"one filter": {bus.Raws("main"), n - n/1000}, "two filters": {bus.Raws("main", "clicksBlocked", "clicksPermitted"), n - n/1000}, "few of many": {bus.Markers("main"), n / 1000}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				seen := 0
				if err := conn.Scan(b.Context(), c.selection, func(bus.Stored) (bool, error) { seen++; return true, nil }); err != nil || seen != c.want {
					b.Fatal(seen, err)
				}
			}
		})
	}
}

// BenchmarkKeys lists 20 000 keys.
func BenchmarkKeys(b *testing.B) {
	const n = 20_000
	bucket, err := bustest.Start(b).Bucket(b.Context(), bus.BucketSeen)
	if err != nil {
		b.Fatal(err)
	}
	for i := range n / 1000 {
		changes := make([]bus.Change, 1000)
		for j := range changes {
			changes[j] = bus.Change{Key: fmt.Sprintf("main.%d.%d", i, j), Value: make([]byte, 2000)}
		}
		if err := bucket.UpdateAll(b.Context(), changes); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if keys, err := bucket.Keys(b.Context(), "main.>"); err != nil || len(keys) != n {
			b.Fatal(len(keys), err)
		}
	}
}
