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
	Tenant  string
	Set     feed.Set
	Start   time.Time       // where backfill begins, at most seven days back
	Poll    time.Duration   // shortest live window
	Margin  time.Duration   // how far behind Proofpoint's clock a window ends
	Overlap time.Duration   // how much of what was read a live window reads again
	Sweeps  []time.Duration // ages at which an hour is read again: whole minutes, youngest first
}

// Input is what one step looks at.
type Input struct {
	Now time.Time // by Proofpoint's clock
	// Outcomes of outstanding jobs that are known, by job id.
	Outcomes map[string]*taplinev1.WindowRecord
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
	Cadence time.Duration    // of live windows at the moment
}

// Range is a span of time and what there is to say about it.
type Range struct {
	window.Window
	Feeds  []string
	Reason string
}

// Start is the first state: everything from the configured start to the present
// is backfill, everything after it is live.
func Start(c Config, now time.Time) *taplinev1.PlanState {
	head := now.Add(-c.Margin).Truncate(time.Minute)
	start := c.Start.UTC().Truncate(time.Minute)
	if start.After(head) {
		start = head
	}
	return &taplinev1.PlanState{
		LiveHead: timestamppb.New(head), BackfillNext: timestamppb.New(start), BackfillEnd: timestamppb.New(head), Start: timestamppb.New(start),
	}
}

// Step advances the state, in place.
func Step(c Config, s *taplinev1.PlanState, in Input) Output {
	p := &planner{c: c, s: s, in: in, oldest: Oldest(in.Now)}
	p.passes()
	p.settle()
	p.clamp()
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
	c      Config
	s      *taplinev1.PlanState
	in     Input
	oldest time.Time
	out    Output
}

// settle takes finished jobs out and puts the parts of split windows in.
func (p *planner) settle() {
	var left []*taplinev1.Job
	for _, j := range p.s.GetOutstanding() {
		outcome := p.in.Outcomes[j.GetId()]
		switch outcome.GetState() {
		case taplinev1.WindowState_WINDOW_STATE_FETCHED:
			p.out.Done = append(p.out.Done, j)
			p.read(j, outcome)
		case taplinev1.WindowState_WINDOW_STATE_SEALED, taplinev1.WindowState_WINDOW_STATE_LOST:
			p.out.Done = append(p.out.Done, j)
			if j.GetPass() > 0 && j.GetPass() >= p.final() { // it was read before
				p.unswept(span(j), j.GetFeeds())
			}
		case taplinev1.WindowState_WINDOW_STATE_SPLIT:
			p.out.Done = append(p.out.Done, j)
			left = append(left, p.parts(j)...)
		default:
			left = append(left, j)
		}
	}
	p.s.Outstanding = left
}

// parts are what a window that cannot be read is cut into: first it loses what was read
// before, then it is halved, then its feeds are read one by one.
func (p *planner) parts(j *taplinev1.Job) []*taplinev1.Job {
	w := span(j)
	if j.GetOverlap() > 0 {
		return []*taplinev1.Job{p.like(j, own(j), j.GetFeeds())}
	}
	if first, second, ok := w.Halves(); ok {
		return []*taplinev1.Job{p.like(j, first, j.GetFeeds()), p.like(j, second, j.GetFeeds())}
	}
	var parts []*taplinev1.Job
	for _, f := range j.GetFeeds() { // a single feed comes back as it was; a fetcher does not split it
		parts = append(parts, p.like(j, w, []string{f}))
	}
	return parts
}

// clamp gives up what Proofpoint no longer serves.
func (p *planner) clamp() {
	next, end := p.s.GetBackfillNext().AsTime(), p.s.GetBackfillEnd().AsTime()
	if next.Before(end) && next.Before(p.oldest) {
		cut := earlier(p.oldest, end)
		p.lose(next, cut)
		p.s.BackfillNext = timestamppb.New(cut)
	}
	if head := p.s.GetLiveHead().AsTime(); head.Before(p.oldest) {
		p.lose(head, p.oldest)
		p.s.LiveHead = timestamppb.New(p.oldest)
	}
}

func (p *planner) lose(from, to time.Time) {
	p.out.Lost = append(p.out.Lost, Range{window.New(from, to), feed.Names(p.c.Set), "older than the seven days that Proofpoint serves"})
}

// live plans from the head to the present, in windows of at most an hour.
func (p *planner) live() {
	present := p.in.Now.Add(-p.c.Margin)
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
	for _, j := range p.s.GetOutstanding() {
		if o := span(j); o.Meets(window.New(start, end)) {
			start = later(start, o.End)
		}
	}
	return earlier(start, head)
}

// backfill plans the oldest hours first: they are the next to fall off the edge.
func (p *planner) backfill() {
	for p.waiting(taplinev1.Lane_LANE_BACKFILL) < maxBackfill {
		next, end := p.s.GetBackfillNext().AsTime(), p.s.GetBackfillEnd().AsTime()
		if !next.Before(end) || !p.spare() {
			return
		}
		w := window.New(next, earlier(next.Truncate(time.Hour).Add(time.Hour), end))
		p.add(w, taplinev1.Lane_LANE_BACKFILL, 0)
		p.s.BackfillNext = timestamppb.New(w.End)
	}
}

// waiting counts the jobs of a lane that could be done. What was planned too early by a clock that was ahead must
// not hold up the rest until it is time.
func (p *planner) waiting(lane taplinev1.Lane) (n int) {
	for _, j := range p.s.GetOutstanding() {
		due := span(j).End.Add(time.Duration(j.GetPass()) * time.Minute)
		if j.GetLane() == lane && !due.After(p.in.Now) {
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
	}
	if id, err := job.Of(j); err == nil { // the windows made here are well formed
		j.Id = id.String()
	}
	p.out.New = append(p.out.New, j)
	return j
}

// span is a job's window. Jobs in the state are the planner's own.
func span(j *taplinev1.Job) window.Window {
	return window.New(j.GetWindow().GetStart().AsTime(), j.GetWindow().GetEnd().AsTime())
}

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
