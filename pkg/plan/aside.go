package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// A window that was asked for in vain leaves the outstanding jobs, so that it takes no place from
// others: it is set aside. It is unread all the same, and it is offered again with backoff until it
// is read or no longer served.
const (
	// maxOffered bounds the windows that are offered again at once.
	maxOffered = 2
	// maxAsides bounds what is set aside: beyond it, neighbors become one window, and nothing is
	// cut into parts.
	maxAsides = 300
	// Backoff of a window: from a minute after its third failure to an hour.
	firstBackoff, lastBackoff = time.Minute, time.Hour
	inLane                    = 3 // failures before a fetcher gives a window back
)

// Offered lists the jobs that belong on the bus: the outstanding ones, and those set aside that are
// due.
func Offered(s *taplinev1.PlanState) []*taplinev1.Job {
	jobs := slices.Clone(s.GetOutstanding())
	for _, a := range s.GetAsides() {
		if a.GetJob().GetAside() {
			jobs = append(jobs, a.GetJob())
		}
	}
	return jobs
}

// retryAfter is how long a window waits that was asked for in vain so often.
func retryAfter(failures uint32) time.Duration {
	return backoff.Doubling{Min: firstBackoff, Max: lastBackoff}.After(int(failures) - inLane + 1)
}

// unproven sets a window aside, or puts it back there.
func (p *planner) unproven(j *taplinev1.Job, a *taplinev1.Aside, record *taplinev1.JobRecord) []*taplinev1.Aside {
	if a != nil && record.GetFailures() <= a.GetFailures() {
		return []*taplinev1.Aside{a} // of before it was set aside
	}
	if a == nil {
		p.out.Done = append(p.out.Done, j)
		a = p.aside(j, record.GetReason())
	}
	a.Failures, a.Reason = max(record.GetFailures(), 1), record.GetReason()
	j.Aside, j.Failures = false, a.GetFailures()
	retry := p.in.Now.Add(retryAfter(a.GetFailures()))
	if served := span(j).End.Add(time.Duration(record.GetLagMs()) * time.Millisecond); record.GetLagMs() > 0 {
		retry = later(retry, earlier(served, p.in.Now.Add(maxLag)))
	}
	a.RetryAt = timestamppb.New(retry)
	return []*taplinev1.Aside{a}
}

// aside sets a job aside that is due at once.
func (p *planner) aside(j *taplinev1.Job, reason string) *taplinev1.Aside {
	now := timestamppb.New(p.in.Now)
	return &taplinev1.Aside{Job: j, Since: now, RetryAt: now, Reason: reason}
}

// partsAside are the parts of a window that was set aside, if there is room for them.
func (p *planner) partsAside(a *taplinev1.Aside) (parts []*taplinev1.Aside) {
	if len(p.s.GetAsides()) >= maxAsides {
		return []*taplinev1.Aside{p.likeAside(a, p.anew(a.GetJob(), span(a.GetJob())), p.in.Now.Add(lastBackoff))}
	}
	for _, j := range p.parts(a.GetJob()) {
		parts = append(parts, p.likeAside(a, j, p.in.Now))
	}
	return parts
}

// likeAside sets a job aside that takes the place of another.
func (p *planner) likeAside(a *taplinev1.Aside, j *taplinev1.Job, retry time.Time) *taplinev1.Aside {
	next := &taplinev1.Aside{Job: j, Failures: a.GetFailures(), Since: a.GetSince(), RetryAt: timestamppb.New(retry), Reason: a.GetReason()}
	j.Failures = a.GetFailures()
	return next
}

// fetched takes in what was read of a window. The remainder is set aside. A window that had been
// set aside, or of which nothing new is proven, was asked for in vain, although the answer brought
// something.
func (p *planner) fetched(j *taplinev1.Job, was *taplinev1.Aside, record *taplinev1.JobRecord) []*taplinev1.Aside {
	if p.s.GetFirstRead() == nil {
		p.s.FirstRead = timestamppb.New(p.in.Now)
	}
	w := span(j)
	end := w.End
	if record.GetReadEnd() != nil {
		end = earlier(end, record.GetReadEnd().AsTime().Truncate(time.Second))
	}
	if !end.Before(w.End) {
		p.read(j, record)
		return nil
	}
	begin, failures := own(j).Start, uint32(0)
	if was != nil {
		failures = was.GetFailures() + 1
	}
	if !begin.Before(end) {
		failures = max(failures, inLane)
	} else {
		part := proto.CloneOf(j)
		part.Window = window.New(w.Start, end).Proto()
		p.read(part, record)
		begin = end
	}
	rest := window.New(later(w.Start, earlier(begin, w.End.Add(-window.MinSpan))), w.End)
	next := p.anew(j, rest)
	next.Overlap = uint32(begin.Sub(rest.Start) / time.Second)
	a := p.aside(next, fmt.Sprintf("an answer proved the window read up to %s only", end.Format(time.RFC3339)))
	if was != nil {
		a.Since = was.GetSince()
	}
	a.Failures, next.Failures = failures, failures
	served := earlier(w.End.Add(p.margin()), p.in.Now.Add(maxLag))
	a.RetryAt = timestamppb.New(later(p.in.Now.Add(retryAfter(failures)), served))
	return []*taplinev1.Aside{a}
}

// givenUp takes in that a fetcher gave a window up. What is served still is not lost, whatever an
// answer said.
func (p *planner) givenUp(j *taplinev1.Job, record *taplinev1.JobRecord) []*taplinev1.Aside {
	w := own(j)
	switch {
	case !w.Start.Before(p.oldest):
		a := p.aside(p.anew(j, span(j)), record.GetReason())
		a.RetryAt = timestamppb.New(p.in.Now.Add(lastBackoff))
		return []*taplinev1.Aside{a}
	case firstReading(j):
		p.drop(w) // the ledger has it from the fetcher
	case j.GetPass() >= p.final(): // it was read before
		p.unswept(w, j.GetFeeds(), record.GetReason())
	}
	return nil
}

// offer puts the windows that are due back on the bus, the longest due first.
func (p *planner) offer() {
	list := slices.Clone(p.s.GetAsides())
	slices.SortStableFunc(list, func(x, y *taplinev1.Aside) int { return x.GetRetryAt().AsTime().Compare(y.GetRetryAt().AsTime()) })
	offered := p.offered()
	for _, a := range list {
		if offered >= maxOffered || p.in.NoLive || a.GetRetryAt().AsTime().After(p.in.Now) {
			return
		}
		if a.GetJob().GetAside() {
			continue
		}
		if p.left() < 1 {
			return
		}
		a.Job.Aside, a.Job.Failures = true, a.GetFailures()
		offered++
	}
}

// offered is how many windows that were set aside are on the bus.
func (p *planner) offered() (n int) {
	for _, a := range p.s.GetAsides() {
		if a.GetJob().GetAside() {
			n++
		}
	}
	return n
}

// gather makes one window of neighbors, when too many are set aside.
func (p *planner) gather() {
	if len(p.s.GetAsides()) <= maxAsides {
		return
	}
	slices.SortStableFunc(p.s.GetAsides(), func(x, y *taplinev1.Aside) int {
		return cmp.Or(cmp.Compare(kind(x), kind(y)), own(x.GetJob()).Start.Compare(own(y.GetJob()).Start))
	})
	var out []*taplinev1.Aside
	for _, a := range p.s.GetAsides() {
		if n := len(out); n > 0 && kind(out[n-1]) == kind(a) && !out[n-1].GetJob().GetAside() && !a.GetJob().GetAside() {
			x, y := own(out[n-1].GetJob()), own(a.GetJob())
			if joint := window.New(x.Start, y.End); x.End.Equal(y.Start) && joint.Span() >= window.MinSpan && joint.Span() <= window.MaxSpan {
				out[n-1] = p.join(out[n-1], a, joint)
				continue
			}
		}
		out = append(out, a)
	}
	p.s.Asides = out
}

// join is a window in place of two neighbors.
func (p *planner) join(x, y *taplinev1.Aside, w window.Window) *taplinev1.Aside {
	p.out.Done = append(p.out.Done, x.GetJob(), y.GetJob())
	job := &taplinev1.Job{Lane: x.GetJob().GetLane(), Pass: max(x.GetJob().GetPass(), y.GetJob().GetPass())}
	if firstReading(job) { // another may have had this window
		job.Lane, job.Pass = taplinev1.Lane_LANE_BACKFILL, p.age(w)
	}
	retry := later(x.GetRetryAt().AsTime(), y.GetRetryAt().AsTime())
	a := p.likeAside(y, p.like(job, w, x.GetJob().GetFeeds()), retry)
	a.Failures = max(x.GetFailures(), y.GetFailures())
	a.Since = timestamppb.New(earlier(x.GetSince().AsTime(), y.GetSince().AsTime()))
	return a
}

// kind says which windows that were set aside may become one.
func kind(a *taplinev1.Aside) string {
	j := a.GetJob()
	if firstReading(j) {
		return fmt.Sprint(j.GetFeeds())
	}
	return fmt.Sprint(j.GetFeeds(), j.GetPass())
}
