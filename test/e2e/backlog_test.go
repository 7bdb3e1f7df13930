package e2e_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/overview"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

// TestWhatWaitsIsAnAlarm: the age of the rows that wait for an absent sink is reported. The alarm
// ends with the outage.
func TestWhatWaitsIsAnAlarm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) { c.Factor, c.Rate, c.Age = 1, 1, 20*time.Minute })
	if err := w.sink.Inject(devosink.Fault{Kind: devosink.FaultRefuse}); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	at := w.sim.Now().Add(-2 * time.Minute)
	w.run(t, "NATS_LISTEN="+address, "ALARM_BACKLOG=2s")
	o := operator{t, append(w.environ(), "NATS_URL=nats://"+address)}
	raised := func() (names []string) {
		var s overview.Status
		if !o.try(&s, "status", "--exit-zero") {
			return nil
		}
		for _, a := range s.Alarms {
			names = append(names, a.Name)
		}
		return names
	}
	poll(t, "the alarm", func() bool {
		names := raised()
		return slices.Contains(names, "backlog") && slices.Contains(names, "sink")
	})
	if err := w.sink.Clear(); err != nil {
		t.Fatal(err)
	}
	w.complete(t, at)
	poll(t, "its end", func() bool { return len(raised()) == 0 })
}
