package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

// made are points of a machine that follows the formulas exactly: half a second, and 30 us (one
// process) or 40 us a row.
func made() []point {
	one := func(group, name string, rows int64, seconds float64, s setting) point {
		fill := sample{Rows: rows, Seconds: seconds, Calls: 13, RowSize: 2048, CPU: map[string]float64{"tapline": 1, standIn: 100}, Memory: map[string]float64{"tapline": 50}}
		return point{Group: group, Name: name, Setting: s, Fill: []sample{fill}, Elapsed: seconds, Rest: []sample{{Seconds: 35, Rows: rows / 100}}}
	}
	slow := setting{Fetchers: 1, Enrichers: 1, Shippers: 1, Latency: 2 * time.Second}
	slow2 := slow
	slow2.Fetchers = 5
	sink := setting{Fetchers: 1, Enrichers: 1, Shippers: 2, Env: []string{"SHIPPER_MAX_INFLIGHT_BYTES=2097152", "DEVO_SETTLE=1s"}}
	return []point{
		one("rate", "a", 10_000, 0.8, setting{}), one("rate", "b", 100_000, 3.5, setting{}),
		one("tenants", "1", 200_000, 6.5, setting{}),
		one("replicas", "processor", 100_000, 4.5, setting{Fetchers: 1, Enrichers: 1, Shippers: 1}),
		one("replicas", "Proofpoint", 1_000, 0.5+12*2.5, slow),
		one("replicas", "Proofpoint", 1_000, 0.5+3*2.5, slow2), // twelve calls of five fetchers: three turns
		one("replicas", "Devo", 20_480, 0.5+10, sink),          // 40 MiB, four at a time
	}
}

// TestModel: each formula gives what a machine measures that follows it.
func TestModel(t *testing.T) {
	t.Parallel()
	points := made()
	m := fit(points)
	for _, p := range points {
		if got := m.seconds(p); math.Abs(got-p.Elapsed) > 1e-6 {
			t.Errorf("%s %s: %.6f s by the model %+v, want %.6f", p.Group, p.Name, got, m, p.Elapsed)
		}
	}
}

// TestReport: stand-ins are not booked, and a prediction says how far it is off.
func TestReport(t *testing.T) {
	t.Parallel()
	points := made()
	points[2].Elapsed = 13 // half as fast as the model says
	var out strings.Builder
	report(&out, points)
	for _, want := range []string{
		"| 1 | 200000 | 15385 | 30769 | +100 % | 5 |",
		"| 1 | 1 | 2 | Devo | 1950 | 1950 | +0 % | 49 |",
		"model: 0.50 s + the longest of: rows x 30.0 us (one process) or 40.0 us (separate processes)",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestPlans: every group has points, and every point is one of a kind.
func TestPlans(t *testing.T) {
	t.Parallel()
	for _, g := range groups {
		seen := make(map[string]bool)
		for _, p := range plans(g) {
			key := strings.Join(append([]string{p.name}, p.setting.Env...), " ") + string(rune('0'+p.setting.Fetchers)) +
				string(rune('0'+p.setting.Enrichers)) + string(rune('0'+p.setting.Shippers))
			if seen[key] {
				t.Errorf("%s: %s is there twice", g, key)
			}
			seen[key] = true
		}
		if len(seen) < 3 {
			t.Errorf("%s has %d points: a line needs more", g, len(seen))
		}
	}
}
