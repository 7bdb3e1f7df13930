package plan

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func dueAt(w window.Window, pass uint32) time.Time {
	return w.End.Add(time.Duration(pass) * time.Minute)
}

// patience is how long a due sweep waits for an outstanding first reading in its hour before it
// steps over it.
const patience = 10 * time.Minute

// due is what a pass sweeps now: the next hour, or its part up to something that is in the way. A
// pass steps over what is not read yet. When that is read, it is older than the pass demands, or is
// swept besides: see first.
func (p *planner) due(s *taplinev1.SweepState) (window.Window, bool) {
	for {
		w := upcoming(s)
		if w.End.After(p.s.GetLiveHead().AsTime()) || dueAt(w, s.GetPass()).After(p.in.Now) || w.End.After(p.in.Now.Add(-p.margin())) {
			return w, false
		}
		o, ok := p.obstacle(w, s.GetPass())
		switch {
		case !ok:
			return w, false
		case o.Empty():
			return w, true
		case o.Start.Sub(w.Start) >= window.MinSpan:
			return window.New(w.Start, o.Start), true
		}
		p.stepOver(s, w, o)
	}
}

// obstacle is the first thing in the way of a sweep; it is empty if there is none. ok is false when
// the sweep had better wait.
func (p *planner) obstacle(w window.Window, pass uint32) (first window.Window, ok bool) {
	stuck := func(j *taplinev1.Job) bool {
		return firstReading(j) && p.in.Now.Sub(later(dueAt(w, pass), j.GetPlannedAt().AsTime())) > patience
	}
	consider := func(o window.Window) {
		if o.Meets(w) && (first.Empty() || o.Start.Before(first.Start)) {
			first = o
		}
	}
	for _, j := range p.s.GetOutstanding() {
		if span(j).Meets(w) && !stuck(j) {
			return window.Window{}, false
		}
		consider(span(j))
	}
	for _, a := range p.s.GetAsides() {
		consider(span(a.GetJob()))
	}
	for _, b := range p.s.GetBacklogs() {
		consider(of(b.GetWindow()))
	}
	consider(window.New(p.s.GetBackfillNext().AsTime(), p.s.GetBackfillEnd().AsTime()))
	return first, true
}

// stepOver moves a pass behind an obstacle at the beginning of its window. What is read beside it
// and is too short for a sweep, and what waits for another sweep, is swept later.
func (p *planner) stepOver(s *taplinev1.SweepState, w, o window.Window) {
	to := earlier(o.End, w.End)
	if w.End.Sub(to) < window.MinSpan {
		to = w.End
	}
	over := window.New(w.Start, to)
	var feeds []string // of which something in there is read
	for _, f := range p.feeds() {
		if len(over.Missing(p.withoutReading(f))) > 0 {
			feeds = append(feeds, f)
		}
	}
	if len(feeds) > 0 {
		p.extra(over, s.GetPass(), feeds)
	}
	s.Next = timestamppb.New(to)
}

// extra has a window swept besides. A sweep has a shortest length, too.
func (p *planner) extra(w window.Window, pass uint32, feeds []string) {
	if w.Span() < window.MinSpan {
		w.Start = later(w.End.Add(-window.MinSpan), p.s.GetStart().AsTime())
		w.End = later(w.End, w.Start.Add(window.MinSpan))
	}
	p.s.Extras = append(p.s.Extras, &taplinev1.Extra{Window: w.Proto(), Pass: pass, Feeds: feeds})
}
