package plan

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// backlog is the one to continue with: the oldest, which is the next to fall off the edge. What
// meets a job waits.
func (p *planner) backlog() (first *taplinev1.Backlog) {
	for _, b := range p.s.GetBacklogs() {
		if (first == nil || of(b.GetWindow()).Start.Before(of(first.GetWindow()).Start)) && !p.taken(head(b), b.GetFeeds()) {
			first = b
		}
	}
	return first
}

// head is the window of a backlog's next job. It may reach back into what was read, since there are
// no shorter ones.
func head(b *taplinev1.Backlog) window.Window {
	all := of(b.GetWindow())
	w := window.New(all.Start, earlier(all.Start.Truncate(time.Hour).Add(time.Hour), all.End))
	if all.End.Sub(w.End) < window.MinSpan { // what is left would be too short
		w.End = earlier(all.End, w.Start.Add(window.MaxSpan))
	}
	if w.Span() < window.MinSpan {
		w.Start = w.End.Add(-window.MinSpan)
	}
	return w
}

// taken reports whether a job, or a window that was set aside, is about some of the window.
func (p *planner) taken(w window.Window, feeds []string) bool {
	meets := func(j *taplinev1.Job) bool {
		return w.Meets(span(j)) && slices.ContainsFunc(feeds, func(f string) bool { return slices.Contains(j.GetFeeds(), f) })
	}
	return slices.ContainsFunc(p.s.GetOutstanding(), meets) ||
		slices.ContainsFunc(p.s.GetAsides(), func(a *taplinev1.Aside) bool { return meets(a.GetJob()) })
}

// takeUp plans the first window of a backlog.
func (p *planner) takeUp(b *taplinev1.Backlog) {
	all, w := of(b.GetWindow()), head(b)
	j := &taplinev1.Job{Lane: taplinev1.Lane_LANE_BACKFILL}
	if b.GetOnceMore() {
		j.Pass = p.age(w)
	}
	j = p.like(j, w, b.GetFeeds())
	j.Overlap = uint32(all.Start.Sub(w.Start) / time.Second)
	p.s.Outstanding = append(p.s.Outstanding, j)
	if b.Window = window.New(w.End, all.End).Proto(); !w.End.Before(all.End) {
		p.s.Backlogs = slices.DeleteFunc(p.s.GetBacklogs(), func(o *taplinev1.Backlog) bool { return o == b })
	}
}

// Waiting is how much time backfill has still to plan.
func Waiting(s *taplinev1.PlanState) (sum time.Duration) {
	if rest := window.New(s.GetBackfillNext().AsTime(), s.GetBackfillEnd().AsTime()); !rest.Empty() {
		sum = rest.Span()
	}
	for _, b := range s.GetBacklogs() {
		sum += of(b.GetWindow()).Span()
	}
	return sum
}

// owe adds what is to be read of some feeds. What is on its way is left out.
func owe(s *taplinev1.PlanState, b *taplinev1.Backlog) {
	for _, f := range b.GetFeeds() {
		for _, w := range of(b.GetWindow()).Missing(unreadOf(s, f)) {
			same := slices.IndexFunc(s.GetBacklogs(), func(o *taplinev1.Backlog) bool {
				return of(o.GetWindow()) == w && o.GetReason() == b.GetReason() && !slices.Contains(o.GetFeeds(), f)
			})
			if same >= 0 {
				s.Backlogs[same].Feeds = append(s.Backlogs[same].Feeds, f)
				continue
			}
			s.Backlogs = append(s.Backlogs, &taplinev1.Backlog{Window: w.Proto(), Feeds: []string{f}, Reason: b.GetReason(), OnceMore: b.GetOnceMore()})
		}
	}
}

// Retry takes an operator's order into a plan: what of it Proofpoint still serves is read once
// more, and what waits after failures is offered at once.
func Retry(c Config, s *taplinev1.PlanState, now time.Time, order *taplinev1.Retry) {
	w := of(order.GetWindow())
	served := w.Within(window.New(later(Oldest(now), s.GetStart().AsTime()), s.GetLiveHead().AsTime()))
	feeds := slices.DeleteFunc(feed.Names(c.Set), func(f string) bool {
		return len(order.GetFeeds()) > 0 && !slices.Contains(order.GetFeeds(), f)
	})
	for _, a := range s.GetAsides() {
		if span(a.GetJob()).Meets(w) && !a.GetJob().GetAside() {
			a.RetryAt = timestamppb.New(earlier(a.GetRetryAt().AsTime(), now))
		}
	}
	if !served.Empty() {
		owe(s, &taplinev1.Backlog{Window: served.Proto(), Feeds: feeds, Reason: "ordered by an operator", OnceMore: true})
	}
}
