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
		Tenant: "main", Set: feed.SIEM(), Start: epoch, Poll: time.Minute,
		Settings: plan.Settings{Margin: 5 * time.Second, Overlap: 5 * time.Minute, Sweeps: plan.Ages{35 * time.Minute, 6 * time.Hour, 24 * time.Hour}},
	}
}

func fetched(at time.Time, published int64) *taplinev1.JobRecord {
	return &taplinev1.JobRecord{
		ReadAt: timestamppb.New(at),
		State:  taplinev1.WindowState_WINDOW_STATE_FETCHED, Feeds: []*taplinev1.FeedResult{{Feed: "clicksBlocked", Received: published, Published: published}},
	}
}

func split() *taplinev1.JobRecord {
	return &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_SPLIT}
}

// model is a run of the planner against a fetcher that answers as dice decide, with restarts (the
// state goes through its bytes), pauses of any length and a clock of the planner that may be wrong.
// The fetcher knows the time: it reads what has ended, and sweeps what is old enough.
type model struct {
	c        plan.Config
	s        *taplinev1.PlanState
	now      time.Time
	ahead    time.Duration // of the planner's clock
	latest   time.Time     // that the planner's clock has shown
	outcomes map[string]*taplinev1.JobRecord
	read     map[feed.Feed][]window.Window
	last     map[feed.Feed][]window.Window // of these, what was as old as for the last sweep
	lost     []window.Window
	sealed   map[feed.Feed][]window.Window
	planned  map[string]bool
	start    time.Time
	poison   []time.Time // instants that are always answered in vain
}

func newModel(t *rapid.T) *model {
	c := config()
	c.Start = epoch.Add(-time.Duration(rapid.IntRange(0, 7*24*60-30).Draw(t, "start")) * time.Minute)
	c.Overlap = time.Duration(rapid.IntRange(0, 70).Draw(t, "overlap")) * time.Minute
	s := plan.Start(c, epoch)
	var poison []time.Time
	for range rapid.IntRange(0, 2).Draw(t, "poison") {
		poison = append(poison, epoch.Add(time.Duration(rapid.IntRange(-8*24*3600, 24*3600).Draw(t, "instant"))*time.Second))
	}
	return &model{
		poison: poison,
		c:      c, s: s, start: s.GetStart().AsTime(), now: epoch, outcomes: map[string]*taplinev1.JobRecord{},
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
	w := span(j)
	if end := outcome.GetReadEnd(); end != nil {
		w = window.New(w.Start, end.AsTime())
	}
	for _, name := range j.GetFeeds() {
		f := feed.Feed(name)
		m.read[f] = append(m.read[f], w)
		if outcome.GetReadAt().AsTime().Sub(w.End) >= last {
			m.last[f] = append(m.last[f], w)
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

// complete checks that for each feed reads, losses, outstanding jobs and the remainder of backfill
// cover [start, head), and that outstanding jobs do not meet.
func (m *model) complete(t *rapid.T) {
	waiting := slices.Clone(m.s.GetOutstanding())
	offered := 0
	for _, a := range m.s.GetAsides() {
		waiting = append(waiting, a.GetJob())
		if a.GetJob().GetAside() {
			offered++
		}
	}
	if offered > 2 || len(plan.Offered(m.s)) != len(m.s.GetOutstanding())+offered {
		t.Fatalf("%d windows that were set aside are offered at once", offered)
	}
	for i, a := range waiting {
		for _, b := range waiting[:i] {
			shared := slices.ContainsFunc(a.GetFeeds(), func(f string) bool { return slices.Contains(b.GetFeeds(), f) })
			if shared && span(a).Meets(span(b)) {
				t.Fatalf("%s and %s are in work together", a.GetId(), b.GetId())
			}
		}
	}
	whole := window.New(m.s.GetStart().AsTime(), m.s.GetLiveHead().AsTime())
	for _, f := range feed.SIEM() {
		all := append(slices.Clone(m.read[f]), m.lost...)
		all = append(all, window.New(m.s.GetBackfillNext().AsTime(), m.s.GetBackfillEnd().AsTime()))
		for _, b := range m.s.GetBacklogs() {
			if slices.Contains(b.GetFeeds(), string(f)) {
				all = append(all, window.New(b.GetWindow().GetStart().AsTime(), b.GetWindow().GetEnd().AsTime()))
			}
		}
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
	for _, j := range plan.Offered(m.s) {
		if !m.open(j) {
			continue
		}
		w := span(j)
		_, _, halves := w.Halves()
		divisible := halves || j.GetOverlap() > 0 || len(j.GetFeeds()) > 1
		switch outcome := rapid.IntRange(0, 11).Draw(t, "fate"); {
		case outcome == 0 && divisible: // a fetcher does not split what cannot be split
			m.outcomes[j.GetId()] = split()
		case outcome <= 1 || m.poisoned(w):
			m.outcomes[j.GetId()] = inVain(j)
		case outcome == 2 && j.GetPass() > 0:
			m.outcomes[j.GetId()] = fetched(m.now, 3)
		case outcome == 3: // the answer proves a part, or nothing
			r := fetched(m.now, 1)
			r.ReadEnd = timestamppb.New(w.Start.Add(time.Duration(rapid.Int64Range(-1e9, int64(w.Span())+1e9).Draw(t, "read end"))))
			r.LagMs = int64(rapid.IntRange(0, 1e7).Draw(t, "lag"))
			m.outcomes[j.GetId()] = r
		case outcome > 5:
			m.outcomes[j.GetId()] = fetched(m.now, 0)
		}
	}
}

// open reports whether a fetcher would ask for a job: it has no outcome, or was asked for in vain
// and is offered again, and its time has come.
func (m *model) open(j *taplinev1.Job) bool {
	known := m.outcomes[j.GetId()]
	again := j.GetAside() && known.GetState() == taplinev1.WindowState_WINDOW_STATE_UNPROVEN && known.GetFailures() <= j.GetFailures()
	pass := j.GetPass()
	if j.GetLane() != taplinev1.Lane_LANE_SWEEP {
		pass = 0
	}
	return (known == nil || again) && m.now.Sub(span(j).End) >= time.Duration(pass)*time.Minute
}

func (m *model) poisoned(w window.Window) bool {
	return slices.ContainsFunc(m.poison, func(at time.Time) bool { return !at.Before(w.Start) && at.Before(w.End) })
}

// inVain is that a fetcher asked for a window several times, and nothing proves it read.
func inVain(j *taplinev1.Job) *taplinev1.JobRecord {
	return &taplinev1.JobRecord{
		State: taplinev1.WindowState_WINDOW_STATE_UNPROVEN, Failures: max(j.GetFailures()+1, 3), Reason: "an odd answer",
	}
}

// TestEveryInstantIsAccountedFor: with any pauses, splits, restarts and clocks, windows that are
// asked for in vain, answers that prove a part, instants that are never answered, and orders of
// operators. When time advances long enough, every window ends sealed or lost, and what is sealed
// was read late enough.
func TestEveryInstantIsAccountedFor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range rapid.IntRange(5, 40).Draw(t, "steps") {
			m.step(t)
			m.complete(t)
			m.answer(t)
			pauses := []time.Duration{time.Second, 20 * time.Second, time.Minute, 10 * time.Minute, 5 * time.Hour, 9 * 24 * time.Hour}
			m.now = m.now.Add(rapid.SampledFrom(pauses).Draw(t, "pause"))
			if rapid.IntRange(0, 9).Draw(t, "order") == 0 { // an operator has something read once more
				from := m.now.Add(-time.Duration(rapid.IntRange(0, 8*24*60).Draw(t, "from")) * time.Minute)
				w := window.New(from, from.Add(time.Duration(rapid.IntRange(1, 40*3600).Draw(t, "span"))*time.Second))
				plan.Retry(m.c, m.s, m.now.Add(m.ahead), &taplinev1.Retry{Window: w.Proto()})
			}
			if rapid.IntRange(0, 9).Draw(t, "clock") == 0 {
				m.ahead = time.Duration(rapid.IntRange(-30, 50).Draw(t, "ahead")) * time.Hour
			}
		}
		m.ahead = 0
		end := window.New(m.s.GetStart().AsTime(), m.s.GetLiveHead().AsTime())
		for range 9 * 24 * 2 { // nine days without trouble seal all of that
			m.now = m.now.Add(30 * time.Minute)
			m.step(t)
			for _, j := range plan.Offered(m.s) {
				switch {
				case !m.open(j):
				case m.poisoned(span(j)) && span(j).Span() > 2*window.MinSpan:
					m.outcomes[j.GetId()] = split()
				case m.poisoned(span(j)):
					m.outcomes[j.GetId()] = inVain(j)
				default:
					m.outcomes[j.GetId()] = fetched(m.now, 0)
				}
			}
		}
		if start := m.s.GetStart().AsTime(); start.After(end.Start) { // what there was no time for is not owed
			end.Start = start
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
	outcomes := map[string]*taplinev1.JobRecord{}
	jobs := 0
	for now := epoch; now.Before(epoch.Add(24 * time.Hour)); now = now.Add(5 * time.Second) {
		for _, j := range plan.Step(c, s, plan.Input{Now: now, Outcomes: outcomes}).New {
			outcomes[j.GetId()] = fetched(now, 1)
			jobs++
			if w := span(j); w.Span() > c.Poll+c.Overlap || w.End.Second() != 0 || j.GetMarginMs() != 5000 {
				t.Fatalf("live window %s, %d ms behind the head", w, j.GetMarginMs())
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
	outcomes := map[string]*taplinev1.JobRecord{}
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
	out = plan.Step(c, s, plan.Input{Now: now, Outcomes: map[string]*taplinev1.JobRecord{out.New[0].GetId(): split()}})
	if len(out.New) != 4 || len(s.GetOutstanding()) != 4 {
		t.Fatalf("a window of 30 s became %v", out.New)
	}
	for i, f := range feed.Names(feed.SIEM()) {
		if got := out.New[i]; !slices.Equal(got.GetFeeds(), []string{f}) || span(got).Span() != 30*time.Second {
			t.Errorf("part %d is %v", i, got)
		}
	}
}
