package shipper_test

import (
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/services/devosink"
)

// BenchmarkDrain ships what an outage has left in the stream over mutual TLS,
// until everything is confirmed. The server keeps its store without syncing, as
// draining writes nothing but acknowledgements.
func BenchmarkDrain(b *testing.B) {
	const batches, rows = 400, 500
	sink, environ := endpoint(b, devosink.Count)
	one := []byte(`{"text":"` + strings.Repeat("some words ", 60) + `","@tapline_id":"00000000000000000000000000000001"}`)
	e := batch.Events{Tenant: "main", Table: table, Feed: "clicksBlocked"}
	for range rows {
		e.Events = append(e.Events, batch.Event{PullMS: pulled, JSON: one})
	}
	b.SetBytes(int64(batches * rows * len(one)))
	for b.Loop() {
		b.StopTimer()
		backlog := bustest.Start(b)
		for i := range batches {
			e.SourceSequence = uint64(i + 1)
			publish(b, backlog, &e)
		}
		b.StartTimer()
		stop := start(b, backlog, nil, environ)
		settled(b, backlog)
		b.StopTimer()
		stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(batches*rows*b.N)/b.Elapsed().Seconds(), "events/s")
	if got := sink.Snapshot().Events; got != int64(batches*rows*b.N) {
		b.Errorf("%d of %d rows arrived", got, batches*rows*b.N)
	}
}
