package plan

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Lanes by the name they have in subjects and job ids.
const (
	Live     = "live"
	Sweep    = "sweep"
	Backfill = "backfill"
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
	Tenant string
	Set    feed.Set
	Start  time.Time       // where backfill begins, at most seven days back
	Poll   time.Duration   // shortest live window
	Margin time.Duration   // how far behind Proofpoint's clock a window ends
	Sweeps []time.Duration // ages at which an hour is read again, youngest first; pass 1 is the first of them
}

// Input is what one step looks at.
type Input struct {
	Now time.Time // by Proofpoint's clock
	// Outcomes of outstanding jobs that are known, by job id.
	Outcomes map[string]taplinev1.WindowState
	// NoBackfill and NoLive hold back new work while a stream is nearly full.
	NoBackfill, NoLive bool
}

// Output is what a step decided besides the state.
type Output struct {
	New  []*taplinev1.Job // planned in this step; they are in the state's outstanding jobs too
	Done []*taplinev1.Job // no longer outstanding
	Lost []window.Window  // ranges that Proofpoint no longer serves
}

// JobID names a job by what it is, so that whoever plans the same work makes
// the same id.
func JobID(tenant string, set feed.Set, w window.Window, lane string, pass uint32) string {
	return fmt.Sprintf("%s/%s/%s/%s/%d", tenant, set, w.Compact("/"), lane, pass)
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
		LiveHead: timestamppb.New(head), BackfillNext: timestamppb.New(start), BackfillEnd: timestamppb.New(head),
	}
}

// Step advances the state, in place.
func Step(c Config, s *taplinev1.PlanState, in Input) Output {
	p := &planner{c: c, s: s, in: in, oldest: oldest(in.Now)}
	p.settle()
	p.clamp()
	if !in.NoLive {
		p.live()
		p.sweep()
	}
	if !in.NoBackfill && !in.NoLive {
		p.backfill()
	}
	return p.out
}

// oldest is the earliest start that is still safe to ask for.
func oldest(now time.Time) time.Time {
	return now.Add(-window.Lookback + edge).Truncate(time.Minute).Add(time.Minute)
}

type planner struct {
	c      Config
	s      *taplinev1.PlanState
	in     Input
	oldest time.Time
	out    Output
}

// settle takes finished jobs out and puts the halves of split windows in.
func (p *planner) settle() {
	var left []*taplinev1.Job
	for _, job := range p.s.GetOutstanding() {
		switch p.in.Outcomes[job.GetId()] {
		case taplinev1.WindowState_WINDOW_STATE_FETCHED, taplinev1.WindowState_WINDOW_STATE_SEALED, taplinev1.WindowState_WINDOW_STATE_LOST:
			p.out.Done = append(p.out.Done, job)
		case taplinev1.WindowState_WINDOW_STATE_SPLIT:
			p.out.Done = append(p.out.Done, job)
			left = append(left, p.halves(job)...)
		default:
			left = append(left, job)
		}
	}
	p.s.Outstanding = left
}

func (p *planner) halves(job *taplinev1.Job) []*taplinev1.Job {
	w, err := window.FromProto(job.GetWindow())
	if err != nil { // the state is ours; a window in it is well formed
		return nil
	}
	first, second, ok := w.Halves()
	if !ok { // a fetcher does not split what cannot be cut; wait for its next answer
		return []*taplinev1.Job{job}
	}
	lane, pass := job.GetLane(), job.GetPass()
	return []*taplinev1.Job{p.job(first, lane, pass), p.job(second, lane, pass)}
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
	p.out.Lost = append(p.out.Lost, window.New(from, to))
}

// live plans from the head to the present, in windows of at most an hour.
func (p *planner) live() {
	present := p.in.Now.Add(-p.c.Margin).Truncate(time.Minute)
	for p.waiting(taplinev1.Lane_LANE_LIVE) < maxLive {
		head := p.s.GetLiveHead().AsTime()
		end := earlier(present, head.Add(window.MaxSpan))
		if end.Sub(head) < max(p.c.Poll, window.MinSpan) {
			return
		}
		p.add(window.New(head, end), taplinev1.Lane_LANE_LIVE, 0)
		p.s.LiveHead = timestamppb.New(end)
	}
}

// backfill plans the oldest hours first: they are the next to fall off the edge.
func (p *planner) backfill() {
	for p.waiting(taplinev1.Lane_LANE_BACKFILL) < maxBackfill {
		next, end := p.s.GetBackfillNext().AsTime(), p.s.GetBackfillEnd().AsTime()
		if !next.Before(end) {
			return
		}
		w := window.New(next, earlier(next.Truncate(time.Hour).Add(time.Hour), end))
		p.add(w, taplinev1.Lane_LANE_BACKFILL, 0)
		p.s.BackfillNext = timestamppb.New(w.End)
	}
}

func (p *planner) waiting(lane taplinev1.Lane) (n int) {
	for _, job := range p.s.GetOutstanding() {
		if job.GetLane() == lane {
			n++
		}
	}
	return n
}

func (p *planner) add(w window.Window, lane taplinev1.Lane, pass uint32) {
	p.s.Outstanding = append(p.s.Outstanding, p.job(w, lane, pass))
}

func (p *planner) job(w window.Window, lane taplinev1.Lane, pass uint32) *taplinev1.Job {
	job := &taplinev1.Job{
		Id: JobID(p.c.Tenant, p.c.Set, w, LaneName(lane), pass), Tenant: p.c.Tenant, Feeds: feed.Names(p.c.Set),
		Window: w.Proto(), Lane: lane, Pass: pass, PlannedAt: timestamppb.New(p.in.Now),
	}
	p.out.New = append(p.out.New, job)
	return job
}

// LaneName is the name of a lane in subjects, job ids and metrics.
func LaneName(lane taplinev1.Lane) string {
	switch lane {
	case taplinev1.Lane_LANE_LIVE:
		return Live
	case taplinev1.Lane_LANE_SWEEP:
		return Sweep
	default:
		return Backfill
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
