package e2e_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

// BenchmarkPipeline reads six hours of backfill from the simulator, through all
// stages of one process with a store that syncs every write, to a Devo stand-in
// over mutual TLS. It ends when the stand-in has all of it. The simulators share the
// machine.
func BenchmarkPipeline(b *testing.B) {
	events := 0
	for b.Loop() {
		b.StopTimer()
		w := newWorldThat(b, devosink.Count, direct, func(c *tapsim.Config) { c.Rate, c.Factor, c.Age = 10, 1, 6*time.Hour })
		want := 0
		for range w.sim.Truth(w.sim.Epoch(), w.sim.Now().Add(-2*time.Minute)) {
			want++
		}
		b.StartTimer()
		p := w.run(b, "TAP_FEEDS=clicksBlocked,clicksPermitted,messagesBlocked,messagesDelivered")
		_, err := w.sink.WaitFor(b.Context(), func(s devosink.Snapshot) bool { return s.Events >= int64(want) })
		b.StopTimer()
		if err != nil {
			b.Fatal(err)
		}
		p.stop()
		events += want
		b.StartTimer()
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkExpansion reads an hour of records that name more than ten thousand threats, and ends
// when the stand-in for Devo has the rows of all of them. Calls are made as fast as they go.
func BenchmarkExpansion(b *testing.B) {
	threats := 0
	for b.Loop() {
		b.StopTimer()
		named := make(map[string]bool)
		rows := make(chan struct{}, 1<<20)
		w := newWorldThat(b, devosink.Count, direct, func(c *tapsim.Config) { c.Rate, c.Factor, c.Age, c.Threats = 15, 1, time.Hour, 2500 })
		for truth := range w.sim.Derived(w.sim.Now().Add(-2 * time.Minute)) {
			if truth.Feed == feed.Threats {
				named[truth.Key[len("id:"):]] = true
			}
		}
		want := len(named)
		w.onEvent(func(e devosink.Event) {
			id := identity.Text(e.Message, "id")
			if e.Tag == feed.Threats.Table() && named[id] {
				delete(named, id)
				rows <- struct{}{}
			}
		})
		b.StartTimer()
		p := w.run(b, "TAP_FEEDS=clicksBlocked,clicksPermitted,messagesBlocked,messagesDelivered,threats", "EXPAND_RATE=10000", "EXPAND_CALLS=16")
		for range want {
			<-rows
		}
		b.StopTimer()
		p.stop()
		threats += want
		b.StartTimer()
	}
	b.ReportMetric(float64(threats)/float64(b.N), "threats")
	b.ReportMetric(float64(threats)/b.Elapsed().Seconds(), "threats/s")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-of-the-process")
}
