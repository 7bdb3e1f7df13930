package plan_test

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const day = 24 * time.Hour

// system is a scheduler and a fetcher that are stopped, configured otherwise and started, by hand.
type system struct {
	fatal    func(format string, args ...any)
	errorf   func(format string, args ...any)
	c        plan.Config
	text     string // TAP_START_TIME
	now      time.Time
	start    time.Time
	plans    []plan.Old // in STATE
	outcomes map[string]*taplinev1.JobRecord
	read     map[feed.Feed][]window.Window
	lost     map[feed.Feed][]window.Window
	sealed   map[feed.Feed][]window.Window
	notes    []string
}

// startTime is a start time as an age.
func (s *system) startTime(age time.Duration) {
	s.text, s.c.Start = age.String(), s.now.Add(-age)
}

func newSystem(fatal func(string, ...any), set feed.Set, age time.Duration) *system {
	s := &system{
		fatal: fatal, errorf: fatal, c: config(), now: epoch, outcomes: map[string]*taplinev1.JobRecord{},
		read: map[feed.Feed][]window.Window{}, lost: map[feed.Feed][]window.Window{}, sealed: map[feed.Feed][]window.Window{},
	}
	s.c.Set = set
	s.startTime(age)
	s.launch()
	return s
}

// launch is what a scheduler does with its plans when it starts.
func (s *system) launch() {
	if len(s.plans) == 0 {
		if len(s.c.Set) > 0 {
			state := plan.Start(s.c, s.now)
			state.StartTime = s.text
			s.plans = []plan.Old{{Set: s.c.Set, State: state}}
			s.start = state.GetStart().AsTime()
		}
		return
	}
	current := plan.InForce(s.plans)
	next := current[0]
	if len(current) > 1 || plan.Changed(current[0], s.c.Set) {
		next = plan.Old{Set: s.c.Set, State: plan.Change(s.c, current, s.now)}
		if len(s.c.Set) == 0 { // it stays where it is
			next.Set = current[0].Set
		}
	}
	if note := plan.Begin(s.c, next.State, s.text, s.now); note != "" {
		s.notes = append(s.notes, note)
	}
	if begins := next.State.GetStart().AsTime(); begins.Before(s.start) {
		s.start = begins
	}
	s.plans = []plan.Old{next}
}

func (s *system) state() *taplinev1.PlanState { return s.plans[0].State }

// step plans once; done has a fetcher do all that waits, which answers what is pick says.
func (s *system) step(pick func(*taplinev1.Job) *taplinev1.JobRecord) {
	if len(s.plans) == 0 || len(s.c.Set) == 0 {
		return
	}
	was := s.state().GetLiveHead().AsTime()
	s.plans[0].State = proto.CloneOf(s.state())
	out := plan.Step(s.c, s.state(), plan.Input{Now: s.now, Outcomes: s.outcomes})
	if s.state().GetLiveHead().AsTime().Before(was) {
		s.fatal("the head went back from %s", was)
	}
	for _, r := range out.Lost {
		if r.End.After(plan.Oldest(s.now).Add(window.MinSpan)) {
			s.fatal("%s is lost at %s: %s", r.Window, s.now, r.Reason)
		}
		for _, f := range r.Feeds {
			s.lost[feed.Feed(f)] = append(s.lost[feed.Feed(f)], r.Window)
		}
	}
	for _, r := range out.Sealed {
		for _, f := range r.Feeds {
			s.sealed[feed.Feed(f)] = append(s.sealed[feed.Feed(f)], r.Window)
		}
	}
	if out.Dropped != nil {
		s.start = out.Dropped.End
	}
	for _, j := range plan.Offered(s.state()) {
		if s.outcomes[j.GetId()] != nil && !j.GetAside() || span(j).End.Add(time.Duration(j.GetPass())*time.Minute).After(s.now) {
			continue
		}
		if r := pick(j); r != nil {
			s.outcomes[j.GetId()] = r
			for _, f := range j.GetFeeds() {
				if r.GetState() == taplinev1.WindowState_WINDOW_STATE_FETCHED {
					s.read[feed.Feed(f)] = append(s.read[feed.Feed(f)], span(j))
				}
			}
		}
	}
}

func (s *system) answer(*taplinev1.Job) *taplinev1.JobRecord { return fetched(s.now, 0) }

// run advances time with a healthy system.
func (s *system) run(d, every time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); s.now = s.now.Add(every) {
		s.step(s.answer)
		s.check()
	}
}

// offs is what of a feed is listed as not collected.
func (s *system) offs(f feed.Feed) (spans []window.Window) {
	for _, o := range s.state().GetOffs() {
		if o.GetFeed() == string(f) {
			end := s.now
			if o.GetEnd() != nil {
				end = o.GetEnd().AsTime()
			}
			spans = append(spans, window.New(o.GetStart().AsTime(), end))
		}
	}
	return spans
}

// unread is what of a feed waits or is unproven.
func (s *system) unread(f feed.Feed) (spans []window.Window) {
	for _, d := range plan.Unread(s.state()) {
		if slices.Contains(d.Feeds, string(f)) {
			spans = append(spans, d.Window)
		}
	}
	return spans
}

// check finds instants since the first start that are neither read, nor to be read, nor lost, nor
// listed as not collected.
func (s *system) check() {
	if len(s.plans) == 0 {
		return
	}
	for _, f := range feed.SIEM() {
		offs := s.offs(f)
		collected := slices.Contains(s.plans[0].Set, f)
		if !collected && len(offs) == 0 {
			continue
		}
		end := s.now
		if open := len(s.c.Set) > 0 && slices.Contains(s.c.Set, f); open {
			end = s.state().GetLiveHead().AsTime()
		}
		known := slices.Concat(s.read[f], s.lost[f], offs, s.unread(f))
		if missing := window.New(s.start, end).Missing(known); len(missing) > 0 {
			s.fatal("%s at %s: nobody knows of %s", f, s.now, missing)
		}
	}
}

// wantOff complains when some of a window is not listed as switched off.
func (s *system) wantOff(f feed.Feed, w window.Window) {
	if open := w.Missing(s.offs(f)); len(open) > 0 {
		s.errorf("%s is not listed as switched off in %s", f, open)
	}
}
