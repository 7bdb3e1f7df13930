package plan

import (
	"time"

	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// How calls are shared. In this order, each from what the earlier ones leave:
//
//  1. one live call an hour, and the sweeps: with these nothing is missed;
//  2. backfill, spread over a day;
//  3. live calls, as often as the rest allows, up to the configured poll interval;
//  4. backfill at once, when live calls can keep their cadence for a day all the same.
//
// A part of the limit is kept for repetitions, for windows that are split, and for
// what nobody planned. Everything follows from the calls that may be made up to each
// instant of the next 24 hours: what is left now, and the units that come back.
const (
	reserveShare = 50 // a fiftieth of the limit
	grain        = time.Hour
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
	return p.in.Supply.Left - len(p.s.GetOutstanding())
}

// cadence is how often live windows are read.
func (p *planner) cadence() time.Duration {
	if p.in.Supply == nil || p.in.Supply.Limit == 0 {
		return p.c.Poll
	}
	rest := window.New(p.s.GetBackfillNext().AsTime(), p.s.GetBackfillEnd().AsTime())
	backfill := 0.0
	if !rest.Empty() {
		backfill = rest.Span().Hours() + 1
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

// sweepCalls is how many sweeps fall due in the time to come.
func (p *planner) sweepCalls(after time.Duration) float64 {
	return float64(len(p.c.Sweeps))*after.Hours() + float64(len(p.s.GetExtras()))*min(after.Hours()/24, 1)
}

// supply visits the instants right before units come back, and the end of the
// day, with the calls that may have been planned until then.
func (p *planner) supply(visit func(after time.Duration, units int) bool) {
	f := p.in.Supply
	units := f.Left - len(p.s.GetOutstanding())
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

// Edge is how long it takes until something that has not been read can no longer be
// read, and where that begins. ok is false when everything up to the head is read.
func Edge(s *taplinev1.PlanState, now time.Time) (left time.Duration, oldest time.Time, ok bool) {
	if next := s.GetBackfillNext().AsTime(); next.Before(s.GetBackfillEnd().AsTime()) {
		oldest, ok = next, true
	}
	for _, j := range s.GetOutstanding() {
		if start := j.GetWindow().GetStart().AsTime(); j.GetPass() == 0 && (!ok || start.Before(oldest)) {
			oldest, ok = start, true
		}
	}
	return oldest.Add(window.Lookback).Sub(now), oldest, ok
}
