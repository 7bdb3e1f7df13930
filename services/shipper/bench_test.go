package shipper_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/services/devosink"
)

// What an outage has left in the stream.
const (
	leftBatches = 1000
	leftRows    = 500
	leftTotal   = leftBatches * leftRows
)

// leftover is that backlog. The server keeps its store without syncing, as draining writes nothing
// but acknowledgements.
func leftover(b *testing.B) *bus.Bus {
	b.Helper()
	one := []byte(`{"text":"` + strings.Repeat("some words ", 60) + `","@tapline_id":"00000000000000000000000000000001"}`)
	e := batch.Events{Tenant: "main", Table: table, Feed: "clicksBlocked"}
	for range leftRows {
		e.Events = append(e.Events, batch.Event{PullMS: pulled, JSON: one})
	}
	b.SetBytes(int64(leftTotal * len(one)))
	backlog := bustest.Start(b)
	for i := range leftBatches {
		e.SourceSequence = uint64(i + 1)
		publish(b, backlog, &e)
	}
	return backlog
}

// BenchmarkDrain ships it over mutual TLS until everything is confirmed, in several ways, and
// beside that takes it with a plain consumer that has no sink: nothing can be faster on this bus.
func BenchmarkDrain(b *testing.B) {
	b.Run("ceiling", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			backlog := leftover(b)
			b.StartTimer()
			consume(b, backlog)
		}
		b.ReportMetric(float64(leftTotal*b.N)/b.Elapsed().Seconds(), "events/s")
	})
	for _, way := range []struct {
		name  string
		extra []string
	}{
		{"acked", nil},
		{"acked-64MiB", []string{"SHIPPER_MAX_INFLIGHT_BYTES=67108864"}}, // twice of what is in flight by default
		{"gzip", []string{"DEVO_COMPRESS=gzip"}},
		{"rotate", []string{"DEVO_CONFIRM=rotate", "DEVO_ROTATE_AFTER=500ms"}},
	} {
		b.Run(way.name, func(b *testing.B) {
			sink, environ := endpoint(b, devosink.Count)
			for b.Loop() {
				b.StopTimer()
				backlog := leftover(b)
				b.StartTimer()
				stop := start(b, backlog, nil, append(environ, way.extra...))
				settled(b, backlog)
				b.StopTimer()
				stop()
				b.StartTimer()
			}
			b.ReportMetric(float64(leftTotal*b.N)/b.Elapsed().Seconds(), "events/s")
			if got := sink.Snapshot().Events; got != int64(leftTotal*b.N) {
				b.Errorf("%d of %d rows arrived", got, leftTotal*b.N)
			}
		})
	}
}

// consume takes and acknowledges everything, as many at once as a shipper has connections.
func consume(b *testing.B, backlog *bus.Bus) {
	b.Helper()
	const lanes = 2
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range lanes {
		sub, err := backlog.Subscribe(b.Context(), bus.ConsumerShipper, 1)
		if err != nil {
			b.Fatal(err)
		}
		defer sub.Stop()
		wg.Go(func() {
			for taken.Add(1) <= leftBatches {
				d, err := sub.Next(b.Context())
				if err != nil {
					b.Error(err)
					return
				}
				if err := d.Ack(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	settled(b, backlog)
}
