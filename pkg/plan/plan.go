package plan

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	// maxLive bounds live jobs that wait at once; the windows behind them grow instead.
	maxLive = 2
	// maxSweep bounds sweeps that wait at once; there are few, and none is urgent.
	maxSweep = 2
	// maxBackfill bounds backfill jobs that wait at once: enough to keep several fetchers busy.
	maxBackfill = 4
	// edge keeps away from the end of the seven days, since a job may wait a
	// while before it is called.
	edge = 10 * time.Minute
)

// Config of one feed set's plan.
type Config struct {
	Settings
	Tenant string
	Set    feed.Set
	Start  time.Time     // where backfill begins, at most seven days back
	Poll   time.Duration // shortest live window
}

// Input is what one step looks at.
type Input struct {
	Now time.Time // by Proofpoint's clock
	// Earliest is the present by the clock that is furthest behind; zero means Now. Nothing is
	// given up as too old before it is too old by this clock, too.
	Earliest time.Time
	// Outcomes of outstanding jobs and of windows set aside that are known, by job id.
	Outcomes map[string]*taplinev1.JobRecord
	// Supply is the calls to be had of the set's pool; nil means any number.
	Supply *quota.Forecast
	// NoBackfill and NoLive hold back new work while a stream is nearly full.
	NoBackfill, NoLive bool
}

// Output is what a step decided besides the state.
type Output struct {
	New     []*taplinev1.Job // planned in this step; they are in the state's outstanding jobs too
	Done    []*taplinev1.Job // no longer outstanding
	Lost    []Range          // what Proofpoint no longer serves
	Sealed  []Range          // what is complete
	Dropped *Range           // history that Proofpoint ceased to serve before there was time to read it: collection begins later
	Cadence time.Duration    // of live windows at the moment
}

// Range is a span of time and what there is to say about it.
type Range struct {
	window.Window
	Feeds  []string
	Reason string
}

// Start is the first state: what Proofpoint still serves from the configured start to the present
// is backfill, everything after it is live.
func Start(c Config, now time.Time) *taplinev1.PlanState {
	head := now.Add(-c.Margin).Truncate(time.Minute)
	start := earlier(later(c.Start.UTC().Truncate(time.Minute), Oldest(now)), head)
	return &taplinev1.PlanState{
		LiveHead: timestamppb.New(head), BackfillNext: timestamppb.New(start), BackfillEnd: timestamppb.New(head), Start: timestamppb.New(start),
	}
}

// Step advances the state, in place.
func Step(c Config, s *taplinev1.PlanState, in Input) Output {
	p := &planner{c: c, s: s, in: in, earliest: in.Now}
	if !in.Earliest.IsZero() {
		p.earliest = earlier(in.Now, in.Earliest)
	}
	p.oldest = Oldest(p.earliest)
	p.passes()
	p.complete()
	p.decay()
	p.clamp()
	p.offer()
	p.out.Cadence = p.cadence()
	if !in.NoLive {
		p.live()
		p.sweep()
	}
	if !in.NoBackfill && !in.NoLive {
		p.backfill()
	}
	return p.out
}

// Oldest is the earliest start that is still safe to ask for.
func Oldest(now time.Time) time.Time {
	return now.Add(-window.Lookback + edge).Truncate(time.Minute).Add(time.Minute)
}

type planner struct {
	c        Config
	s        *taplinev1.PlanState
	in       Input
	earliest time.Time // see Input
	oldest   time.Time
	out      Output
}

// complete takes finished jobs out and puts in what follows from them.
func (p *planner) complete() {
	var jobs []*taplinev1.Job
	var asides []*taplinev1.Aside
	for _, j := range p.s.GetOutstanding() {
		todo, vain := p.outcome(j, nil)
		jobs, asides = append(jobs, todo...), append(asides, vain...)
	}
	for _, a := range p.s.GetAsides() {
		_, vain := p.outcome(a.GetJob(), a)
		asides = append(asides, vain...)
	}
	p.s.Outstanding, p.s.Asides = jobs, asides
	p.gather()
}

// outcome is what takes the place of a job, which may be set aside: itself while its outcome is not
// known, nothing when it is done.
func (p *planner) outcome(j *taplinev1.Job, a *taplinev1.Aside) ([]*taplinev1.Job, []*taplinev1.Aside) {
	record := p.in.Outcomes[j.GetId()]
	p.learn(j, record)
	switch record.GetState() {
	case taplinev1.WindowState_WINDOW_STATE_FETCHED:
		p.out.Done = append(p.out.Done, j)
		return nil, p.fetched(j, a, record)
	case taplinev1.WindowState_WINDOW_STATE_SEALED, taplinev1.WindowState_WINDOW_STATE_LOST:
		p.out.Done = append(p.out.Done, j)
		return nil, p.givenUp(j, record)
	case taplinev1.WindowState_WINDOW_STATE_SPLIT:
		p.out.Done = append(p.out.Done, j)
		if a == nil {
			return p.parts(j), nil
		}
		return nil, p.partsAside(a)
	case taplinev1.WindowState_WINDOW_STATE_UNPROVEN:
		return nil, p.unproven(j, a, record)
	}
	if a == nil {
		return []*taplinev1.Job{j}, nil
	}
	return nil, []*taplinev1.Aside{a}
}

// parts are what a window that cannot be read is cut into: first it loses what was read
// before, then it is halved, then its feeds are read one by one.
func (p *planner) parts(j *taplinev1.Job) []*taplinev1.Job {
	w := span(j)
	if o := own(j); j.GetOverlap() > 0 && o.Span() >= window.MinSpan {
		return []*taplinev1.Job{p.like(j, o, j.GetFeeds())}
	}
	if first, second, ok := w.Halves(); ok && j.GetOverlap() == 0 {
		return []*taplinev1.Job{p.like(j, first, j.GetFeeds()), p.like(j, second, j.GetFeeds())}
	}
	if len(j.GetFeeds()) == 1 { // it cannot be cut
		return []*taplinev1.Job{p.anew(j, w)}
	}
	var parts []*taplinev1.Job
	for _, f := range j.GetFeeds() {
		part := p.like(j, w, []string{f})
		part.Overlap = j.GetOverlap()
		parts = append(parts, part)
	}
	return parts
}

// live plans from the head to the present, in windows of at most an hour.
func (p *planner) live() {
	present := p.in.Now.Add(-p.margin())
	for p.waiting(taplinev1.Lane_LANE_LIVE) < maxLive {
		head := p.s.GetLiveHead().AsTime()
		end := present.Truncate(time.Minute) // on the minute, unless calls are scarce
		if end.Sub(head) < p.out.Cadence {
			end = present.Truncate(time.Second)
		}
		end = earlier(end, head.Add(window.MaxSpan))
		if end.Sub(head) < max(p.out.Cadence, window.MinSpan) {
			return
		}
		if p.left() < 1 && end.Sub(head) < window.MaxSpan {
			return // the window grows instead of waiting
		}
		j := p.add(window.New(p.overlap(head, end), end), taplinev1.Lane_LANE_LIVE, 0)
		j.Overlap = uint32(head.Sub(span(j).Start) / time.Second)
		p.skip(window.New(head, end))
		p.s.LiveHead = timestamppb.New(end)
	}
}

// overlap is the start of a live window: before the head, but not in what is not known to be read.
func (p *planner) overlap(head, end time.Time) time.Time {
	start := head.Add(-p.c.Overlap)
	for _, floor := range []time.Time{end.Add(-window.MaxSpan), p.oldest, p.s.GetStart().AsTime()} {
		start = later(start, floor)
	}
	if p.s.GetBackfillNext().AsTime().Before(p.s.GetBackfillEnd().AsTime()) {
		start = later(start, p.s.GetBackfillEnd().AsTime())
	}
	for _, o := range p.inWork(p.feeds()) {
		if o.Meets(window.New(start, end)) {
			start = later(start, o.End)
		}
	}
	return earlier(start, head)
}

// inWork is what outstanding jobs, windows that are set aside and backlogs of some feeds are about.
func (p *planner) inWork(feeds []string) (spans []window.Window) {
	add := func(of []string, w window.Window) {
		if slices.ContainsFunc(of, func(f string) bool { return slices.Contains(feeds, f) }) {
			spans = append(spans, w)
		}
	}
	for _, j := range p.s.GetOutstanding() {
		add(j.GetFeeds(), span(j))
	}
	for _, a := range p.s.GetAsides() {
		add(a.GetJob().GetFeeds(), span(a.GetJob()))
	}
	for _, b := range p.s.GetBacklogs() {
		add(b.GetFeeds(), of(b.GetWindow()))
	}
	return spans
}

// backfill plans the oldest hours first: they are the next to fall off the edge.
func (p *planner) backfill() {
	for p.waiting(taplinev1.Lane_LANE_BACKFILL) < maxBackfill {
		next, end := p.s.GetBackfillNext().AsTime(), p.s.GetBackfillEnd().AsTime()
		rest := next.Before(end)
		if b := p.backlog(); b != nil && (!rest || of(b.GetWindow()).Start.Before(next)) {
			if !p.spare() {
				return
			}
			p.takeUp(b)
			continue
		}
		if !rest || !p.spare() {
			return
		}
		w := window.New(next, earlier(next.Truncate(time.Hour).Add(time.Hour), end))
		p.add(w, taplinev1.Lane_LANE_BACKFILL, 0)
		p.s.BackfillNext = timestamppb.New(w.End)
	}
}

// waiting counts the jobs of a lane that could be done. What was planned too early by a clock that
// was ahead must not hold up the others until it is time.
func (p *planner) waiting(lane taplinev1.Lane) (n int) {
	for _, j := range p.s.GetOutstanding() {
		age := max(time.Duration(j.GetPass())*time.Minute, time.Duration(j.GetMarginMs())*time.Millisecond)
		if j.GetLane() == lane && !span(j).End.Add(age).After(p.in.Now) {
			n++
		}
	}
	return n
}

func (p *planner) add(w window.Window, lane taplinev1.Lane, pass uint32) *taplinev1.Job {
	j := p.like(&taplinev1.Job{Lane: lane, Pass: pass}, w, feed.Names(p.c.Set))
	p.s.Outstanding = append(p.s.Outstanding, j)
	return j
}

// like makes a job of the same lane and pass.
func (p *planner) like(j *taplinev1.Job, w window.Window, feeds []string) *taplinev1.Job {
	j = &taplinev1.Job{
		Tenant: p.c.Tenant, Feeds: slices.Clone(feeds), Window: w.Proto(), Lane: j.GetLane(), Pass: j.GetPass(), PlannedAt: timestamppb.New(p.in.Now),
		MarginMs: uint32(p.c.Margin.Milliseconds()),
	}
	if id, err := job.Of(j); err == nil { // the windows made here are well formed
		j.Id = id.String()
	}
	p.out.New = append(p.out.New, j)
	return j
}

// anew makes a job whose id no earlier outcome is about, although its window may be that of j: a
// first reading gets the age of the window for its pass, and a sweep the next one.
func (p *planner) anew(j *taplinev1.Job, w window.Window) *taplinev1.Job {
	next := &taplinev1.Job{Lane: j.GetLane(), Pass: j.GetPass()}
	if w == span(j) {
		next.Pass++
		if firstReading(j) {
			next.Lane = taplinev1.Lane_LANE_BACKFILL
			next.Pass = max(next.GetPass(), p.age(w))
		}
	}
	next = p.like(next, w, j.GetFeeds())
	if w == span(j) {
		next.Overlap = j.GetOverlap()
	}
	return next
}

// age is how old a window is, in minutes, as the pass of a job that reads it once more.
func (p *planner) age(w window.Window) uint32 {
	return minutes(min(max(p.in.Now.Sub(w.End), time.Minute), window.Lookback))
}

// firstReading reports whether what the job is about is unread. The others are sweeps.
func firstReading(j *taplinev1.Job) bool { return j.GetLane() != taplinev1.Lane_LANE_SWEEP }

// of is a window in the state. All in it are the planner's own.
func of(w *taplinev1.Window) window.Window {
	return window.New(w.GetStart().AsTime(), w.GetEnd().AsTime())
}

// span is a job's window.
func span(j *taplinev1.Job) window.Window { return of(j.GetWindow()) }

// own is a job's window without what was read before.
func own(j *taplinev1.Job) window.Window {
	w := span(j)
	w.Start = w.Start.Add(time.Duration(j.GetOverlap()) * time.Second)
	return w
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
