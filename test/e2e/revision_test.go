package e2e_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/services/tapsim"
)

// TestRevisionsAreDeliveredOnceEach: the campaign of a third of the records becomes known
// after they were delivered. Each content arrives once.
func TestRevisionsAreDeliveredOnceEach(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) {
		c.Rate, c.Factor, c.Age, c.RevisedFraction, c.RevisionLag = 0.5, 300, 90*time.Minute, 0.3, 20*time.Minute
	})
	p := w.run(t, "TAP_SWEEPS=25m,50m")
	w.complete(t, w.sim.Now().Add(10*time.Minute))
	truths := make(map[string]tapsim.Truth)
	for truth := range w.sim.Truth(w.sim.Epoch(), w.sim.Now()) {
		truths[string(truth.Feed)+" "+truth.Key] = truth
	}
	poll(t, "revisions", func() bool { return p.counter(t, "tapline_fetcher_records_total", "fate", "revision") >= 10 })
	poll(t, "them at the sink", func() bool { return repeated(w.delivered(t)) >= 5 })
	for key, d := range w.delivered(t) {
		most := 1
		if truth, ok := truths[key]; !ok || !truth.Revised.IsZero() { // what is not there was made since
			most = 2
		}
		if d.rows > most || d.rows != len(d.ids) {
			t.Errorf("%s: %d rows with %d ids", key, d.rows, len(d.ids))
		}
	}
}

func repeated(have map[string]*delivery) (n int) {
	for _, d := range have {
		if len(d.ids) > 1 {
			n++
		}
	}
	return n
}
