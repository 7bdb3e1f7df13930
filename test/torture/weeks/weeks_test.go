// Package weeks lets weeks of collecting pass, with everything that happens in a
// week, and asks afterwards whether anything is missing.
package weeks_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
	"github.com/tapline/tapline/test/torture/simulate"
)

// TestMain runs one case of nine days, in make nightly others and more. make test runs it without
// the race detector, which makes it ten times as long; what it drives is tested with it elsewhere.
func TestMain(m *testing.M) {
	tier.Rapid(1, 1, 20)
	goleak.VerifyTestMain(m)
}

const day = 24 * time.Hour

// options of a world in which records may be up to 20 hours late.
func options(seed uint64, limit int) simulate.Options {
	c := tapsim.Default()
	c.Seed, c.Rate, c.Age, c.LimitSIEM = seed, 0.005, 7*day, limit
	c.IndexLag, c.LateFraction, c.LateLag = 10*time.Second, 0.05, 20*time.Hour
	c.RevisedFraction, c.RevisionLag = 0.05, 20*time.Hour
	return simulate.Options{
		Sim: c, Start: time.Date(2026, 3, 2, 8, 30, 20, 0, time.UTC), Age: 3 * day, Poll: time.Minute,
		Sweeps: []time.Duration{35 * time.Minute, 6 * time.Hour, 24 * time.Hour}, Step: 20 * time.Second,
		Schedulers: 1, Fetchers: 1, Response: time.Second, Delivery: time.Second,
	}
}

// tester is both kinds of T.
type tester interface {
	Fatalf(format string, args ...any)
	Helper()
}

func run(t tester, w *simulate.World, d time.Duration) {
	t.Helper()
	if err := w.Run(context.Background(), d); err != nil {
		t.Fatalf("%v", err)
	}
}

// judge compares with what the simulator made. Nothing may be disturbed for the
// last 26 hours.
func judge(t tester, w *simulate.World, o simulate.Options) {
	t.Helper()
	if len(w.Problems) > 0 {
		t.Fatalf("%d problems, the first: %s", len(w.Problems), w.Problems[0])
	}
	// Up to here every sweep is done.
	settled := w.Now().Add(-27 * time.Hour).Truncate(time.Hour)
	start := o.Start.Add(-o.Age).Truncate(time.Minute)
	expected := 0
	for truth := range w.Sim.Truth(start, settled) {
		if covered(w.Lost[truth.Feed], truth.Created) {
			continue
		}
		expected++
		once(t, w, truth)
	}
	if expected < 100 {
		t.Fatalf("only %d records: the test proves nothing", expected)
	}
	for key, at := range w.Deliveries {
		if len(at) > 1+w.Revised[key] || w.Revised[key] > 1 {
			t.Fatalf("%s was delivered at %v, %d times revised", key, at, w.Revised[key])
		}
	}
	for _, f := range feed.SIEM() {
		done := slices.Concat(w.Sealed[f], w.Lost[f])
		// An hour whose last sweep found something is swept again, as much later: here
		// twice at most, since a record may be 20 hours late and be revised 20 hours later.
		if missing := window.New(start, settled.Add(-2*day)).Missing(done); len(missing) > 0 {
			t.Fatalf("%s: neither sealed nor lost: %v", f, missing)
		}
	}
	for pool, limit := range map[feed.Pool]int{feed.PoolSIEM: o.Sim.LimitSIEM, feed.PoolSIEMPermitted: o.Sim.LimitPermitted} {
		if n := peak(w.Calls, pool); n > limit {
			t.Fatalf("%d calls of pool %s in 24 hours", n, pool)
		}
	}
}

// once checks that a record arrived once for each content that a reading could see.
func once(t tester, w *simulate.World, truth tapsim.Truth) {
	t.Helper()
	key := string(truth.Feed) + " " + truth.Key
	n, revised := len(w.Deliveries[key]), w.Revised[key]
	horizon := truth.Created.Truncate(time.Hour).Add(25 * time.Hour)
	switch {
	case n == 0:
		t.Fatalf("%s, created %s, visible %s, was not delivered", key, truth.Created, truth.Visible)
	case truth.Revised.IsZero() && n != 1:
		t.Fatalf("%s, created %s, was delivered %d times", key, truth.Created, n)
	case !truth.Revised.IsZero() && truth.Revised.Before(horizon) && revised != 1:
		t.Fatalf("%s, revised %s, was delivered %d times, %d times revised", key, truth.Revised, n, revised)
	}
}

// peak is the most calls of a pool in any 24 hours by the simulator's clock,
// whatever the answers were.
func peak(calls []simulate.Call, pool feed.Pool) (most int) {
	var recent []time.Time
	for _, c := range calls {
		if c.Pool != pool {
			continue
		}
		recent = append(recent, c.At)
		for !recent[0].After(c.At.Add(-quota.Period)) {
			recent = recent[1:]
		}
		most = max(most, len(recent))
	}
	return most
}

func covered(windows []window.Window, at time.Time) bool {
	return slices.ContainsFunc(windows, func(w window.Window) bool { return !at.Before(w.Start) && at.Before(w.End) })
}

// steady checks that live calls came as often as the planner meant. It is for spans without
// disturbance. What was meant is the longest cadence since the last live call, by every call: a few
// sweeps at once spend calls that live reading then waits for.
func steady(t tester, w *simulate.World, from time.Time) {
	t.Helper()
	var last time.Time
	var cadence time.Duration
	for _, call := range w.Calls {
		if call.At.Before(from) {
			continue
		}
		cadence = max(cadence, call.Cadence)
		if call.Lane != taplinev1.Lane_LANE_LIVE {
			continue
		}
		meant := min(cadence, time.Hour) + 2*time.Minute // to the next minute, and a look of the scheduler
		if gap := call.At.Sub(last); !last.IsZero() && gap > meant && call.Left > 0 {
			t.Fatalf("no live call from %s to %s, though %d were left and one every %s was meant", last, call.At, call.Left, cadence)
		}
		last, cadence = call.At, call.Cadence
	}
	if last.IsZero() {
		t.Fatalf("no live call after %s", from)
	}
}

// TestWeeks disturbs the collector in every way for a week, and then lets it recover.
func TestWeeks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := options(rapid.Uint64Range(1, 1000).Draw(t, "seed"), rapid.SampledFrom([]int{150, 400, 1800}).Draw(t, "limit"))
		o.Schedulers, o.Fetchers = rapid.IntRange(1, 2).Draw(t, "schedulers"), rapid.IntRange(1, 3).Draw(t, "fetchers")
		w, err := simulate.New(o)
		if err != nil {
			t.Fatalf("%v", err)
		}
		w.Skew = time.Duration(rapid.IntRange(-60, 60).Draw(t, "skew")) * time.Second
		for elapsed := time.Duration(0); elapsed < 6*day; {
			span := time.Duration(rapid.IntRange(1, 20*60).Draw(t, "minutes")) * time.Minute
			elapsed += span
			disturb(t, w, span)
			honest(t, w)
		}
		run(t, w, 3*day)
		honest(t, w)
		steady(t, w, w.Now().Add(-day))
		judge(t, w, o)
	})
}

// disturb is one thing that happens, for a while.
func disturb(t *rapid.T, w *simulate.World, span time.Duration) {
	short := min(span, 3*time.Hour)
	switch rapid.SampledFrom([]string{"nothing", "kill", "restart", "outage", "slow", "others", "clock", "ahead", "odd", "poison", "poison"}).Draw(t, "event") {
	case "kill":
		for range 5 {
			run(t, w, span/5)
			w.Kill(rapid.Bool().Draw(t, "stored"))
		}
		return
	case "restart":
		w.Kill(false)
		w.Off = true
		run(t, w, short)
		w.Off = false
	case "outage":
		w.Down = true
		run(t, w, short)
		w.Down = false
	case "slow":
		w.Slow = time.Duration(rapid.IntRange(5, 90).Draw(t, "seconds")) * time.Second
		run(t, w, short)
		w.Slow = 0
	case "others":
		w.Others(context.Background(), rapid.IntRange(1, 100).Draw(t, "calls"))
	case "ahead":
		w.Ahead = rapid.SampledFrom([]time.Duration{-3 * time.Hour, 2 * time.Hour, 30 * time.Hour}).Draw(t, "by")
		run(t, w, short)
		w.Ahead = 0
	case "odd":
		inject(t, w, short, oddity(t))
	case "poison":
		inject(t, w, span, poisoned(t, w), poisoned(t, w))
		return
	case "clock":
		w.Skew += time.Duration(rapid.IntRange(-20, 20).Draw(t, "step")) * time.Second
	}
	run(t, w, span)
}

// TestASchedulerThatIsAhead plans windows before they have ended and takes them for older than any
// sweep. They are swept all the same, live reading does not wait for the end of what was planned,
// and nothing is read before the head margin.
func TestASchedulerThatIsAhead(t *testing.T) {
	t.Parallel()
	o := options(5, 1800)
	o.Step, o.Age, o.Sim.LateFraction = time.Minute, day, 0.3
	o.Start = o.Start.Truncate(time.Minute).Add(2 * time.Second) // a minute has ended at each step, and the head margin has not passed
	w, err := simulate.New(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, w, day)
	from := w.Now()
	for range 10 {
		w.Ahead = 30 * time.Hour
		run(t, w, time.Hour)
		w.Ahead = 0
		run(t, w, time.Hour)
	}
	to := w.Now()
	run(t, w, 3*day)
	judge(t, w, o)
	for _, call := range w.Calls {
		if margin := call.At.Sub(call.Window.End); margin < 5*time.Second {
			t.Errorf("%s was called for at %s, %s after its end", call.Window, call.At, margin)
		}
	}
	for truth := range w.Sim.Truth(from, to) {
		at := w.Deliveries[string(truth.Feed)+" "+truth.Key]
		if punctual := truth.Visible.Sub(truth.Created) < time.Minute; punctual && at[0].Sub(truth.Visible) > 10*time.Minute {
			t.Errorf("%s was visible at %s and delivered at %s", truth.Key, truth.Visible, at[0])
		}
	}
}

// TestAbsenceOfNineDays: what fell off the edge is lost and says so; the rest is read.
func TestAbsenceOfNineDays(t *testing.T) {
	t.Parallel()
	o := options(7, 600)
	w, err := simulate.New(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, w, 2*day)
	left := w.Now()
	w.Off = true
	run(t, w, 9*day)
	w.Off = false
	back := w.Now()
	run(t, w, 3*day)
	judge(t, w, o)
	steady(t, w, w.Now().Add(-day))
	for _, f := range feed.SIEM() {
		lost := window.New(left, back.Add(-7*day)).Missing(w.Lost[f])
		if len(w.Lost[f]) == 0 || (len(lost) > 0 && lost[0].Span() > 2*time.Minute) {
			t.Errorf("%s: lost %v while absent from %s to %s", f, w.Lost[f], left, back)
		}
		for _, r := range w.Lost[f] {
			if r.End.After(plan.Oldest(back).Add(time.Minute)) {
				t.Errorf("%s: %s is lost and could be read at %s", f, r, back)
			}
		}
	}
}

// TestReplicasChangeNothing: two schedulers and three fetchers, and one of each.
func TestReplicasChangeNothing(t *testing.T) {
	t.Parallel()
	collect := func(schedulers, fetchers int) *simulate.World {
		o := options(3, 600)
		o.Schedulers, o.Fetchers = schedulers, fetchers
		w, err := simulate.New(o)
		if err != nil {
			t.Fatal(err)
		}
		run(t, w, 3*day)
		judge(t, w, o)
		return w
	}
	one, many := collect(1, 1), collect(2, 3)
	settled := one.Now().Add(-27 * time.Hour)
	for truth := range one.Sim.Truth(options(3, 600).Start.Add(-3*day), settled) {
		key := string(truth.Feed) + " " + truth.Key
		if len(one.Deliveries[key]) != len(many.Deliveries[key]) {
			t.Errorf("%s: %v and %v", key, one.Deliveries[key], many.Deliveries[key])
		}
	}
	if a, b := len(one.Calls), len(many.Calls); b > a+a/10 {
		t.Errorf("%d calls by one, %d by many", a, b)
	}
}
