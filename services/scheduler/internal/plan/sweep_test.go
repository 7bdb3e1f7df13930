package plan_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/scheduler/internal/plan"
)

// TestEveryPassSweepsEveryHourOnce: over days with restarts and pauses, each pass
// reads each instant once, in windows of at most an hour, never before its age and
// never before the first reading was planned.
func TestEveryPassSweepsEveryHourOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := plan.Config{
			Tenant: "main", Set: feed.SIEM(), Poll: time.Minute, Margin: 15 * time.Second, Start: epoch.Add(-30 * time.Minute),
			Sweeps: []time.Duration{35 * time.Minute, 6 * time.Hour, 24 * time.Hour},
		}
		s := plan.Start(c, epoch)
		start, now := s.GetBackfillNext().AsTime(), epoch
		outcomes := map[string]taplinev1.WindowState{}
		swept := make(map[uint32][]window.Window)
		var first time.Time // of the steps
		for range rapid.IntRange(50, 300).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "minutes")) * time.Minute)
			if first.IsZero() {
				first = now
			}
			s = proto.CloneOf(s) // a restart
			out := plan.Step(c, s, plan.Input{Now: now, Outcomes: outcomes})
			waiting := s.GetOutstanding()
			for i, a := range waiting {
				for _, b := range waiting[:i] {
					if a.GetWindow().GetStart().AsTime().Before(b.GetWindow().GetEnd().AsTime()) &&
						b.GetWindow().GetStart().AsTime().Before(a.GetWindow().GetEnd().AsTime()) {
						t.Fatalf("%s and %s are outstanding together", a.GetId(), b.GetId())
					}
				}
			}
			for _, job := range out.New {
				outcomes[job.GetId()] = taplinev1.WindowState_WINDOW_STATE_FETCHED
				if job.GetLane() != taplinev1.Lane_LANE_SWEEP {
					continue
				}
				w, err := window.FromProto(job.GetWindow())
				if err != nil {
					t.Fatal(err)
				}
				switch pass := job.GetPass(); {
				case pass < 1 || pass > 3:
					t.Fatalf("%s has pass %d", job.GetId(), pass)
				case now.Sub(w.End) < c.Sweeps[pass-1]:
					t.Fatalf("%s is swept at %s, too early", job.GetId(), now)
				case w.End.After(s.GetLiveHead().AsTime()), w.Span() > time.Hour, w.Start.Before(start):
					t.Fatalf("%s with a live head at %s and a start at %s", job.GetId(), s.GetLiveHead().AsTime(), start)
				default:
					swept[pass] = append(swept[pass], w)
				}
			}
		}
		for pass, windows := range swept {
			slices.SortFunc(windows, func(a, b window.Window) int { return a.Start.Compare(b.Start) })
			// What is older than the pass at the first step is read late enough the first time.
			at := first.Add(-c.Sweeps[pass-1]).Truncate(time.Hour)
			if at.Before(start) {
				at = start
			}
			for _, w := range windows {
				if !w.Start.Equal(at) {
					t.Fatalf("pass %d: after %s comes %s", pass, at, w)
				}
				at = w.End
			}
			// At most two sweeps wait at once, so a pass may lag by some windows, not by days.
			if behind := now.Sub(at) - c.Sweeps[pass-1]; behind > 12*time.Hour {
				t.Errorf("pass %d is %s behind", pass, behind)
			}
		}
		if now.Sub(epoch) > 3*time.Hour && len(swept[1]) == 0 {
			t.Errorf("nothing was swept in %s", now.Sub(epoch))
		}
	})
}

// TestSweepSkipsWhatIsNoLongerServed after a long pause.
func TestSweepSkipsWhatIsNoLongerServed(t *testing.T) {
	t.Parallel()
	c := plan.Config{Tenant: "main", Set: feed.SIEM(), Poll: time.Minute, Start: epoch, Sweeps: []time.Duration{time.Hour}}
	s := plan.Start(c, epoch)
	plan.Step(c, s, plan.Input{Now: epoch.Add(time.Hour)})
	now := epoch.Add(9 * 24 * time.Hour)
	s.Outstanding = nil
	for range 50 { // the live lane reads what is left of the seven days
		out := plan.Step(c, s, plan.Input{Now: now})
		s.Outstanding = nil
		for _, job := range out.New {
			if at := job.GetWindow().GetStart().AsTime(); at.Before(now.Add(-window.Lookback)) {
				t.Fatalf("%s starts before what is served", job.GetId())
			}
		}
	}
	if next := s.GetSweeps()[0].GetNext().AsTime(); next.Before(now.Add(-window.Lookback)) {
		t.Errorf("the next sweep starts at %s", next)
	}
}
