package plan

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	tooOld = "older than the seven days that Proofpoint serves"
	// firstDay is how long after the first reading a plan may take for its history before it owes
	// it.
	firstDay = 24 * time.Hour
)

// clamp gives up what Proofpoint no longer serves.
func (p *planner) clamp() {
	next, end := p.s.GetBackfillNext().AsTime(), p.s.GetBackfillEnd().AsTime()
	if next.Before(end) && next.Before(p.oldest) {
		cut := earlier(p.oldest, end)
		p.lose(window.New(next, cut), p.feeds(), tooOld+"; it waited for backfill since "+stamp(end))
		p.s.BackfillNext = timestamppb.New(cut)
	}
	if head := p.s.GetLiveHead().AsTime(); head.Before(p.oldest) {
		p.lose(window.New(head, p.oldest), p.feeds(), tooOld+"; nothing was planned since "+stamp(head))
		p.s.LiveHead = timestamppb.New(p.oldest)
	}
	p.clampBacklogs()
	p.clampJobs()
}

func (p *planner) clampBacklogs() {
	p.s.Backlogs = slices.DeleteFunc(p.s.GetBacklogs(), func(b *taplinev1.Backlog) bool {
		w := of(b.GetWindow())
		if !w.Start.Before(p.oldest) {
			return false
		}
		cut := earlier(p.oldest, w.End)
		p.lose(window.New(w.Start, cut), b.GetFeeds(), tooOld+"; it waited to be read: "+b.GetReason())
		b.Window = window.New(cut, w.End).Proto()
		return !cut.Before(w.End)
	})
}

// clampJobs cuts off windows what is no longer served. A job that is outstanding may be in work, so
// it is left alone until no fetcher can have read it.
func (p *planner) clampJobs() {
	served := p.earliest.Add(-window.Lookback)
	var jobs []*taplinev1.Job
	for _, j := range p.s.GetOutstanding() {
		if !own(j).Start.Before(served.Add(-edge)) {
			jobs = append(jobs, j)
			continue
		}
		if rest := p.cutOff(j, "it was asked for since "+stamp(j.GetPlannedAt().AsTime())+" without an answer"); rest != nil {
			jobs = append(jobs, rest)
		}
	}
	var asides []*taplinev1.Aside
	for _, a := range p.s.GetAsides() {
		if !own(a.GetJob()).Start.Before(served) {
			asides = append(asides, a)
			continue
		}
		if rest := p.cutOff(a.GetJob(), fmt.Sprintf("it was asked for in vain since %s: %s", stamp(a.GetSince().AsTime()), a.GetReason())); rest != nil {
			asides = append(asides, p.likeAside(a, rest, a.GetRetryAt().AsTime()))
		}
	}
	p.s.Outstanding, p.s.Asides = jobs, asides
}

// cutOff gives up the part of a window that is no longer served, and makes a job of the remainder.
func (p *planner) cutOff(j *taplinev1.Job, why string) *taplinev1.Job {
	p.out.Done = append(p.out.Done, j)
	w := own(j)
	cut := later(w.Start, earlier(p.oldest, w.End))
	if w.End.Sub(cut) < window.MinSpan {
		cut = w.End
	}
	gone := window.New(w.Start, cut)
	switch {
	case firstReading(j):
		p.lose(gone, j.GetFeeds(), tooOld+"; "+why)
	case j.GetPass() >= p.final():
		p.unswept(gone, j.GetFeeds(), why)
	}
	if !cut.Before(w.End) {
		return nil
	}
	return p.anew(j, window.New(cut, w.End))
}

// lose gives up what was not read.
func (p *planner) lose(w window.Window, feeds []string, reason string) {
	if !w.Empty() && !p.drop(w) {
		p.out.Lost = append(p.out.Lost, Range{w, feeds, reason})
	}
}

// drop lets collection begin later, if the window is of the time before the first start and there
// was no time yet to read it: only what an earlier run owed can be lost.
func (p *planner) drop(w window.Window) bool {
	first := p.s.GetFirstRead()
	if w.End.After(p.s.GetBackfillEnd().AsTime()) || p.s.GetGeneration() > 0 || first != nil && p.in.Now.Sub(first.AsTime()) > firstDay {
		return false
	}
	if w.End.After(p.s.GetStart().AsTime()) {
		p.out.Dropped = &Range{window.New(p.s.GetStart().AsTime(), w.End), p.feeds(), "Proofpoint ceased to serve it before it could be read"}
		p.s.Start = timestamppb.New(w.End)
	}
	return true
}

func (p *planner) feeds() []string { return feed.Names(p.c.Set) }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Edge is how long it takes until something that has not been read can no longer be
// read, and where that begins. ok is false when everything up to the head is read.
func Edge(s *taplinev1.PlanState, now time.Time) (left time.Duration, oldest time.Time, ok bool) {
	for _, d := range Unread(s) {
		if !ok || d.Start.Before(oldest) {
			oldest, ok = d.Start, true
		}
	}
	return oldest.Add(window.Lookback).Sub(now), oldest, ok
}

// Debt is a span of time that is to be read.
type Debt struct {
	window.Window
	Feeds  []string
	Reason string
	Aside  *taplinev1.Aside // of what was asked for in vain
	Job    *taplinev1.Job   // nil for what is not planned yet
}

// Unread lists what of the time up to the live head is not known to be read, what was asked for in
// vain first. Sweeps are not in it: what they are about was read.
func Unread(s *taplinev1.PlanState) (debts []Debt) {
	for _, a := range s.GetAsides() {
		if j := a.GetJob(); firstReading(j) {
			debts = append(debts, Debt{own(j), j.GetFeeds(), a.GetReason(), a, j})
		}
	}
	for _, j := range s.GetOutstanding() {
		if firstReading(j) {
			debts = append(debts, Debt{own(j), j.GetFeeds(), "job " + j.GetId(), nil, j})
		}
	}
	for _, b := range s.GetBacklogs() {
		debts = append(debts, Debt{of(b.GetWindow()), b.GetFeeds(), b.GetReason(), nil, nil})
	}
	if rest := window.New(s.GetBackfillNext().AsTime(), s.GetBackfillEnd().AsTime()); !rest.Empty() {
		debts = append(debts, Debt{rest, feed.Names(feed.SIEM()), "for backfill", nil, nil})
	}
	return debts
}

// unreadOf is what [Unread] lists of one feed.
func unreadOf(s *taplinev1.PlanState, f string) (spans []window.Window) {
	for _, d := range Unread(s) {
		if slices.Contains(d.Feeds, f) {
			spans = append(spans, d.Window)
		}
	}
	return spans
}
