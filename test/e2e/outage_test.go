package e2e_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

// TestSinkOutages takes the sink away in every way while data flows, brings it back, and expects
// everything, logged once.
func TestSinkOutages(t *testing.T) {
	t.Parallel()
	faults := []devosink.Fault{{Kind: devosink.FaultReset, Bytes: 100_001}}
	if tier.Long() { // services/shipper tries each of them without a pipeline
		faults = append(faults, []devosink.Fault{
			{Kind: devosink.FaultRefuse},
			{Kind: devosink.FaultNoHandshake},
			{Kind: devosink.FaultRefuseCertificate},
			{Kind: devosink.FaultReset, Bytes: 1},
			{Kind: devosink.FaultFIN, Bytes: 50_003},
			{Kind: devosink.FaultStall},
		}...)
	}
	for _, fault := range faults {
		t.Run(string(fault.Kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *tapsim.Config) { c.Rate = 1 })
			if err := w.sink.Inject(fault); err != nil {
				t.Fatal(err)
			}
			// The sink breaks with rows unread, and reads slowly here: it gets time to tell.
			p := w.run(t, "SHIPPER_CONNECTIONS=2", "DEVO_SETTLE=1500ms")
			p.await(t, "the sink does not take rows")
			if err := w.sink.Clear(); err != nil {
				t.Fatal(err)
			}
			have := w.complete(t, w.sim.Now())
			p.await(t, "the sink takes rows again")
			for key, d := range have {
				if len(d.ids) != 1 {
					t.Errorf("%s has %d ids", key, len(d.ids))
				}
			}
			if n := p.logs.count("the sink does not take rows"); n > 3 {
				t.Errorf("the outage was told %d times", n)
			}
		})
	}
}

// TestConfirmByRotation uses the stronger proof.
func TestConfirmByRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.run(t, "DEVO_CONFIRM=rotate", "DEVO_ROTATE_AFTER=100ms", "SHIPPER_CONNECTIONS=1")
	w.complete(t, w.sim.Now())
	if n := p.logs.count("the sink does not take rows"); n != 0 {
		t.Errorf("a rotation was taken for an outage %d times:\n%s", n, p.logs)
	}
	if w.sink.Snapshot().Connections < 2 {
		t.Error("the connection was never rotated")
	}
}

func TestRestartContinues(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var at time.Time
	for range 3 {
		p := w.run(t)
		at = w.sim.Now().Add(-time.Minute)
		w.complete(t, at)
		p.stop()
	}
	for key, d := range w.complete(t, at) {
		if len(d.ids) != 1 {
			t.Errorf("%s has %d ids", key, len(d.ids))
		}
	}
}
