package plan_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

var epoch = time.Date(2026, 3, 11, 8, 17, 42, 0, time.UTC)

func config() plan.Config {
	return plan.Config{
		Tenant: "main", Set: feed.SIEM(), Start: epoch, Poll: time.Minute, Margin: 5 * time.Second, Overlap: 5 * time.Minute,
		Sweeps: []time.Duration{35 * time.Minute, 6 * time.Hour, 24 * time.Hour},
	}
}

func fetched(at time.Time, published int64) *taplinev1.WindowRecord {
	return &taplinev1.WindowRecord{
		ReadAt: timestamppb.New(at),
		State:  taplinev1.WindowState_WINDOW_STATE_FETCHED, Feeds: []*taplinev1.FeedResult{{Feed: "clicksBlocked", Received: published, Published: published}},
	}
}

func split() *taplinev1.WindowRecord {
	return &taplinev1.WindowRecord{State: taplinev1.WindowState_WINDOW_STATE_SPLIT}
}

// model is a run of the planner against a fetcher that answers as dice decide,
// with restarts (the state goes through its bytes), pauses of any length and a clock of the planner
// that may be wrong. The fetcher knows the time: it reads what has ended, and sweeps what is old enough.
type model struct {
	c        plan.Config
	s        *taplinev1.PlanState
	now      time.Time
	ahead    time.Duration // of the planner's clock
	latest   time.Time     // that the planner's clock has shown
	outcomes map[string]*taplinev1.WindowRecord
	read     map[feed.Feed][]window.Window
	last     map[feed.Feed][]window.Window // of these, what was as old as for the last sweep
	lost     []window.Window
	sealed   map[feed.Feed][]window.Window
	planned  map[string]bool
	start    time.Time
}

func newModel(t *rapid.T) *model {
	c := config()
	c.Start = epoch.Add(-time.Duration(rapid.IntRange(0, 7*24*60-30).Draw(t, "start")) * time.Minute)
	c.Overlap = time.Duration(rapid.IntRange(0, 70).Draw(t, "overlap")) * time.Minute
	s := plan.Start(c, epoch)
	return &model{
		c: c, s: s, start: s.GetStart().AsTime(), now: epoch, outcomes: map[string]*taplinev1.WindowRecord{},
		planned: map[string]bool{}, read: map[feed.Feed][]window.Window{}, last: map[feed.Feed][]window.Window{}, sealed: map[feed.Feed][]window.Window{},
	}
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
	now := m.now.Add(m.ahead)
	if now.After(m.latest) {
		m.latest = now
	}
	out := plan.Step(m.c, m.s, plan.Input{Now: now, Outcomes: m.outcomes})
	for _, j := range out.New {
		id, err := job.Parse(j.GetId())
		if err != nil {
			t.Fatal(err)
		}
		switch w := id.Window; {
		case w.Span() < window.MinSpan || w.Span() > window.MaxSpan:
			t.Fatalf("%s spans %s", id, w.Span())
		case w.End.After(m.latest.Add(-m.c.Margin)):
			t.Fatalf("%s ends after %s", id, m.latest)
		case w.Start.Before(m.start):
			t.Fatalf("%s starts before %s", id, m.start)
		case m.planned[j.GetId()]:
			t.Fatalf("%s was planned before", id)
		}
		m.planned[j.GetId()] = true
	}
	for _, r := range out.Lost {
		m.lost = append(m.lost, r.Window)
	}
	for _, j := range out.Done {
		m.done(j)
	}
	for _, r := range out.Sealed { // only what was read is sealed, and late enough
		for _, name := range r.Feeds {
			f := feed.Feed(name)
			if missing := r.Missing(append(slices.Clone(m.last[f]), m.lost...)); len(missing) > 0 {
				t.Fatalf("%s is sealed (%s) and %s of %s was not read since its last sweep was due", r.Window, r.Reason, missing, f)
			}
			m.sealed[f] = append(m.sealed[f], r.Window)
		}
	}
}

func (m *model) done(j *taplinev1.Job) {
	outcome, last := m.outcomes[j.GetId()], m.c.Sweeps[len(m.c.Sweeps)-1]
	if outcome.GetState() != taplinev1.WindowState_WINDOW_STATE_FETCHED {
		return
	}
	for _, name := range j.GetFeeds() {
		f := feed.Feed(name)
		m.read[f] = append(m.read[f], span(j))
		if outcome.GetReadAt().AsTime().Sub(span(j).End) >= last {
			m.last[f] = append(m.last[f], span(j))
		}
	}
}

func span(j *taplinev1.Job) window.Window {
	w, err := window.FromProto(j.GetWindow())
	if err != nil {
		panic(err)
	}
	return w
}

// complete checks that for each feed reads, losses, outstanding jobs and the rest of
// backfill cover [start, head), and that outstanding jobs do not meet.
func (m *model) complete(t *rapid.T) {
	waiting := m.s.GetOutstanding()
	for i, a := range waiting {
		for _, b := range waiting[:i] {
			shared := slices.ContainsFunc(a.GetFeeds(), func(f string) bool { return slices.Contains(b.GetFeeds(), f) })
			if shared && span(a).Meets(span(b)) {
				t.Fatalf("%s and %s are outstanding together", a.GetId(), b.GetId())
			}
		}
	}
	whole := window.New(m.s.GetStart().AsTime(), m.s.GetLiveHead().AsTime())
	for _, f := range feed.SIEM() {
		all := append(slices.Clone(m.read[f]), m.lost...)
		all = append(all, window.New(m.s.GetBackfillNext().AsTime(), m.s.GetBackfillEnd().AsTime()))
		for _, j := range waiting {
			if slices.Contains(j.GetFeeds(), string(f)) {
				all = append(all, span(j))
			}
		}
		if missing := whole.Missing(all); len(missing) > 0 {
			t.Fatalf("%s: nobody knows of %s", f, missing)
		}
	}
}

// answer lets a fetcher do some of what waits.
func (m *model) answer(t *rapid.T) {
	for _, j := range m.s.GetOutstanding() {
		if m.outcomes[j.GetId()] != nil { // it stays what it was
			continue
		}
		if m.now.Sub(span(j).End) < time.Duration(j.GetPass())*time.Minute {
			continue
		}
		_, _, halves := span(j).Halves()
		switch fate := rapid.IntRange(0, 7).Draw(t, "fate"); {
		case fate == 0 && (halves || j.GetOverlap() > 0 || len(j.GetFeeds()) > 1): // a fetcher does not split what cannot be split
			m.outcomes[j.GetId()] = split()
		case fate == 1 && j.GetPass() > 0:
			m.outcomes[j.GetId()] = fetched(m.now, 3)
		case fate > 2:
			m.outcomes[j.GetId()] = fetched(m.now, 0)
		}
	}
}

// TestEveryInstantIsAccountedFor: with any pauses, splits, restarts and clocks. When time goes
// on long enough, every window ends sealed or lost, and what is sealed was read late enough.
func TestEveryInstantIsAccountedFor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range rapid.IntRange(5, 60).Draw(t, "steps") {
			m.step(t)
			m.complete(t)
			m.answer(t)
			pauses := []time.Duration{time.Second, 20 * time.Second, time.Minute, 10 * time.Minute, 5 * time.Hour, 9 * 24 * time.Hour}
			m.now = m.now.Add(rapid.SampledFrom(pauses).Draw(t, "pause"))
			if rapid.IntRange(0, 9).Draw(t, "clock") == 0 {
				m.ahead = time.Duration(rapid.IntRange(-30, 50).Draw(t, "ahead")) * time.Hour
			}
		}
		m.ahead = 0
		end := window.New(m.s.GetStart().AsTime(), m.s.GetLiveHead().AsTime())
		for range 9 * 24 * 2 { // nine days without trouble seal all of that
			m.now = m.now.Add(30 * time.Minute)
			m.step(t)
			for _, j := range m.s.GetOutstanding() {
				if m.outcomes[j.GetId()] == nil && m.now.Sub(span(j).End) >= time.Duration(j.GetPass())*time.Minute {
					m.outcomes[j.GetId()] = fetched(m.now, 0)
				}
			}
		}
		for _, f := range feed.SIEM() {
			if open := end.Missing(append(slices.Clone(m.sealed[f]), m.lost...)); len(open) > 0 {
				t.Fatalf("%s: neither sealed nor lost: %s", f, open)
			}
		}
	})
}

func TestSteadyStateIsOneCallPerPoll(t *testing.T) {
	t.Parallel()
	c := config()
	c.Sweeps = nil
	s := plan.Start(c, epoch)
	outcomes := map[string]*taplinev1.WindowRecord{}
	jobs := 0
	for now := epoch; now.Before(epoch.Add(24 * time.Hour)); now = now.Add(5 * time.Second) {
		for _, j := range plan.Step(c, s, plan.Input{Now: now, Outcomes: outcomes}).New {
			outcomes[j.GetId()] = fetched(now, 1)
			jobs++
			if w := span(j); w.Span() > c.Poll+c.Overlap || w.End.Second() != 0 {
				t.Fatalf("live window %s", w)
			}
		}
	}
	if jobs < 1439 || jobs > 1441 {
		t.Errorf("%d calls in a day, want one each minute", jobs)
	}
}

func TestWaitingJobsStretchWindows(t *testing.T) {
	t.Parallel()
	c := config()
	s := plan.Start(c, epoch)
	for now := epoch; now.Before(epoch.Add(3 * time.Hour)); now = now.Add(time.Minute) {
		plan.Step(c, s, plan.Input{Now: now})
	}
	if n := len(s.GetOutstanding()); n != 2 {
		t.Fatalf("%d jobs wait", n)
	}
	outcomes := map[string]*taplinev1.WindowRecord{}
	for _, j := range s.GetOutstanding() {
		outcomes[j.GetId()] = fetched(epoch.Add(3*time.Hour), 1)
	}
	out := plan.Step(c, s, plan.Input{Now: epoch.Add(3 * time.Hour), Outcomes: outcomes})
	if w := span(out.New[0]); w.Span() != time.Hour {
		t.Errorf("after a wait of hours the next window is %s", w)
	}
}

func TestFullStreamHoldsNewWorkBack(t *testing.T) {
	t.Parallel()
	c := config()
	c.Start = epoch.Add(-5 * time.Hour)
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

// TestShortestWindowIsReadFeedByFeed: what cannot be halved is cut by feed.
func TestShortestWindowIsReadFeedByFeed(t *testing.T) {
	t.Parallel()
	c := config()
	c.Poll, c.Overlap = 30*time.Second, 0
	s := plan.Start(c, epoch)
	now := s.GetLiveHead().AsTime().Add(30*time.Second + c.Margin)
	s.LiveHead.Seconds = now.Add(-30*time.Second - c.Margin).Unix()
	out := plan.Step(c, s, plan.Input{Now: now})
	if len(out.New) != 1 {
		t.Fatalf("planned %v", out.New)
	}
	out = plan.Step(c, s, plan.Input{Now: now, Outcomes: map[string]*taplinev1.WindowRecord{out.New[0].GetId(): split()}})
	if len(out.New) != 4 || len(s.GetOutstanding()) != 4 {
		t.Fatalf("a window of 30 s became %v", out.New)
	}
	for i, f := range feed.Names(feed.SIEM()) {
		if got := out.New[i]; !slices.Equal(got.GetFeeds(), []string{f}) || span(got).Span() != 30*time.Second {
			t.Errorf("part %d is %v", i, got)
		}
	}
}
