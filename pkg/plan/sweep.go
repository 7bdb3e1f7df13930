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
	for _, age := range p.c.Sweeps {
		if p.pass(minutes(age)) == nil {
			// Hours that had this age when they could be read first need no such sweep.
			next := later(p.in.Now.Add(-age).Truncate(time.Hour), p.s.GetStart().AsTime())
			p.s.Sweeps = append(p.s.Sweeps, &taplinev1.SweepState{Pass: minutes(age), Next: timestamppb.New(next)})
		}
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
// What is due first comes first, whatever its pass. By a clock that is ahead sweeps are planned before their time, and each
// keeps a place until then: if one pass always went before another, its places would never be free for the other.
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
		switch {
		case x.GetPass() > final:
			p.seal(w, x.GetFeeds(), "Proofpoint no longer serves it; its last sweep still found records")
		case x.GetPass() == final:
			p.unswept(w, x.GetFeeds(), overdue(w, final))
		}
		return true
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
		if due := dueAt(w, pass); due.Before(first) && !p.busy(w) {
			first, taken = due, take
			best = &taplinev1.Job{Lane: taplinev1.Lane_LANE_SWEEP, Pass: pass, Feeds: feeds, Window: w.Proto()}
		}
	}
	for _, state := range p.s.GetSweeps() {
		if w, ok := p.due(state); ok {
			offer(w, state.GetPass(), p.feeds(), func() { state.Next = timestamppb.New(w.End) })
		}
	}
	// Windows that are swept besides: their last sweep still found something, or a pass left them out wrongly.
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

func dueAt(w window.Window, pass uint32) time.Time {
	return w.End.Add(time.Duration(pass) * time.Minute)
}

// patience is how long a due sweep waits for an outstanding first reading in its hour before it steps over it.
const patience = 10 * time.Minute

// due is what a pass sweeps now: the next hour, or its part up to something that is in the way. A pass steps
// over what is not read yet. When that is read, it is older than the pass demands, or is swept besides: see first.
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

// obstacle is the first thing in the way of a sweep; it is empty if there is none. ok is false when the sweep had better
// wait.
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

// stepOver moves a pass behind an obstacle at the beginning of its window. What is read beside it and is too short
// for a sweep, and what waits for another sweep, is swept later.
func (p *planner) stepOver(s *taplinev1.SweepState, w, o window.Window) {
	to := earlier(o.End, w.End)
	if w.End.Sub(to) < window.MinSpan {
		to = w.End
	}
	over := window.New(w.Start, to)
	unread := []window.Window{}
	for _, d := range Unread(p.s) {
		unread = append(unread, d.Window)
	}
	if len(over.Missing(unread)) > 0 {
		if over.Span() < window.MinSpan {
			over.Start = over.End.Add(-window.MinSpan)
		}
		p.s.Extras = append(p.s.Extras, &taplinev1.Extra{Window: over.Proto(), Pass: s.GetPass(), Feeds: p.feeds()})
	}
	s.Next = timestamppb.New(to)
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

// skip notes that a first reading comes so late that it is as good as a sweep.
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

// busy reports whether the window meets one that is not known to be read.
func (p *planner) busy(w window.Window) bool {
	if w.Meets(window.New(p.s.GetBackfillNext().AsTime(), p.s.GetBackfillEnd().AsTime())) {
		return true
	}
	return slices.ContainsFunc(p.inWork(), w.Meets)
}

// read decides what is next for a window that was read: another sweep, or the seal.
func (p *planner) read(j *taplinev1.Job, outcome *taplinev1.WindowRecord) {
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
		p.s.Extras = append(p.s.Extras, &taplinev1.Extra{Window: w.Proto(), Pass: next, Feeds: j.GetFeeds()})
	default:
		p.seal(w, j.GetFeeds(), fmt.Sprintf("the last sweep found %d records; Proofpoint does not serve it again", found))
	}
}

// first decides it for a first reading. A pass leaves out what is planned at its age or later. When
// it turns out to be read before that age all the same, since the clock of the plan was ahead, the
// window is swept besides.
func (p *planner) first(j *taplinev1.Job, outcome *taplinev1.WindowRecord) {
	const reason = "its first reading was later than any sweep"
	w := own(j)
	at := outcome.GetReadAt().AsTime()
	for _, s := range p.s.GetSweeps() {
		out := leftOut(s, w)
		switch age := time.Duration(s.GetPass()) * time.Minute; {
		case len(out) == 0:
		case at.Sub(w.End) < age:
			p.s.Extras = append(p.s.Extras, &taplinev1.Extra{Window: w.Proto(), Pass: s.GetPass(), Feeds: j.GetFeeds()})
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

// whatIsRead visits the parts of a span that are read, feed by feed; the rest is decided when it is.
func (p *planner) whatIsRead(w window.Window, visit func(part window.Window, f string)) {
	debts := Unread(p.s)
	for _, f := range p.feeds() {
		var unread []window.Window
		for _, lost := range p.out.Lost {
			if slices.Contains(lost.Feeds, f) {
				unread = append(unread, lost.Window)
			}
		}
		for _, d := range debts {
			if slices.Contains(d.Feeds, f) {
				unread = append(unread, d.Window)
			}
		}
		for _, part := range w.Missing(unread) {
			visit(part, f)
		}
	}
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
