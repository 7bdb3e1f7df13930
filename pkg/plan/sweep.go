package plan

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// minutes names a pass by its age, so that a changed list of ages moves no pass to another place.
func minutes(age time.Duration) uint32 { return uint32(age / time.Minute) }

// final is the last configured pass; 0 when there are none.
func (p *planner) final() uint32 {
	if len(p.c.Sweeps) == 0 {
		return 0
	}
	return minutes(p.c.Sweeps[len(p.c.Sweeps)-1])
}

// passes makes the state's passes those of the configuration.
func (p *planner) passes() {
	last := &taplinev1.SweepState{} // the final one up to now
	for _, s := range p.s.GetSweeps() {
		if s.GetPass() > last.GetPass() {
			last = s
		}
	}
	for _, age := range p.c.Sweeps {
		if p.pass(minutes(age)) == nil {
			// Hours that had this age when they could be read first need no such sweep.
			next := later(p.in.Now.Add(-age).Truncate(time.Hour), p.s.GetStart().AsTime())
			if minutes(age) == p.final() && last.GetNext() != nil { // what waits for the final sweep waits for this one now
				next = earlier(next, last.GetNext().AsTime())
			}
			p.s.Sweeps = append(p.s.Sweeps, &taplinev1.SweepState{Pass: minutes(age), Next: timestamppb.New(next)})
		}
	}
	if p.final() > last.GetPass() && last.GetPass() > 0 {
		p.postpone(last.GetPass())
	}
	p.s.Sweeps = slices.DeleteFunc(p.s.GetSweeps(), func(s *taplinev1.SweepState) bool {
		if slices.ContainsFunc(p.c.Sweeps, func(age time.Duration) bool { return minutes(age) == s.GetPass() }) {
			return false
		}
		if s.GetPass() > p.final() { // what waited for it waits for nothing more
			reason := fmt.Sprintf("the sweep after %d minutes was switched off", s.GetPass())
			p.whatIsRead(window.New(s.GetNext().AsTime(), p.frontier()), func(part window.Window, f string) { p.seal(part, []string{f}, reason) })
		}
		return true
	})
}

// postpone has windows that are in a sweep which was the final one swept by the pass that is the
// final one now.
func (p *planner) postpone(was uint32) {
	for _, x := range p.s.GetExtras() {
		if x.GetPass() >= was {
			x.Pass = max(x.GetPass(), p.final())
		}
	}
	again := func(j *taplinev1.Job) {
		if !firstReading(j) && j.GetPass() >= was && j.GetPass() < p.final() {
			p.extra(span(j), p.final(), j.GetFeeds())
		}
	}
	for _, j := range p.s.GetOutstanding() {
		again(j)
	}
	for _, a := range p.s.GetAsides() {
		again(a.GetJob())
	}
}

func (p *planner) pass(number uint32) *taplinev1.SweepState {
	for _, s := range p.s.GetSweeps() {
		if s.GetPass() == number {
			return s
		}
	}
	return nil
}

// frontier is up to where nothing waits for a sweep any more, but for extras.
func (p *planner) frontier() time.Time {
	if s := p.pass(p.final()); s != nil {
		return s.GetNext().AsTime()
	}
	return p.s.GetLiveHead().AsTime()
}

// sweep plans to read each hour again when it has reached the age of each pass:
// Proofpoint makes some records visible long after their creation. What was
// published before is recognised and dropped by the fetcher.
//
// What is due first comes first, whatever its pass. By a clock that is ahead sweeps are planned
// before their time, and each keeps a place until then: if one pass always went before another, its
// places would never be free for the other.
func (p *planner) sweep() {
	p.expire()
	for p.maySweep() && p.sweepNext() {
	}
}

// expire gives up sweeps of what is no longer served; it was read when it was.
func (p *planner) expire() {
	final := p.final()
	for _, state := range p.s.GetSweeps() {
		jump(state)
		next := state.GetNext().AsTime()
		if !next.Before(p.oldest) {
			continue
		}
		if state.GetPass() == final {
			p.whatIsRead(window.New(next, p.oldest), func(part window.Window, f string) { p.unswept(part, []string{f}, overdue(part, final)) })
		}
		state.Next = timestamppb.New(p.oldest)
	}
	p.s.Extras = slices.DeleteFunc(p.s.GetExtras(), func(x *taplinev1.Extra) bool {
		w := of(x.GetWindow())
		if !w.Start.Before(p.oldest) {
			return false
		}
		cut := earlier(p.oldest, w.End)
		if w.End.Sub(cut) < window.MinSpan {
			cut = w.End
		}
		gone := window.New(w.Start, cut)
		switch {
		case x.GetPass() > final:
			p.seal(gone, x.GetFeeds(), "Proofpoint no longer serves it; its last sweep still found records")
		case x.GetPass() == final:
			p.unswept(gone, x.GetFeeds(), overdue(w, final))
		}
		x.Window = window.New(cut, w.End).Proto()
		return !cut.Before(w.End)
	})
}

func overdue(w window.Window, pass uint32) string {
	return "it was due since " + stamp(w.End.Add(time.Duration(pass)*time.Minute))
}

// sweepNext plans the sweep that is due first, if one is.
func (p *planner) sweepNext() bool {
	var best *taplinev1.Job
	var taken func()
	first := p.in.Now.Add(1)
	offer := func(w window.Window, pass uint32, feeds []string, take func()) {
		if due := dueAt(w, pass); due.Before(first) && !p.busy(w, feeds) {
			first, taken = due, take
			best = &taplinev1.Job{Lane: taplinev1.Lane_LANE_SWEEP, Pass: pass, Feeds: feeds, Window: w.Proto()}
		}
	}
	for _, state := range p.s.GetSweeps() {
		if w, ok := p.due(state); ok {
			offer(w, state.GetPass(), p.feeds(), func() { state.Next = timestamppb.New(w.End) })
		}
	}
	// Windows that are swept besides: their last sweep still found something, or a pass left them
	// out wrongly.
	for i, x := range p.s.GetExtras() {
		w := of(x.GetWindow())
		offer(w, x.GetPass(), x.GetFeeds(), func() { p.s.Extras = slices.Delete(p.s.GetExtras(), i, i+1) })
	}
	if best == nil {
		return false
	}
	taken()
	p.s.Outstanding = append(p.s.Outstanding, p.like(best, span(best), best.GetFeeds()))
	return true
}

// upcoming is what a pass sweeps next.
func upcoming(s *taplinev1.SweepState) window.Window {
	jump(s)
	next := s.GetNext().AsTime()
	w := window.New(next, next.Truncate(time.Hour).Add(time.Hour))
	if w.Span() < window.MinSpan { // what was skipped ends right before the hour
		w.Start = w.End.Add(-window.MinSpan)
	}
	return w
}

// skip records that a first reading comes so late that it is as good as a sweep.
func (p *planner) skip(w window.Window) {
	for _, age := range p.c.Sweeps {
		if p.in.Now.Sub(w.End) < age {
			return
		}
		state := p.pass(minutes(age))
		if n := len(state.GetSkips()); n > 0 && state.GetSkips()[n-1].GetEnd().AsTime().Equal(w.Start) {
			state.Skips[n-1].End = timestamppb.New(w.End)
			continue
		}
		state.Skips = append(state.Skips, w.Proto())
	}
}

// jump moves a pass over what it may skip.
func jump(s *taplinev1.SweepState) {
	for len(s.GetSkips()) > 0 && !s.GetSkips()[0].GetStart().AsTime().After(s.GetNext().AsTime()) {
		s.Next = timestamppb.New(later(s.GetNext().AsTime(), s.GetSkips()[0].GetEnd().AsTime()))
		s.Skips = s.Skips[1:]
	}
}

func (p *planner) maySweep() bool {
	return p.waiting(taplinev1.Lane_LANE_SWEEP) < maxSweep && p.left() >= 1
}

// busy reports whether the window meets one of the same feeds that is not known to be read.
func (p *planner) busy(w window.Window, feeds []string) bool {
	if w.Meets(window.New(p.s.GetBackfillNext().AsTime(), p.s.GetBackfillEnd().AsTime())) {
		return true
	}
	return slices.ContainsFunc(p.inWork(feeds), w.Meets)
}

// read decides what is next for a window that was read: another sweep, or the seal.
func (p *planner) read(j *taplinev1.Job, outcome *taplinev1.JobRecord) {
	if firstReading(j) {
		p.first(j, outcome)
		return
	}
	w := span(j)
	if j.GetPass() < p.final() {
		return
	}
	found := int64(0)
	for _, f := range outcome.GetFeeds() {
		found += f.GetPublished()
	}
	next := j.GetPass() + max(p.final(), 1)
	switch due := w.End.Add(time.Duration(next) * time.Minute); {
	case found == 0:
		p.seal(w, j.GetFeeds(), "the last sweep found nothing")
	case p.final() > 0 && w.Start.After(Oldest(due)):
		p.extra(w, next, j.GetFeeds())
	default:
		p.seal(w, j.GetFeeds(), fmt.Sprintf("the last sweep found %d records; Proofpoint does not serve it again", found))
	}
}

// first decides it for a first reading. A pass leaves out what is planned at its age or later. When
// it turns out to be read before that age all the same, since the clock of the plan was ahead, the
// window is swept besides.
func (p *planner) first(j *taplinev1.Job, outcome *taplinev1.JobRecord) {
	const reason = "its first reading was later than any sweep"
	w := own(j)
	at := outcome.GetReadAt().AsTime()
	for _, s := range p.s.GetSweeps() {
		out := leftOut(s, w)
		switch age := time.Duration(s.GetPass()) * time.Minute; {
		case len(out) == 0:
		case at.Sub(w.End) < age:
			p.extra(w, s.GetPass(), j.GetFeeds())
		case s.GetPass() == p.final():
			for _, part := range out {
				p.seal(part, j.GetFeeds(), reason)
			}
		}
	}
	if p.final() == 0 {
		p.seal(w, j.GetFeeds(), reason)
	}
}

// leftOut is what a pass does not come to, or no more.
func leftOut(s *taplinev1.SweepState, w window.Window) (parts []window.Window) {
	out := []window.Window{window.New(w.Start, s.GetNext().AsTime())}
	for _, skip := range s.GetSkips() {
		out = append(out, window.New(skip.GetStart().AsTime(), skip.GetEnd().AsTime()))
	}
	for _, o := range out {
		if part := w.Within(o); !part.Empty() {
			parts = append(parts, part)
		}
	}
	return parts
}

// whatIsRead visits the parts of a span that are read, feed by feed; the others are decided when
// they are.
func (p *planner) whatIsRead(w window.Window, visit func(part window.Window, f string)) {
	for _, f := range p.feeds() {
		unread := p.withoutReading(f)
		for _, lost := range p.out.Lost {
			if slices.Contains(lost.Feeds, f) {
				unread = append(unread, lost.Window)
			}
		}
		for _, part := range w.Missing(unread) {
			visit(part, f)
		}
	}
}

// withoutReading is what of a feed is to be read, and what is not collected.
func (p *planner) withoutReading(f string) []window.Window {
	unread := unreadOf(p.s, f)
	for _, o := range p.s.GetOffs() {
		if o.GetFeed() == f && o.GetEnd() != nil {
			unread = append(unread, window.New(o.GetStart().AsTime(), o.GetEnd().AsTime()))
		}
	}
	return unread
}

// unswept gives up what was read and will not be read again: records that became visible
// after the last reading are missing.
func (p *planner) unswept(w window.Window, feeds []string, why string) {
	if !w.Empty() {
		p.out.Lost = append(p.out.Lost, Range{w, feeds, "it was read, but its last sweep did not take place in time: " + why})
	}
}

func (p *planner) seal(w window.Window, feeds []string, reason string) {
	if !w.Empty() {
		p.out.Sealed = append(p.out.Sealed, Range{w, feeds, reason})
	}
}
