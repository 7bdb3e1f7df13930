package weeks_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
	"github.com/tapline/tapline/test/torture/simulate"
)

// honest holds what the plan says against the truth: what it neither lists as unread nor as lost is
// here, if it was visible when its window was read first, and whenever it became visible if it is
// sealed.
func honest(t tester, w *simulate.World) {
	t.Helper()
	if w.Plans == nil {
		return
	}
	start, head := w.Plans.GetStart().AsTime(), w.Plans.GetLiveHead().AsTime()
	unread := make(map[feed.Feed][]window.Window)
	for _, d := range plan.Unread(w.Plans) {
		for _, f := range d.Feeds {
			unread[feed.Feed(f)] = append(unread[feed.Feed(f)], d.Window)
		}
	}
	for truth := range w.Sim.Truth(start, head) {
		f, at := truth.Feed, truth.Created
		punctual := truth.Visible.Sub(at) <= punctuality
		sealed := covered(w.Sealed[f], at)
		if truth.Visible.After(w.Now()) || (!punctual && !sealed) || covered(unread[f], at) || covered(w.Lost[f], at) {
			continue
		}
		if len(w.Deliveries[string(f)+" "+truth.Key]) == 0 {
			t.Fatalf("at %s nothing of %s is called unread or lost, sealed: %t; %s, visible %s, is missing", w.Now(), at, sealed, truth.Key, truth.Visible)
		}
	}
}

// punctuality is how soon a record is visible that the first reading of its window finds: the
// margin that live windows keep.
const punctuality = 5 * time.Second

// oddity draws an answer that proves nothing, for all paths.
func oddity(t *rapid.T) tapsim.Fault {
	return rapid.SampledFrom([]tapsim.Fault{
		{Kind: tapsim.FaultBadRequest},
		{Kind: tapsim.FaultBadRequest, Text: "Request could not be understood"},
		{Kind: tapsim.FaultStatus, Status: 404},
		{Kind: tapsim.FaultEmpty},
		{Kind: tapsim.FaultSyslog},
		{Kind: tapsim.FaultNoEnd},
		{Kind: tapsim.FaultNoArrays},
		{Kind: tapsim.FaultNoArray},
		{Kind: tapsim.FaultRenamed},
		{Kind: tapsim.FaultError},
		{Kind: tapsim.FaultMaxSpan, Delay: 20 * time.Minute},
		{Kind: tapsim.FaultEarlyEnd, Delay: 10 * time.Minute},
		{Kind: tapsim.FaultHeadLag, Delay: 10 * time.Minute},
	}).Draw(t, "odd")
}

// poisoned is an instant of the last day that no window may contain.
func poisoned(t *rapid.T, w *simulate.World) tapsim.Fault {
	back := time.Duration(rapid.IntRange(0, 24*60).Draw(t, "minutes ago")) * time.Minute
	status := rapid.SampledFrom([]int{400, 404, 500}).Draw(t, "status")
	return tapsim.Fault{Kind: tapsim.FaultStatus, Status: status, Instant: w.Now().Add(-back)}
}

// inject lets Proofpoint answer oddly while time passes.
func inject(t tester, w *simulate.World, d time.Duration, faults ...tapsim.Fault) {
	t.Helper()
	for _, f := range faults {
		if err := w.Sim.Inject(f); err != nil {
			t.Fatalf("%v", err)
		}
	}
	run(t, w, d)
	w.Sim.Clear()
}

// TestOneInstant: two instants that are answered with an error for days hold nothing else up. They
// cost a small share of the calls, are listed all the time, and are read when they can be.
func TestOneInstant(t *testing.T) {
	t.Parallel()
	for _, status := range tier.Pick([]int{400}, []int{400}, []int{400, 404, 500}) {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			oneInstant(t, status)
		})
	}
}

func oneInstant(t *testing.T, status int) {
	t.Helper()
	o := options(11, 1800)
	o.Step, o.Age, o.Sim.RevisedFraction, o.Sim.LateFraction = time.Minute, day, 0, 0
	w, err := simulate.New(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, w, 6*time.Hour)
	from := w.Now()
	instants := []time.Time{from.Add(-time.Minute), from.Add(3 * time.Hour)}
	for _, at := range instants {
		if err := w.Sim.Inject(tapsim.Fault{Kind: tapsim.FaultStatus, Status: status, Instant: at}); err != nil {
			t.Fatal(err)
		}
	}
	run(t, w, 2*day)
	honest(t, w)
	besides(t, w, instants, from, w.Now())
	w.Sim.Clear()
	run(t, w, 30*time.Hour)
	honest(t, w)
	judge(t, w, o)
	if lost := slices.Concat(w.Lost[feed.ClicksBlocked], w.Lost[feed.MessagesDelivered]); len(lost) > 0 {
		t.Errorf("lost %v", lost)
	}
}

// besides checks that everything but some instants is read and sealed as always, and what the
// instants cost.
func besides(t *testing.T, w *simulate.World, instants []time.Time, from, to time.Time) {
	t.Helper()
	near := func(at time.Time, d time.Duration) bool {
		return slices.ContainsFunc(instants, func(i time.Time) bool { return at.Sub(i).Abs() <= d })
	}
	for truth := range w.Sim.Truth(from, to.Add(-time.Hour)) {
		if truth.Visible.Sub(truth.Created) > punctuality || near(truth.Created, 5*time.Minute) {
			continue
		}
		at := w.Deliveries[string(truth.Feed)+" "+truth.Key]
		if len(at) == 0 || at[0].Sub(truth.Visible) > 20*time.Minute {
			t.Fatalf("%s of %s was delivered at %v", truth.Key, truth.Created, at)
		}
	}
	for _, f := range feed.SIEM() {
		for _, open := range window.New(from, to.Add(-27*time.Hour)).Missing(w.Sealed[f]) {
			if !near(open.Start, time.Hour) && !near(open.End, time.Hour) && open.Span() > 2*time.Hour {
				t.Errorf("%s of %s is not sealed", open, f)
			}
		}
	}
	failed := make(map[time.Time]int) // by hour
	most := 0
	for _, c := range w.Calls {
		if c.Status != 200 && !c.At.Before(from) && c.At.Before(to) {
			hour := c.At.Truncate(time.Hour)
			failed[hour]++
			most = max(most, failed[hour])
		}
	}
	if most == 0 || most > 1800/20 {
		t.Errorf("%d calls of an hour failed", most)
	}
}

// TestAnswersThatEndEarly: what lies behind an early queryEndTime is not called read, however often
// it is answered so.
func TestAnswersThatEndEarly(t *testing.T) {
	t.Parallel()
	o := options(13, 1800)
	o.Step, o.Age = time.Minute, 12*time.Hour
	w, err := simulate.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Sim.Inject(tapsim.Fault{Kind: tapsim.FaultEarlyEnd, Delay: 10 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		run(t, w, 2*time.Hour)
		honest(t, w)
	}
	w.Sim.Clear()
	run(t, w, 3*day)
	honest(t, w)
	judge(t, w, o)
}

// TestNothingIsWrong: in a world without faults, and in a quiet one, nothing is set aside, called
// lost, or asked for without need.
func TestNothingIsWrong(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0, 0.005} {
		o := options(17, 1800)
		o.Step, o.Age, o.Sim.Rate = time.Minute, 7*day, rate
		w, err := simulate.New(o)
		if err != nil {
			t.Fatal(err)
		}
		for range 8 {
			run(t, w, 6*time.Hour)
			honest(t, w)
		}
		if len(w.Problems)+len(w.Lost)+w.Vain > 0 {
			t.Errorf("rate %g: %v, lost %v, %d times in vain", rate, w.Problems, w.Lost, w.Vain)
		}
		for _, c := range w.Calls {
			if c.Status != 200 {
				t.Errorf("rate %g: status %d for %s in lane %s", rate, c.Status, c.Window, taplinev1.Lane_name[int32(c.Lane)])
			}
		}
	}
}
