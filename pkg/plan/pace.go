package plan

import (
	"time"

	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
)

// How calls are shared. In this order, each from what the earlier ones leave:
//
//  1. one live call an hour, the sweeps, and what was asked for in vain: with these nothing is
//     missed;
//  2. backfill, spread over a day;
//  3. live calls, as often as the others allow, up to the configured poll interval;
//  4. backfill at once, when live calls can keep their cadence for a day all the same.
//
// A part of the limit is kept for repetitions, for windows that are split, and for unplanned calls.
// Everything follows from the calls that may be made up to each instant of the next 24 hours: what
// is left now, and the units that come back.
const (
	reserveShare = 50 // a fiftieth of the limit
	grain        = time.Hour
	// asideShare is how many calls an hour are kept for windows that were asked for in vain.
	asideShare = 6
)

// reserve is how many units are kept back.
func reserve(limit int) int { return max(limit/reserveShare, 1) }

// left is how many calls may be planned now: those to be had, without those that
// outstanding jobs will make.
func (p *planner) left() int {
	if p.in.Supply == nil || p.in.Supply.Limit == 0 {
		return maxLive + maxSweep + maxBackfill
	}
	if p.in.Supply.Blocked.After(p.in.Now) {
		return 0
	}
	return p.in.Supply.Left - p.committed()
}

// committed is how many calls the jobs on the bus will make.
func (p *planner) committed() int { return len(p.s.GetOutstanding()) + p.offered() }

// cadence is how often live windows are read.
func (p *planner) cadence() time.Duration {
	if p.in.Supply == nil || p.in.Supply.Limit == 0 {
		return p.c.Poll
	}
	backfill := 0.0
	add := func(w window.Window) {
		if !w.Empty() {
			backfill += w.Span().Hours() + 1
		}
	}
	add(window.New(p.s.GetBackfillNext().AsTime(), p.s.GetBackfillEnd().AsTime()))
	for _, b := range p.s.GetBacklogs() {
		add(of(b.GetWindow()))
	}
	interval := p.c.Poll
	p.supply(func(after time.Duration, units int) bool {
		free := float64(units) + 1 // within an hour a job may wait a little, so the reserve may be used
		if after >= grain {
			free = float64(units-reserve(p.in.Supply.Limit)) - p.sweepCalls(after) - backfill*min(after.Hours()/24, 1)
		}
		if free*window.MaxSpan.Seconds() < after.Seconds() {
			interval = window.MaxSpan
			return false
		}
		interval = max(interval, time.Duration(float64(after)/free))
		return true
	})
	return min((interval + time.Second - 1).Truncate(time.Second), window.MaxSpan)
}

// spare reports whether live calls can keep their cadence for a day even if one
// more call is made now.
func (p *planner) spare() bool {
	if p.in.Supply == nil || p.in.Supply.Limit == 0 {
		return true
	}
	if p.left() < 1 {
		return false
	}
	ok := true
	p.supply(func(after time.Duration, units int) bool {
		live := float64(after) / float64(p.out.Cadence)
		keep := 0
		if after >= grain {
			keep = reserve(p.in.Supply.Limit)
		}
		ok = float64(units-keep)-p.sweepCalls(after)-live >= 1
		return ok
	})
	return ok
}

// sweepCalls is how many sweeps fall due in the time to come, and how many calls go to what was
// asked for in vain.
func (p *planner) sweepCalls(after time.Duration) float64 {
	vain := min(len(p.s.GetAsides()), asideShare)
	return float64(len(p.c.Sweeps)+vain)*after.Hours() + float64(len(p.s.GetExtras()))*min(after.Hours()/24, 1)
}

// supply visits the instants right before units come back, and the end of the
// day, with the calls that may have been planned until then.
func (p *planner) supply(visit func(after time.Duration, units int) bool) {
	f := p.in.Supply
	units := f.Left - p.committed()
	for _, r := range f.Returns {
		after := r.At.Sub(p.in.Now)
		if after >= quota.Period {
			break
		}
		if after > 0 && !visit(after, units) {
			return
		}
		units += r.Units
	}
	visit(quota.Period, units)
}
