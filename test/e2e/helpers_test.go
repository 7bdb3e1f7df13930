package e2e_test

import (
	"context"
	"testing"
	"time"
)

// poll checks again and again until it is content or patience ends.
func poll(t testing.TB, what string, check func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			t.Fatalf("after %s still waiting for: %s", patience, what)
		case <-tick.C:
		}
	}
}

// await waits for a log line.
func (p *pipeline) await(t testing.TB, line string) {
	t.Helper()
	poll(t, "log line "+line, func() bool { return p.logs.count(line) > 0 })
}

// counter adds up the series of a counter that have a label.
func (p *pipeline) counter(t testing.TB, name, label, value string) int {
	t.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == label && l.GetValue() == value {
					total += m.GetCounter().GetValue()
				}
			}
		}
	}
	return int(total)
}

// completeBut waits until everything visible at a moment is at the sink, except
// for as many records as are dead.
func (w *world) completeBut(t testing.TB, at time.Time, dead func() int) {
	t.Helper()
	var want []string
	for truth := range w.sim.Truth(w.sim.Epoch(), at) {
		if !truth.Visible.After(at) {
			want = append(want, string(truth.Feed)+" "+truth.Key)
		}
	}
	missing := len(want)
	poll(t, "all records but the dead ones", func() bool {
		have := w.delivered(t)
		missing = 0
		for _, key := range want {
			if have[key] == nil {
				missing++
			}
		}
		return missing <= dead()
	})
	if missing == 0 || missing == len(want) {
		t.Errorf("%d of %d records missing; some should be dead", missing, len(want))
	}
}
