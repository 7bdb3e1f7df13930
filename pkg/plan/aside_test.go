package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// calls counts what is asked for, by lane or "aside".
type calls map[string]int

// ladder answers as a fetcher does whose Proofpoint never answers for one instant: a window with it
// is cut while it can be, and then asked for in vain.
func (s *system) ladder(poison time.Time, made calls) func(*taplinev1.Job) *taplinev1.JobRecord {
	return func(j *taplinev1.Job) *taplinev1.JobRecord {
		name := j.GetLane().String()
		if j.GetAside() {
			name = "aside"
		}
		made[name]++
		w := span(j)
		if poison.Before(w.Start) || !poison.Before(w.End) {
			return fetched(s.now, 0)
		}
		if _, _, halves := w.Halves(); halves || j.GetOverlap() > 0 || len(j.GetFeeds()) > 1 {
			return split()
		}
		return inVain(j)
	}
}

// TestOneInstantThatIsNeverAnswered costs its own half a minute and some calls a day, and nothing
// else: live reading, and every sweep of every other instant, take place in time. After seven days
// that half a minute is lost, and says why.
func TestOneInstantThatIsNeverAnswered(t *testing.T) {
	t.Parallel()
	s := newSystem(t.Fatalf, feed.SIEM(), time.Hour)
	poison := epoch.Add(5*time.Hour + 17*time.Minute + 11*time.Second)
	made := calls{}
	seen := map[uint32][]window.Window{}
	late := time.Duration(0)
	answer := s.ladder(poison, made)
	begin := s.now
	for ; s.now.Before(begin.Add(8 * day)); s.now = s.now.Add(time.Minute) {
		s.step(func(j *taplinev1.Job) *taplinev1.JobRecord {
			if j.GetLane() == taplinev1.Lane_LANE_SWEEP {
				seen[j.GetPass()] = append(seen[j.GetPass()], span(j))
			}
			return answer(j)
		})
		if s.now.After(begin.Add(10 * time.Minute)) {
			late = max(late, s.now.Sub(s.state().GetLiveHead().AsTime()))
		}
	}
	s.check()
	if late > 3*time.Minute {
		t.Errorf("live reading was %s behind", late)
	}
	half := window.New(poison.Add(-window.MinSpan), poison.Add(window.MinSpan))
	for _, f := range feed.SIEM() {
		for _, w := range s.lost[f] {
			if !w.Meets(half) || w.Span() > 2*window.MinSpan {
				t.Errorf("%s of %s is lost", w, f)
			}
		}
		if len(s.lost[f]) == 0 {
			t.Errorf("%s of %s is not given up after seven days", half, f)
		}
		if open := window.New(s.start, begin.Add(6*day)).Missing(append(slices.Clone(s.sealed[f]), half)); len(open) > 0 {
			t.Errorf("not sealed of %s: %s", f, open)
		}
	}
	for pass, windows := range seen {
		whole := window.New(begin, s.now.Add(-time.Duration(pass)*time.Minute-2*time.Hour))
		if open := whole.Missing(append(windows, half)); pass <= 1440 && len(open) > 0 {
			t.Errorf("pass %d left out %s", pass, open)
		}
	}
	if n := made["aside"]; n > 8*24*4+60 { // four feeds, each once an hour
		t.Errorf("%d calls in eight days went to half a minute", n)
	}
}

// TestWindowsSetAsideTakeNoPlaceFromOthers: when everything is answered oddly they wait, two at a
// time are offered, longer each time; when that is over all is read.
func TestWindowsSetAsideTakeNoPlaceFromOthers(t *testing.T) {
	t.Parallel()
	s := newSystem(t.Fatalf, feed.SIEM(), 6*time.Hour)
	offered := map[string][]time.Time{}
	for end := s.now.Add(10 * time.Hour); s.now.Before(end); s.now = s.now.Add(time.Minute) {
		s.step(func(j *taplinev1.Job) *taplinev1.JobRecord {
			if j.GetAside() {
				offered[j.GetId()] = append(offered[j.GetId()], s.now)
			}
			return inVain(j)
		})
		s.check()
	}
	if behind := s.now.Sub(s.state().GetLiveHead().AsTime()); behind > 3*time.Minute {
		t.Errorf("nothing new was planned for %s", behind)
	}
	for id, at := range offered {
		for i := 1; i < len(at); i++ {
			if wait, want := at[i].Sub(at[i-1]), min(time.Minute<<min(i, 6), time.Hour); wait < want {
				t.Fatalf("try %d of %s came after %s, want %s", i+1, id, wait, want)
			}
		}
	}
	if n := len(s.state().GetAsides()); n > 301 {
		t.Errorf("%d windows are set aside", n)
	}
	head := s.state().GetLiveHead().AsTime()
	for _, a := range s.state().GetAsides() {
		if a.GetReason() != "an odd answer" || a.GetFailures() < 3 || a.GetSince().AsTime().IsZero() {
			t.Fatalf("%v", a)
		}
	}
	s.run(12*time.Hour, time.Minute)
	for _, d := range plan.Unread(s.state()) {
		if d.Start.Before(head) {
			t.Errorf("twelve hours later %s still waits: %s", d.Window, d.Reason)
		}
	}
}

// TestThePartThatIsNotProven is asked for after a minute, and is not read until then.
func TestThePartThatIsNotProven(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		proven, rest time.Duration // of a live window of one minute that reads five more again
		overlap      uint32
	}{
		{5*time.Minute + 20*time.Second, 40 * time.Second, 0},
		{5*time.Minute + 50*time.Second + 700*time.Millisecond, 30 * time.Second, 20},
		{time.Minute, time.Minute, 0},
		{-time.Minute, time.Minute, 0},
	} {
		s := newSystem(t.Fatalf, feed.SIEM(), 0)
		s.run(20*time.Minute, time.Minute)
		var live *taplinev1.Job
		s.step(func(j *taplinev1.Job) *taplinev1.JobRecord {
			live = j
			r := fetched(s.now, 1)
			r.ReadEnd = timestamppb.New(span(j).Start.Add(c.proven))
			return r
		})
		outcomes := s.outcomes
		s.now = s.now.Add(10 * time.Second)
		plan.Step(s.c, s.state(), plan.Input{Now: s.now, Outcomes: outcomes})
		asides := s.state().GetAsides()
		if live.GetOverlap() != 300 || len(asides) != 1 {
			t.Fatalf("%v became %v", live, asides)
		}
		a := asides[0]
		if w := span(a.GetJob()); w.End != span(live).End || w.Span() != c.rest || a.GetJob().GetOverlap() != c.overlap || a.GetJob().GetId() == live.GetId() {
			t.Errorf("proven %s of %s: %s waits, overlap %d", c.proven, span(live), w, a.GetJob().GetOverlap())
		}
		if due := a.GetRetryAt().AsTime().Sub(s.now); due < time.Minute || due > 20*time.Minute || len(plan.Offered(s.state())) != 0 {
			t.Errorf("due in %s", due)
		}
		if left, oldest, ok := plan.Edge(s.state(), s.now); !ok || oldest.Before(span(live).Start) || left > 7*day {
			t.Errorf("the edge is %s from %s", left, oldest)
		}
	}
}

// TestNoAnswerLosesWhatIsServed: a fetcher that gives up a window which is served has it set aside.
func TestNoAnswerLosesWhatIsServed(t *testing.T) {
	t.Parallel()
	lost := &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_LOST, Reason: "400 without a body"}
	s := newSystem(t.Fatalf, feed.SIEM(), 3*time.Hour)
	ids := map[string]bool{}
	for range 5 {
		s.step(func(j *taplinev1.Job) *taplinev1.JobRecord {
			if ids[j.GetId()] {
				t.Errorf("%s is offered again, and its outcome stays what it is", j.GetId())
			}
			ids[j.GetId()] = true
			return lost
		})
		s.check()
		s.now = s.now.Add(time.Hour)
	}
	if len(s.state().GetAsides()) == 0 || len(s.lost) > 0 {
		t.Errorf("%d set aside, lost %v", len(s.state().GetAsides()), s.lost)
	}
}

// TestWhatIsLostSaysSinceWhenAndWhy.
func TestWhatIsLostSaysSinceWhenAndWhy(t *testing.T) {
	t.Parallel()
	reasons := func(vain bool) string {
		s := newSystem(t.Fatalf, feed.SIEM(), 0)
		s.run(time.Hour, time.Minute)
		s.state().FirstRead = timestamppb.New(epoch)
		for range 5 {
			s.step(func(j *taplinev1.Job) *taplinev1.JobRecord {
				if vain {
					return inVain(j)
				}
				return nil
			})
			s.now = s.now.Add(time.Minute)
		}
		s.now = s.now.Add(9 * day)
		var all []string
		out := plan.Step(s.c, s.state(), plan.Input{Now: s.now, Outcomes: s.outcomes})
		for _, r := range out.Lost {
			all = append(all, r.Reason)
		}
		return strings.Join(all, "\n")
	}
	for vain, want := range map[bool][]string{
		true:  {"asked for in vain since 2026-03-11T09:1", "an odd answer", "nothing was planned since 2026-03-11T09:2"},
		false: {"asked for since 2026-03-11T09:1", "without an answer", "nothing was planned since 2026-03-11T09:"},
	} {
		got := reasons(vain)
		for _, text := range want {
			if !strings.Contains(got, text) {
				t.Errorf("vain %t: %q is not in\n%s", vain, text, got)
			}
		}
	}
}

// TestLagIsLearned: when Proofpoint serves ten minutes behind its clock, few windows are asked for
// that are not served; when that is over, live reading comes back to the present.
func TestLagIsLearned(t *testing.T) {
	t.Parallel()
	s := newSystem(t.Fatalf, feed.SIEM(), time.Hour)
	s.run(time.Hour, 10*time.Second)
	lag, refused := 10*time.Minute, 0
	answer := func(j *taplinev1.Job) *taplinev1.JobRecord {
		w, served := span(j), s.now.Add(-lag)
		r := fetched(s.now, 0)
		if w.End.After(served) {
			refused++
			r.ReadEnd, r.LagMs = timestamppb.New(served), lag.Milliseconds()
		}
		return r
	}
	play := func(d time.Duration) {
		for end := s.now.Add(d); s.now.Before(end); s.now = s.now.Add(10 * time.Second) {
			s.step(answer)
		}
	}
	play(25 * time.Minute)
	if refused > 3 {
		t.Errorf("%d answers were short while the lag was learned", refused)
	}
	if behind := s.now.Sub(s.state().GetLiveHead().AsTime()); behind > lag+2*time.Minute || behind < lag {
		t.Errorf("live reading is %s behind", behind)
	}
	refused = 0
	play(4 * time.Hour)
	if refused > 3*9 { // now and then a little less is tried
		t.Errorf("%d short answers in four hours", refused)
	}
	lag = 0
	play(8 * time.Hour)
	if behind := s.now.Sub(s.state().GetLiveHead().AsTime()); behind > 2*time.Minute || s.state().GetLagMs() > 10_000 {
		t.Errorf("hours later live reading is %s behind, lag %d ms", behind, s.state().GetLagMs())
	}
}

// TestNothingIsLostByAClock that another one contradicts.
func TestNothingIsLostByAClock(t *testing.T) {
	t.Parallel()
	s := newSystem(t.Fatalf, feed.SIEM(), 3*day)
	s.run(10*time.Minute, time.Minute)
	wrong := s.now.Add(10 * day)
	if out := plan.Step(s.c, s.state(), plan.Input{Now: wrong, Earliest: s.now, Outcomes: s.outcomes}); len(out.Lost) > 0 {
		t.Errorf("lost: %v", out.Lost)
	}
	if out := plan.Step(s.c, s.state(), plan.Input{Now: wrong, Earliest: wrong, Outcomes: s.outcomes}); len(out.Lost) == 0 {
		t.Error("nothing is lost when both clocks say so")
	}
}

// TestAsidesAreInTheBudget: what is asked for in vain is paid by live calls becoming fewer, not by
// the limit.
func TestAsidesAreInTheBudget(t *testing.T) {
	t.Parallel()
	cadence := func(asides int) (plan.Output, *system) {
		s := newSystem(t.Fatalf, feed.SIEM(), 0)
		s.run(time.Hour, time.Minute)
		for i := range asides {
			w := window.New(epoch.Add(time.Duration(i)*time.Minute), epoch.Add(time.Duration(i+1)*time.Minute))
			s.state().Asides = append(s.state().Asides, &taplinev1.Aside{
				Job: &taplinev1.Job{Id: fmt.Sprint(i), Feeds: feed.Names(s.c.Set), Window: w.Proto(), Lane: taplinev1.Lane_LANE_LIVE}, RetryAt: timestamppb.New(s.now),
			})
		}
		supply := quota.Forecast{Limit: 1000, Left: 60}
		for i := range 24 {
			supply.Returns = append(supply.Returns, quota.Return{At: s.now.Add(time.Duration(i+1) * time.Hour), Units: 40})
		}
		return plan.Step(s.c, s.state(), plan.Input{Now: s.now, Outcomes: s.outcomes, Supply: &supply}), s
	}
	none, _ := cadence(0)
	some, s := cadence(20)
	if some.Cadence <= none.Cadence {
		t.Errorf("live calls every %s with 20 windows set aside, and every %s without", some.Cadence, none.Cadence)
	}
	empty := quota.Forecast{Limit: 1000, Left: 0}
	s.state().Outstanding = nil
	for _, a := range s.state().GetAsides() {
		a.Job.Aside = false
	}
	plan.Step(s.c, s.state(), plan.Input{Now: s.now, Supply: &empty})
	if n := len(plan.Offered(s.state())); n > 0 {
		t.Errorf("%d jobs are offered without a unit", n)
	}
}

// TestAnOrderIsReadOnceMore: under new ids, once, and as far as it is served. What was asked for in
// vain comes at once.
func TestAnOrderIsReadOnceMore(t *testing.T) {
	t.Parallel()
	s := newSystem(t.Fatalf, feed.SIEM(), 7*day)
	s.run(2*time.Hour, time.Minute)
	before := map[string]bool{}
	for id := range s.outcomes {
		before[id] = true
	}
	w := window.New(s.now.Add(-9*day), s.now.Add(-6*day))
	order := &taplinev1.Retry{Window: w.Proto(), Feeds: []string{"clicksBlocked"}}
	for range 2 { // a scheduler that ends between the plan and the end of the order takes it up twice
		plan.Retry(s.c, s.state(), s.now, order)
	}
	if waits := s.unread(feed.ClicksBlocked); len(w.Within(window.New(plan.Oldest(s.now), s.now)).Missing(waits)) > 0 || len(s.unread(feed.ClicksPermitted)) > 1 {
		t.Fatalf("waiting: %s", waits)
	}
	var again []window.Window
	for end := s.now.Add(2 * time.Hour); s.now.Before(end); s.now = s.now.Add(time.Minute) {
		s.step(func(j *taplinev1.Job) *taplinev1.JobRecord {
			if j.GetLane() == taplinev1.Lane_LANE_BACKFILL {
				if before[j.GetId()] || !slices.Equal(j.GetFeeds(), []string{"clicksBlocked"}) {
					t.Errorf("%s was asked for before", j.GetId())
				}
				again = append(again, span(j))
			}
			return fetched(s.now, 0)
		})
	}
	sum := time.Duration(0)
	for _, w := range again {
		sum += w.Span()
	}
	if span := w.End.Sub(plan.Oldest(s.now.Add(-2 * time.Hour))); sum < span-time.Hour || sum > span+time.Minute {
		t.Errorf("%s were read once more, of %s", sum, span)
	}
	vain := newSystem(t.Fatalf, feed.SIEM(), time.Hour)
	for range 6 {
		vain.step(func(j *taplinev1.Job) *taplinev1.JobRecord { return inVain(j) })
		vain.now = vain.now.Add(10 * time.Minute)
	}
	for _, a := range vain.state().GetAsides() {
		a.RetryAt = timestamppb.New(vain.now.Add(time.Hour))
	}
	plan.Retry(vain.c, vain.state(), vain.now, &taplinev1.Retry{Window: window.New(epoch.Add(-day), vain.now).Proto()})
	for _, a := range vain.state().GetAsides() {
		if !a.GetJob().GetAside() && a.GetRetryAt().AsTime().After(vain.now) {
			t.Errorf("%s waits on until %s", a.GetJob().GetId(), a.GetRetryAt().AsTime())
		}
	}
}
