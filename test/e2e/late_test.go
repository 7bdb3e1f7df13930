package e2e_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/services/tapsim"
)

// TestSweepsFindLateRecords: a third of the records is visible up to twenty
// minutes after its creation, long after the first reading. All arrive, and
// what is read again does not arrive twice.
func TestSweepsFindLateRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) {
		c.Rate, c.Factor, c.Age, c.LateFraction, c.LateLag = 0.5, 300, 90*time.Minute, 0.3, 20*time.Minute
	})
	p := w.run(t, "TAP_SWEEPS=25m,50m")
	w.complete(t, w.sim.Now().Add(10*time.Minute))
	poll(t, "records that only a sweep finds", func() bool {
		late := 0
		for _, f := range []string{"clicksBlocked", "clicksPermitted", "messagesBlocked", "messagesDelivered"} {
			late += p.counter(t, "tapline_fetcher_late_records_total", "feed", f)
		}
		return late > 0
	})
	for key, d := range w.have {
		if d.rows != 1 {
			t.Errorf("%s has %d rows", key, d.rows)
		}
	}
}
