package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestNoChangeForgetsAnInstant: with random changes of the feeds, the start time and the sweeps,
// and pauses of any length between, in which nothing runs.
func TestNoChangeForgetsAnInstant(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func() feed.Set {
			return slices.DeleteFunc(feed.SIEM(), func(f feed.Feed) bool { return !rapid.Bool().Draw(t, string(f)) })
		}
		ages := []time.Duration{0, time.Hour, 12 * time.Hour, 3 * day, 7 * day}
		s := newSystem(t.Fatalf, draw(), rapid.SampledFrom(ages).Draw(t, "age"))
		for range rapid.IntRange(2, 7).Draw(t, "starts") {
			for range rapid.IntRange(0, 12).Draw(t, "steps") {
				s.step(func(j *taplinev1.Job) *taplinev1.JobRecord {
					switch rapid.IntRange(0, 5).Draw(t, "fate") {
					case 0:
						return nil
					case 1:
						return inVain(j)
					}
					return fetched(s.now, int64(rapid.IntRange(0, 1).Draw(t, "found")))
				})
				s.check()
				s.now = s.now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 40 * time.Minute}).Draw(t, "passes"))
			}
			s.now = s.now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Hour, 10 * time.Hour, 3 * day, 9 * day}).Draw(t, "pause"))
			s.c.Set = draw()
			s.startTime(rapid.SampledFrom(ages).Draw(t, "age"))
			s.c.Sweeps = rapid.SampledFrom([][]time.Duration{nil, {35 * time.Minute}, {35 * time.Minute, 6 * time.Hour, day}, {2 * day}}).Draw(t, "sweeps")
			s.launch()
			s.check()
		}
		if len(s.c.Set) == 0 || len(s.plans) == 0 {
			return
		}
		end := window.New(s.start, s.state().GetLiveHead().AsTime())
		s.run(9*day, 30*time.Minute)
		for _, f := range s.c.Set { // nine days without trouble leave nothing open
			if end.Start.Before(s.start) {
				end.Start = s.start
			}
			if open := end.Missing(slices.Concat(s.sealed[f], s.lost[f], s.offs(f))); len(open) > 0 {
				t.Fatalf("%s: neither sealed nor lost nor left out: %s", f, open)
			}
		}
	})
}

// TestTableOfChanges: every pair of settings that a running system may meet at its next start, and
// what must happen. Before the change the system ran for two days with all feeds and a start time
// of twelve hours.
func TestTableOfChanges(t *testing.T) {
	t.Parallel()
	two := feed.Set{feed.ClicksBlocked, feed.MessagesBlocked}
	head := func(s *system) time.Time { return s.state().GetLiveHead().AsTime() }
	for name, c := range map[string]struct {
		pause  time.Duration
		change func(*system)
		then   func(s *system, before time.Time)
	}{
		"nothing": {3 * day, func(*system) {}, func(s *system, before time.Time) {
			if head(s) != before || s.state().GetGeneration() != 0 || len(s.notes) > 0 {
				s.errorf("head %s, notes %v", head(s), s.notes)
			}
		}},
		"a feed less": {time.Minute, func(s *system) { s.c.Set = two }, func(s *system, before time.Time) {
			if waits := s.unread(feed.ClicksBlocked); head(s) != before || len(waits) > 1 {
				s.errorf("the others begin anew: head %s, before %s, %v", head(s), before, waits)
			}
			s.wantOff(feed.ClicksPermitted, window.New(before, s.now))
			if len(s.offs(feed.ClicksBlocked)) > 0 {
				s.errorf("%v is listed for a feed that is on", s.offs(feed.ClicksBlocked))
			}
		}},
		"a feed less over a pause": {3 * day, func(s *system) { s.c.Set = two }, func(s *system, before time.Time) {
			if head(s) != before {
				s.errorf("the others go on at %s, and had come to %s", head(s), before)
			}
			s.wantOff(feed.ClicksPermitted, window.New(before, s.now))
		}},
		"off and on within seven days": {time.Minute, func(s *system) {
			s.c.Set = two
			s.launch()
			s.run(3*day, 10*time.Minute)
			s.c.Set = feed.SIEM()
		}, func(s *system, before time.Time) {
			if open := window.New(before, head(s)).Missing(s.unread(feed.ClicksPermitted)); len(open) > 0 || len(s.state().GetOffs()) > 0 {
				s.errorf("not waiting: %s; off: %v", open, s.state().GetOffs())
			}
			if waits := s.unread(feed.ClicksBlocked); len(waits) > 1 || waits[0].Span() > 10*time.Minute { // what was outstanding
				s.errorf("a feed that was on waits for %v", s.unread(feed.ClicksBlocked))
			}
		}},
		"off and on after eight days": {time.Minute, func(s *system) {
			s.c.Set = two
			s.launch()
			s.run(8*day, 10*time.Minute)
			s.c.Set = feed.SIEM()
		}, func(s *system, before time.Time) {
			oldest := plan.Oldest(s.now)
			s.wantOff(feed.ClicksPermitted, window.New(before, oldest))
			if open := window.New(oldest, head(s)).Missing(s.unread(feed.ClicksPermitted)); len(open) > 0 {
				s.errorf("served and not waiting: %s", open)
			}
		}},
		"all off, and on after a day": {time.Minute, func(s *system) {
			s.c.Set = nil
			s.launch()
			for _, f := range feed.SIEM() {
				s.wantOff(f, window.New(head(s), s.now))
			}
			if jobs := plan.Offered(s.state()); len(jobs) > 0 {
				s.errorf("jobs of no feed: %v", jobs)
			}
			s.now = s.now.Add(day)
			s.check()
			s.c.Set = feed.SIEM()
		}, func(s *system, before time.Time) {
			s.run(2*time.Hour, time.Minute)
			if open := window.New(before, head(s)).Missing(slices.Concat(s.read[feed.ClicksBlocked], s.unread(feed.ClicksBlocked))); len(open) > 0 {
				s.errorf("not read: %s", open)
			}
		}},
		"a new feed": {time.Minute, func(s *system) {
			*s = *newSystem(s.fatal, two, 12*time.Hour) // of another tenant, so to speak
			s.run(2*day, 10*time.Minute)
			s.c.Set = feed.SIEM()
			s.startTime(12 * time.Hour)
		}, func(s *system, _ time.Time) {
			from := s.now.Add(-12 * time.Hour).Truncate(time.Minute)
			if open := window.New(from, head(s)).Missing(s.unread(feed.ClicksPermitted)); len(open) > 0 {
				s.errorf("a feed that is new is to be read from the start time on, and not %s", open)
			}
			s.wantOff(feed.ClicksPermitted, window.New(s.start, from))
		}},
		"another age, later than what is read": {3 * day, func(s *system) { s.startTime(time.Hour) }, func(s *system, before time.Time) {
			if head(s) != before || len(s.notes) != 1 || !strings.Contains(s.notes[0], "12h0m0s") || !strings.Contains(s.notes[0], "1h0m0s") {
				s.errorf("head %s, before %s, notes %v", head(s), before, s.notes)
			}
		}},
		"the same age": {3 * day, func(s *system) { s.startTime(12 * time.Hour) }, func(s *system, before time.Time) {
			if head(s) != before || len(s.notes) > 0 {
				s.errorf("head %s, before %s, notes %v", head(s), before, s.notes)
			}
		}},
		"an earlier start": {time.Minute, func(s *system) { s.startTime(7 * day) }, func(s *system, _ time.Time) {
			old := epoch.Add(-12 * time.Hour).Truncate(time.Minute)
			if open := window.New(plan.Oldest(s.now), old).Missing(s.unread(feed.ClicksBlocked)); len(open) > 0 || len(s.notes) != 1 {
				s.errorf("not waiting: %s; notes %v", open, s.notes)
			}
			if s.run(2*time.Hour, time.Minute); len(s.unread(feed.ClicksBlocked)) > 3 {
				s.errorf("after two hours: %v", s.unread(feed.ClicksBlocked))
			}
		}},
		"no sweeps any more": {time.Minute, func(s *system) { s.c.Sweeps = nil }, func(s *system, before time.Time) {
			s.run(time.Hour, time.Minute)
			if open := window.New(s.start, before.Add(-10*time.Minute)).Missing(s.sealed[feed.ClicksBlocked]); len(open) > 0 {
				s.errorf("waits for sweeps that are off: %s", open)
			}
		}},
		"other intervals, margin and overlap": {time.Hour, func(s *system) {
			s.c.Poll, s.c.Margin, s.c.Overlap = time.Hour, 30*time.Minute, 0
		}, func(s *system, before time.Time) {
			s.run(5*time.Hour, time.Minute)
			if head(s).Before(before.Add(3 * time.Hour)) {
				s.errorf("it does not go on: %s", head(s))
			}
		}},
		"plans that an earlier version left": {3 * day, func(s *system) { // of TAP_FEEDS changed with a short start time
			second := plan.Config{Tenant: "main", Set: two, Start: s.now.Add(-12 * time.Hour), Settings: plan.Settings{Margin: s.c.Margin}}
			s.plans = append(s.plans, plan.Old{Set: two, State: plan.Start(second, s.now)})
			s.c.Set = two
		}, func(s *system, before time.Time) {
			if open := window.New(before, head(s)).Missing(s.unread(feed.ClicksBlocked)); len(open) > 0 {
				s.errorf("the hole is still there: %s", open)
			}
			s.wantOff(feed.ClicksPermitted, window.New(before, s.now))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t.Fatalf, feed.SIEM(), 12*time.Hour)
			s.run(2*day, 10*time.Minute)
			s.errorf = t.Errorf
			before := head(s)
			s.now = s.now.Add(c.pause)
			c.change(s)
			s.launch()
			s.check()
			c.then(s, before)
			s.run(3*time.Hour, time.Minute) // and it works
			if behind := s.now.Sub(head(s)); len(s.c.Set) > 0 && behind > 2*time.Hour {
				t.Errorf("three hours later live reading is %s behind", behind)
			}
		})
	}
}

// TestJobsOfAPlanThatIsNoMore have no place in the next one: a feed that is switched off is not
// asked for.
func TestJobsOfAPlanThatIsNoMore(t *testing.T) {
	t.Parallel()
	s := newSystem(t.Fatalf, feed.SIEM(), 12*time.Hour)
	vain := func(j *taplinev1.Job) *taplinev1.JobRecord {
		if span(j).Start.Minute() == 0 {
			return inVain(j)
		}
		return nil
	}
	for range 3 {
		s.step(vain)
		s.now = s.now.Add(2 * time.Minute)
	}
	olds := plan.Offered(s.state())
	asides := len(s.state().GetAsides())
	if len(olds) == 0 || asides == 0 {
		t.Fatalf("%d jobs, %d set aside", len(olds), asides)
	}
	s.c.Set = feed.Set{feed.ClicksBlocked}
	s.launch()
	s.check()
	s.step(func(*taplinev1.Job) *taplinev1.JobRecord { return nil })
	for _, j := range plan.Offered(s.state()) {
		if !slices.Equal(j.GetFeeds(), []string{"clicksBlocked"}) {
			t.Errorf("%s asks for a feed that is off", j.GetId())
		}
	}
	if n := len(s.state().GetAsides()); n != asides {
		t.Errorf("%d windows are set aside, and %d were", n, asides)
	}
}

// TestLearnedThingsSurviveAChange of the feeds.
func TestLearnedThingsSurviveAChange(t *testing.T) {
	t.Parallel()
	s := newSystem(t.Fatalf, feed.SIEM(), time.Hour)
	s.run(time.Hour, time.Minute)
	s.state().LagMs, s.state().LagAt, s.state().SkewMs = 60_000, timestamppb.New(s.now), 7
	s.c.Set = feed.Set{feed.ClicksBlocked}
	s.launch()
	was := s.state()
	if was.GetLagMs() != 60_000 || was.GetSkewMs() != 7 || was.GetFirstRead() == nil || was.GetGeneration() != 1 || was.GetStartTime() != s.text {
		t.Error(fmt.Sprint(was))
	}
}

// TestAnUpgradeDropsNothingThatWasOwed: a plan of a version before 2 does not say when its first
// window was read. What it owed for days and cannot be read any more is lost, and said so;
// collection does not silently begin later.
func TestAnUpgradeDropsNothingThatWasOwed(t *testing.T) {
	t.Parallel()
	c := config()
	c.Start = epoch.Add(-6 * day)
	s := plan.Start(c, epoch)
	began, now := s.GetStart().AsTime(), epoch.Add(49*time.Hour) // a day of the history is beyond the edge
	s.LiveHead = timestamppb.New(now.Add(-time.Minute).Truncate(time.Minute))
	plan.Begin(c, s, "6d", now)
	out := plan.Step(c, s, plan.Input{Now: now})
	if out.Dropped != nil || !s.GetStart().AsTime().Equal(began) || len(out.Lost) != 1 || !out.Lost[0].Start.Equal(began) || !out.Lost[0].End.Equal(plan.Oldest(now)) {
		t.Errorf("dropped %v, lost %v; collection began at %s, and now at %s", out.Dropped, out.Lost, began, s.GetStart().AsTime())
	}
}
