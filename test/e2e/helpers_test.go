package e2e_test

import (
	"context"
	"testing"
	"time"
)

// poll checks again and again until it is content or patience ends.
func poll(tb testing.TB, what string, check func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			tb.Fatalf("after %s still waiting for: %s", patience, what)
		case <-tick.C:
		}
	}
}

// await waits for a log line.
func (p *pipeline) await(tb testing.TB, line string) {
	tb.Helper()
	poll(tb, "log line "+line, func() bool { return p.logs.count(line) > 0 })
}

// counter adds up the series of a counter that have a label.
func (p *pipeline) counter(tb testing.TB, name, label, value string) int {
	tb.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label == "" {
				total += m.GetCounter().GetValue()
			}
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
func (w *world) completeBut(tb testing.TB, at time.Time, dead func() int) {
	tb.Helper()
	var want []string
	for truth := range w.sim.Truth(w.sim.Epoch(), at) {
		if !truth.Visible.After(at) {
			want = append(want, string(truth.Feed)+" "+truth.Key)
		}
	}
	missing := len(want)
	poll(tb, "all records but the dead ones", func() bool {
		have := w.delivered(tb)
		missing = 0
		for _, key := range want {
			if have[key] == nil {
				missing++
			}
		}
		return missing <= dead()
	})
	if missing == 0 || missing == len(want) {
		tb.Errorf("%d of %d records missing; some should be dead", missing, len(want))
	}
}
