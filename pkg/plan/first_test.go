package plan_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestWhatIsReadOnceMoreHasAPassOfItsOwn, so that its job is another one than that of the first
// reading; what was never read has none.
func TestWhatIsReadOnceMoreHasAPassOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, once := range []bool{true, false} {
		c := config()
		s := plan.Start(c, epoch.Add(6*time.Hour))
		s.BackfillNext = s.GetBackfillEnd()
		s.Backlogs = []*taplinev1.Backlog{{Window: window.New(epoch, epoch.Add(time.Hour)).Proto(), Feeds: []string{"clicksBlocked"}, OnceMore: once, Reason: "test"}}
		found := false
		for _, j := range plan.Step(c, s, plan.Input{Now: epoch.Add(6 * time.Hour)}).New {
			if j.GetLane() == taplinev1.Lane_LANE_BACKFILL && slices.Equal(j.GetFeeds(), []string{"clicksBlocked"}) {
				if found = true; (j.GetPass() > 0) != once {
					t.Errorf("once more %t: %s", once, j.GetId())
				}
			}
		}
		if !found {
			t.Errorf("once more %t: it is not planned", once)
		}
	}
}

// TestWhatIsServedNoMoreAtTheFirstStart: when a fetcher gives up the oldest window of the first
// backfill, collection begins behind it.
func TestWhatIsServedNoMoreAtTheFirstStart(t *testing.T) {
	t.Parallel()
	c := config()
	c.Start = epoch.Add(-window.Lookback)
	s := plan.Start(c, epoch)
	plan.Step(c, s, plan.Input{Now: epoch})
	var oldest *taplinev1.Job
	for _, j := range s.GetOutstanding() {
		if oldest == nil || span(j).Start.Before(span(oldest).Start) {
			oldest = j
		}
	}
	lost := &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_LOST, Reason: "too old"}
	now := span(oldest).Start.Add(window.Lookback + time.Minute)
	out := plan.Step(c, s, plan.Input{Now: now, Outcomes: map[string]*taplinev1.JobRecord{oldest.GetId(): lost}})
	if begins := s.GetStart().AsTime(); out.Dropped == nil || !begins.Equal(span(oldest).End) || len(out.Lost) > 0 {
		t.Errorf("collection begins at %s, want %s; left out %v, lost %v", begins, span(oldest).End, out.Dropped, out.Lost)
	}
}

// TestWhatPassesTheEdgeAtTheFirstStart, while a job waits for it, is left out and not lost.
func TestWhatPassesTheEdgeAtTheFirstStart(t *testing.T) {
	t.Parallel()
	for _, left := range []time.Duration{window.MinSpan, 0} {
		c := config()
		c.Start = epoch.Add(-window.Lookback)
		s := plan.Start(c, epoch)
		plan.Step(c, s, plan.Input{Now: epoch, NoLive: true})
		plan.Step(c, s, plan.Input{Now: epoch})
		oldest := slices.MinFunc(s.GetOutstanding(), func(a, b *taplinev1.Job) int { return span(a).Start.Compare(span(b).Start) })
		w := span(oldest)
		now := w.End.Add(epoch.Sub(plan.Oldest(epoch)) - left)
		out := plan.Step(c, s, plan.Input{Now: now, Earliest: now})
		begins := s.GetStart().AsTime()
		if len(out.Lost) > 0 || out.Dropped == nil || !begins.Equal(w.End) {
			t.Errorf("%s before the end of %s: left out %v, lost %v, collection begins at %s", left, w, out.Dropped, out.Lost, begins)
		}
	}
}

// TestWithoutSweepsWhatIsReadIsSealed at once: nothing will look at it once more.
func TestWithoutSweepsWhatIsReadIsSealed(t *testing.T) {
	t.Parallel()
	for name, sweeps := range map[string][]time.Duration{"none": nil, "one": {35 * time.Minute}} {
		c := config()
		c.Sweeps = sweeps
		s := plan.Start(c, epoch)
		outcomes := make(map[string]*taplinev1.JobRecord)
		for _, j := range plan.Step(c, s, plan.Input{Now: epoch.Add(5 * time.Minute)}).New {
			outcomes[j.GetId()] = fetched(epoch.Add(5*time.Minute), 3)
		}
		sealed := plan.Step(c, s, plan.Input{Now: epoch.Add(6 * time.Minute), Outcomes: outcomes}).Sealed
		if len(outcomes) == 0 || (len(sealed) > 0) != (sweeps == nil) {
			t.Errorf("sweeps %s: %d windows read, sealed %v", name, len(outcomes), sealed)
		}
	}
}
