package plan

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// sweep plans to read each hour again when it has reached the age of each pass:
// Proofpoint makes some records visible long after their creation. What was
// published before is recognised and dropped by the fetcher.
func (p *planner) sweep() {
	for i, age := range p.c.Sweeps {
		state := p.pass(uint32(i+1), age)
		for p.waiting(taplinev1.Lane_LANE_SWEEP) < maxSweep {
			next := state.GetNext().AsTime()
			if next.Before(p.oldest) { // no longer served; it was read when it was
				next = p.oldest
			}
			w := window.New(next, next.Truncate(time.Hour).Add(time.Hour))
			if w.End.After(p.s.GetLiveHead().AsTime()) || p.in.Now.Sub(w.End) < age || p.busy(w) {
				break
			}
			p.add(w, taplinev1.Lane_LANE_SWEEP, state.GetPass())
			state.Next = timestamppb.New(w.End)
		}
	}
}

// busy reports whether the window meets one that is not known to be read. Two
// calls that return the same records at the same time could not know of each other.
func (p *planner) busy(w window.Window) bool {
	meets := func(start, end time.Time) bool {
		return start.Before(end) && start.Before(w.End) && w.Start.Before(end)
	}
	if meets(p.s.GetBackfillNext().AsTime(), p.s.GetBackfillEnd().AsTime()) {
		return true
	}
	return slices.ContainsFunc(p.s.GetOutstanding(), func(job *taplinev1.Job) bool {
		return meets(job.GetWindow().GetStart().AsTime(), job.GetWindow().GetEnd().AsTime())
	})
}

// pass is how far a pass has come. A pass that begins has nothing to do with hours
// that are read for the first time at a greater age than its own, nor with what lies before the start.
func (p *planner) pass(number uint32, age time.Duration) *taplinev1.SweepState {
	for _, s := range p.s.GetSweeps() {
		if s.GetPass() == number {
			return s
		}
	}
	next := p.in.Now.Add(-age).Truncate(time.Hour)
	if start := p.s.GetBackfillNext().AsTime(); next.Before(start) {
		next = start
	}
	s := &taplinev1.SweepState{Pass: number, Next: timestamppb.New(next)}
	p.s.Sweeps = append(p.s.Sweeps, s)
	return s
}
