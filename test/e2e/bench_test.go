package e2e_test

import (
	"testing"
	"time"

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
		w := newWorldThat(b, devosink.Count, func(c *tapsim.Config) { c.Rate, c.Factor, c.Age = 10, 1, 6*time.Hour })
		want := 0
		for range w.sim.Truth(w.sim.Epoch(), w.sim.Now().Add(-2*time.Minute)) {
			want++
		}
		b.StartTimer()
		p := w.run(b)
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
