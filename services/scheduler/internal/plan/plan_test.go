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

var epoch = time.Date(2026, 3, 11, 8, 17, 42, 0, time.UTC)

// model is a run of the planner against a fetcher that answers as dice decide,
// with restarts (the state goes through its bytes) and pauses of any length.
type model struct {
	c        plan.Config
	s        *taplinev1.PlanState
	now      time.Time
	start    time.Time
	outcomes map[string]taplinev1.WindowState
	covered  []window.Window // read or lost
	planned  map[string]bool
}

func newModel(t *rapid.T) *model {
	c := plan.Config{
		Tenant: "main", Set: feed.SIEM(), Poll: time.Minute, Margin: 15 * time.Second,
		Start: epoch.Add(-time.Duration(rapid.IntRange(0, 7*24*60-30).Draw(t, "start")) * time.Minute),
	}
	s := plan.Start(c, epoch)
	return &model{c: c, s: s, now: epoch, start: s.GetBackfillNext().AsTime(), outcomes: map[string]taplinev1.WindowState{}, planned: map[string]bool{}}
}

func (m *model) step(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
		data, err := proto.Marshal(m.s)
		if err != nil {
			t.Fatal(err)
		}
		m.s = &taplinev1.PlanState{}
		if err := proto.Unmarshal(data, m.s); err != nil {
			t.Fatal(err)
		}
	}
	out := plan.Step(m.c, m.s, plan.Input{Now: m.now, Outcomes: m.outcomes})
	for _, job := range out.New {
		w, err := window.FromProto(job.GetWindow())
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case w.Span() < window.MinSpan || w.Span() > window.MaxSpan:
			t.Fatalf("%s spans %s", job.GetId(), w.Span())
		case w.End.After(m.now.Add(-m.c.Margin)):
			t.Fatalf("%s ends after %s", job.GetId(), m.now)
		case m.planned[job.GetId()]:
			t.Fatalf("%s was planned before", job.GetId())
		}
		m.planned[job.GetId()] = true
	}
	m.covered = append(m.covered, out.Lost...)
	for _, job := range out.Done {
		if m.outcomes[job.GetId()] != taplinev1.WindowState_WINDOW_STATE_SPLIT {
			w, _ := window.FromProto(job.GetWindow())
			m.covered = append(m.covered, w)
		}
	}
	m.complete(t)
}

// complete checks that reads, losses, outstanding jobs and the rest of
// backfill cover [start, head) without gap or overlap.
func (m *model) complete(t *rapid.T) {
	all := slices.Clone(m.covered)
	for _, job := range m.s.GetOutstanding() {
		w, _ := window.FromProto(job.GetWindow())
		all = append(all, w)
	}
	if rest := window.New(m.s.GetBackfillNext().AsTime(), m.s.GetBackfillEnd().AsTime()); !rest.Empty() {
		all = append(all, rest)
	}
	slices.SortFunc(all, func(a, b window.Window) int { return a.Start.Compare(b.Start) })
	at := m.start
	for _, w := range all {
		if !w.Start.Equal(at) {
			t.Fatalf("covered up to %s, next is %s", at, w)
		}
		at = w.End
	}
	if head := m.s.GetLiveHead().AsTime(); !at.Equal(head) {
		t.Fatalf("covered up to %s, the head is at %s", at, head)
	}
}

func TestEveryInstantIsAccountedFor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range rapid.IntRange(5, 60).Draw(t, "steps") {
			m.step(t)
			for _, job := range m.s.GetOutstanding() {
				switch rapid.IntRange(0, 5).Draw(t, "fate") {
				case 0:
					w, _ := window.FromProto(job.GetWindow())
					if _, _, ok := w.Halves(); ok { // a fetcher does not split what cannot be split
						m.outcomes[job.GetId()] = taplinev1.WindowState_WINDOW_STATE_SPLIT
					}
				case 1, 2, 3:
					m.outcomes[job.GetId()] = taplinev1.WindowState_WINDOW_STATE_FETCHED
				}
			}
			pauses := []time.Duration{time.Second, 20 * time.Second, time.Minute, 10 * time.Minute, 5 * time.Hour, 9 * 24 * time.Hour}
			m.now = m.now.Add(rapid.SampledFrom(pauses).Draw(t, "pause"))
		}
	})
}

func TestSteadyStateIsOneCallPerPoll(t *testing.T) {
	t.Parallel()
	c := plan.Config{Tenant: "main", Set: feed.SIEM(), Poll: time.Minute, Margin: 15 * time.Second, Start: epoch}
	s := plan.Start(c, epoch)
	outcomes := map[string]taplinev1.WindowState{}
	jobs := 0
	for now := epoch; now.Before(epoch.Add(24 * time.Hour)); now = now.Add(5 * time.Second) {
		for _, job := range plan.Step(c, s, plan.Input{Now: now, Outcomes: outcomes}).New {
			outcomes[job.GetId()] = taplinev1.WindowState_WINDOW_STATE_FETCHED
			jobs++
		}
	}
	if jobs < 1439 || jobs > 1441 {
		t.Errorf("%d calls in a day, want one each minute", jobs)
	}
}

func TestScarceCallsStretchWindows(t *testing.T) {
	t.Parallel()
	c := plan.Config{Tenant: "main", Set: feed.SIEM(), Poll: time.Minute, Margin: 15 * time.Second, Start: epoch}
	s := plan.Start(c, epoch)
	for now := epoch; now.Before(epoch.Add(3 * time.Hour)); now = now.Add(time.Minute) {
		plan.Step(c, s, plan.Input{Now: now})
	}
	if n := len(s.GetOutstanding()); n != 2 {
		t.Fatalf("%d jobs wait", n)
	}
	outcomes := map[string]taplinev1.WindowState{}
	for _, job := range s.GetOutstanding() {
		outcomes[job.GetId()] = taplinev1.WindowState_WINDOW_STATE_FETCHED
	}
	out := plan.Step(c, s, plan.Input{Now: epoch.Add(3 * time.Hour), Outcomes: outcomes})
	w, err := window.FromProto(out.New[0].GetWindow())
	if err != nil || w.Span() != time.Hour {
		t.Errorf("after a wait of hours the next window is %s, %v", w, err)
	}
}

func TestFullStreamHoldsNewWorkBack(t *testing.T) {
	t.Parallel()
	c := plan.Config{Tenant: "main", Set: feed.SIEM(), Poll: time.Minute, Margin: 15 * time.Second, Start: epoch.Add(-5 * time.Hour)}
	s := plan.Start(c, epoch)
	later := epoch.Add(10 * time.Minute)
	if out := plan.Step(c, s, plan.Input{Now: later, NoBackfill: true, NoLive: true}); len(out.New) != 0 {
		t.Errorf("planned %d jobs", len(out.New))
	}
	out := plan.Step(c, s, plan.Input{Now: later, NoBackfill: true})
	if len(out.New) != 1 || out.New[0].GetLane() != taplinev1.Lane_LANE_LIVE {
		t.Errorf("planned %v, want one live job", out.New)
	}
}
