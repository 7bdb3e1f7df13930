package plan_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestEveryPassSweepsEveryHourOnce: over days with restarts and pauses, each pass
// reads each instant once, in windows of at most an hour, never before its age and
// never before the first reading was planned.
func TestEveryPassSweepsEveryHourOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := config()
		c.Start = epoch.Add(-30 * time.Minute)
		s := plan.Start(c, epoch)
		start, now := s.GetStart().AsTime(), epoch
		outcomes := map[string]*taplinev1.JobRecord{}
		swept := make(map[uint32][]window.Window)
		late := make(map[uint32][]window.Window) // first readings at the age of a pass or later
		var first time.Time                      // of the steps
		for range rapid.IntRange(50, 300).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "minutes")) * time.Minute)
			if first.IsZero() {
				first = now
			}
			s = proto.CloneOf(s) // a restart
			for _, j := range plan.Step(c, s, plan.Input{Now: now, Outcomes: outcomes}).New {
				outcomes[j.GetId()] = fetched(now, 0)
				if j.GetLane() != taplinev1.Lane_LANE_SWEEP {
					for _, age := range c.Sweeps {
						own := span(j)
						own.Start = own.Start.Add(time.Duration(j.GetOverlap()) * time.Second)
						if pass := uint32(age / time.Minute); now.Sub(own.End) >= age && j.GetLane() == taplinev1.Lane_LANE_LIVE {
							late[pass] = append(late[pass], own)
						}
					}
					continue
				}
				w, pass := span(j), j.GetPass()
				switch {
				case pass != 35 && pass != 360 && pass != 1440:
					t.Fatalf("%s has pass %d", j.GetId(), pass)
				case now.Sub(w.End) < time.Duration(pass)*time.Minute:
					t.Fatalf("%s is swept at %s, too early", j.GetId(), now)
				case w.End.After(s.GetLiveHead().AsTime()), w.Span() > time.Hour, w.Start.Before(start):
					t.Fatalf("%s with a live head at %s and a start at %s", j.GetId(), s.GetLiveHead().AsTime(), start)
				}
				swept[pass] = append(swept[pass], w)
			}
		}
		for pass, windows := range swept {
			age := time.Duration(pass) * time.Minute
			slices.SortFunc(windows, func(a, b window.Window) int { return a.Start.Compare(b.Start) })
			// What is older than the pass at the first step is read late enough the first time.
			at := first.Add(-age).Truncate(time.Hour)
			if at.Before(start) {
				at = start
			}
			for _, w := range windows {
				for _, l := range late[pass] { // read so late that it needs no such sweep
					if !l.Start.After(at) && l.End.After(at) {
						at = l.End
					}
				}
				if !w.Start.Equal(at) {
					t.Fatalf("pass %d: after %s comes %s", pass, at, w)
				}
				at = w.End
			}
			// At most two sweeps wait at once, so a pass may lag by some windows, not by days.
			if behind := now.Sub(at) - age; behind > 12*time.Hour {
				t.Errorf("pass %d is %s behind", pass, behind)
			}
		}
		if now.Sub(epoch) > 3*time.Hour && len(swept[35]) == 0 {
			t.Errorf("nothing was swept in %s", now.Sub(epoch))
		}
	})
}

// run advances time with every job done.
func run(c plan.Config, s *taplinev1.PlanState, from, to time.Time, published func(*taplinev1.Job) int64) (sealed []plan.Range, sweeps []*taplinev1.Job) {
	outcomes := map[string]*taplinev1.JobRecord{}
	for _, j := range s.GetOutstanding() {
		outcomes[j.GetId()] = fetched(from, published(j))
	}
	for now := from; now.Before(to); now = now.Add(10 * time.Minute) {
		out := plan.Step(c, s, plan.Input{Now: now, Outcomes: outcomes})
		sealed = append(sealed, out.Sealed...)
		for _, j := range out.New {
			outcomes[j.GetId()] = fetched(now, published(j))
			if j.GetLane() == taplinev1.Lane_LANE_SWEEP {
				sweeps = append(sweeps, j)
			}
		}
	}
	return sealed, sweeps
}

// TestLastSweepIsRepeatedUntilItFindsNothing and the hour is sealed only then.
func TestLastSweepIsRepeatedUntilItFindsNothing(t *testing.T) {
	t.Parallel()
	c := config()
	c.Start = time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC)
	s := plan.Start(c, epoch)
	hour := window.New(c.Start, c.Start.Add(time.Hour))
	sealed, sweeps := run(c, s, epoch, epoch.Add(8*24*time.Hour), func(j *taplinev1.Job) int64 {
		if span(j) == hour && j.GetPass() < 3*1440 {
			return 7
		}
		return 0
	})
	var passes []uint32
	for _, j := range sweeps {
		if span(j) == hour {
			passes = append(passes, j.GetPass())
		}
	}
	if !slices.Equal(passes, []uint32{35, 360, 1440, 2880, 4320}) {
		t.Errorf("the hour was swept at %v minutes", passes)
	}
	n := 0
	for _, r := range sealed {
		if r.Window == hour {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the hour was sealed %d times", n)
	}
}

// TestWindowThatNeverRestsIsSealedAtTheEdge with a reason that says so.
func TestWindowThatNeverRestsIsSealedAtTheEdge(t *testing.T) {
	t.Parallel()
	c := config()
	s := plan.Start(c, epoch)
	sealed, _ := run(c, s, epoch, epoch.Add(9*24*time.Hour), func(*taplinev1.Job) int64 { return 1 })
	i := slices.IndexFunc(sealed, func(r plan.Range) bool { return strings.Contains(r.Reason, "found 1 records") })
	if i < 0 {
		t.Fatalf("%v", sealed)
	}
}

// TestChangedAgesLoseNoSweep: passes are named by their age.
func TestChangedAgesLoseNoSweep(t *testing.T) {
	t.Parallel()
	c := config()
	s := plan.Start(c, epoch)
	mid := epoch.Add(12 * time.Hour)
	run(c, s, epoch, mid, func(*taplinev1.Job) int64 { return 0 })
	c.Sweeps = []time.Duration{10 * time.Minute, 24 * time.Hour} // 35m and 6h go, 10m comes
	sealed, sweeps := run(c, s, mid, epoch.Add(40*time.Hour), func(*taplinev1.Job) int64 { return 0 })
	day := []window.Window{}
	for _, j := range sweeps {
		if j.GetPass() == 1440 {
			day = append(day, span(j))
		}
	}
	want := window.New(s.GetStart().AsTime(), epoch.Add(12*time.Hour))
	if missing := want.Missing(day); len(missing) > 0 {
		t.Errorf("the sweep after a day left out %s", missing)
	}
	c.Sweeps = nil // and everything that waited is sealed
	more, _ := run(c, s, epoch.Add(40*time.Hour), epoch.Add(41*time.Hour), func(*taplinev1.Job) int64 { return 0 })
	all := []window.Window{}
	for _, r := range append(sealed, more...) {
		all = append(all, r.Window)
	}
	if missing := window.New(s.GetStart().AsTime(), epoch.Add(39*time.Hour)).Missing(all); len(missing) > 0 {
		t.Errorf("not sealed: %s", missing)
	}
}

// TestSweepSkipsWhatIsNoLongerServed after a long pause.
func TestSweepSkipsWhatIsNoLongerServed(t *testing.T) {
	t.Parallel()
	c := config()
	s := plan.Start(c, epoch)
	plan.Step(c, s, plan.Input{Now: epoch.Add(time.Hour)})
	now := epoch.Add(9 * 24 * time.Hour)
	s.Outstanding = nil
	for range 50 { // the live lane reads what is left of the seven days
		out := plan.Step(c, s, plan.Input{Now: now})
		s.Outstanding = nil
		for _, j := range out.New {
			if at := span(j).Start; at.Before(now.Add(-window.Lookback)) {
				t.Fatalf("%s starts before what is served", j.GetId())
			}
		}
	}
	for _, sweep := range s.GetSweeps() {
		if next := sweep.GetNext().AsTime(); next.Before(now.Add(-window.Lookback)) {
			t.Errorf("the next sweep after %d minutes starts at %s", sweep.GetPass(), next)
		}
	}
}

// TestASweepIsNoFirstReading: what is swept was read, so it is not unread while the sweep waits or
// is set aside.
func TestASweepIsNoFirstReading(t *testing.T) {
	t.Parallel()
	for lane, unread := range map[taplinev1.Lane]int{taplinev1.Lane_LANE_SWEEP: 0, taplinev1.Lane_LANE_LIVE: 2, taplinev1.Lane_LANE_BACKFILL: 2} {
		j := &taplinev1.Job{Id: "j", Lane: lane, Window: window.New(epoch, epoch.Add(time.Hour)).Proto(), Feeds: []string{"clicksBlocked"}}
		s := &taplinev1.PlanState{Outstanding: []*taplinev1.Job{j}, Asides: []*taplinev1.Aside{{Job: j}}}
		if got := len(plan.Unread(s)); got != unread {
			t.Errorf("%s: %d windows are unread, want %d", lane, got, unread)
		}
	}
}

// TestASweepThatIsTooLateIsSaid: of the last pass only, and of what was read. An earlier one was
// one of several looks.
func TestASweepThatIsTooLateIsSaid(t *testing.T) {
	t.Parallel()
	const late = "its last sweep did not take place in time"
	now := epoch.Add(9 * 24 * time.Hour)
	oldest := now.Add(-window.Lookback)
	for _, pass := range []uint32{35, 360, 1440} {
		c := config()
		s := plan.Start(c, epoch)
		plan.Step(c, s, plan.Input{Now: epoch.Add(time.Hour)})
		head := timestamppb.New(now.Add(-time.Minute)) // everything was read
		s.Outstanding, s.LiveHead = nil, head
		for _, sweep := range s.GetSweeps() {
			if sweep.Next = head; sweep.GetPass() == pass {
				sweep.Next = timestamppb.New(oldest.Add(-2 * time.Hour))
			}
		}
		said := make(map[string]time.Duration)
		for _, r := range plan.Step(c, s, plan.Input{Now: now}).Lost {
			if !strings.Contains(r.Reason, late) {
				t.Errorf("pass %d: %s", pass, r)
			}
			for _, f := range r.Feeds {
				said[f] += r.Span()
			}
		}
		for _, f := range c.Set {
			if got := said[string(f)].Round(time.Hour); (got == 2*time.Hour) != (pass == 1440) || got != 0 && pass != 1440 {
				t.Errorf("pass %d: %s of %s are said to be unswept", pass, got, f)
			}
		}
	}
}

// TestAClockThatIsAhead: a planner that is two hours ahead takes windows for older than they are
// when they are read. Each is swept all the same.
func TestAClockThatIsAhead(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]window.Window{
		"at the beginning": window.New(epoch, epoch.Add(90*time.Minute)),
		"later":            window.New(epoch.Add(3*time.Hour), epoch.Add(5*time.Hour)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config()
			c.Start = epoch.Add(-2 * time.Hour)
			clock := func(now time.Time) time.Time {
				if wrong.Meets(window.New(now, now.Add(time.Second))) {
					return now.Add(2 * time.Hour)
				}
				return now
			}
			s := plan.Start(c, clock(epoch))
			outcomes := map[string]*taplinev1.JobRecord{}
			read := map[time.Duration][]window.Window{}
			for now := epoch; now.Before(epoch.Add(12 * time.Hour)); now = now.Add(time.Minute) {
				plan.Step(c, s, plan.Input{Now: clock(now), Outcomes: outcomes})
				for _, j := range s.GetOutstanding() {
					w := span(j)
					if now.Sub(w.End) < time.Duration(j.GetPass())*time.Minute || outcomes[j.GetId()] != nil {
						continue
					}
					outcomes[j.GetId()] = fetched(now, 0)
					for _, age := range c.Sweeps[:2] {
						if since := now.Sub(w.End); age <= since && since < age+2*time.Hour {
							read[age] = append(read[age], w)
						}
					}
				}
			}
			for age, windows := range read {
				if missing := window.New(s.GetStart().AsTime(), epoch.Add(12*time.Hour-age-2*time.Hour)).Missing(windows); len(missing) > 0 {
					t.Errorf("not read at the age of %s: %s", age, missing)
				}
			}
		})
	}
}

// TestAClockThatStaysAhead: sweeps are planned before their time for good, and wait for it. No pass
// keeps another from its turn.
func TestAClockThatStaysAhead(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{2 * time.Hour, 30 * time.Hour} {
		c := config()
		c.Start = epoch
		s := plan.Start(c, epoch.Add(ahead))
		outcomes := map[string]*taplinev1.JobRecord{}
		swept := map[time.Duration][]window.Window{}
		end := epoch.Add(60 * time.Hour)
		for now := epoch; now.Before(end); now = now.Add(3 * time.Minute) {
			plan.Step(c, s, plan.Input{Now: now.Add(ahead), Outcomes: outcomes})
			for _, j := range s.GetOutstanding() {
				w, age := span(j), time.Duration(j.GetPass())*time.Minute
				since := now.Sub(w.End) - age
				if outcomes[j.GetId()] != nil {
					continue
				}
				_, _, halves := w.Halves()
				switch {
				case since >= 0:
					outcomes[j.GetId()] = fetched(now, 0)
					if since < 3*time.Hour {
						swept[age] = append(swept[age], w)
					}
				case age == 0 && since < -5*time.Minute && now.After(w.Start) && halves: // as the fetcher does
					outcomes[j.GetId()] = split()
				}
			}
		}
		for _, age := range c.Sweeps {
			if missing := window.New(epoch, end.Add(-age-4*time.Hour)).Missing(swept[age]); len(missing) > 0 {
				t.Errorf("%s ahead: not swept at the age of %s, or hours later: %d parts, first %s", ahead, age, len(missing), missing[0])
			}
		}
	}
}
