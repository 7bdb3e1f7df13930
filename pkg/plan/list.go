package plan

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	// listSpan is the longest interval of a list of campaigns that Proofpoint serves.
	listSpan = 24 * time.Hour
	// listOverlap is read again when a list of campaigns catches up.
	listOverlap = time.Hour
	// behind the present by so much, a list of campaigns is read on at once.
	behind = 3 * time.Hour
	// listShare of a pool's limit, in percent, is what readings may take.
	listShare = 80
	// maxPages ends a reading of a list that has no end.
	maxPages = 500
	// listRetry is how long a reading that a fetcher gave up waits, so that a pool of 50 calls a
	// day is not spent on it.
	listRetry = 6 * time.Hour
	// stale is how old a page of people has to be to be left to a reading of the next snapshot.
	stale = 2 * time.Hour
)

// ListConfig says how one list is read: the campaigns, or one list of people.
type ListConfig struct {
	Tenant   string
	Call     feed.Call
	Days     string        // that a list of people covers
	Interval time.Duration // between two readings
	Snapshot time.Duration // of people: unchanged ones are not sent twice within it
	Spread   time.Duration // keeps the readings of several lists apart
	Start    time.Time     // of campaigns: where collection begins
	Text     string        // of the configured start time
	Margin   time.Duration // how far behind Proofpoint's clock a window ends
	Limit    int           // of the pool, shared by Lists lists
	Lists    int
}

// Name is the list's, such as campaign-ids or vap-14.
func (c ListConfig) Name() string {
	if c.Days == "" {
		return string(c.Call)
	}
	return string(c.Call) + "-" + c.Days
}

// ListOutput is what a step decided besides the state.
type ListOutput struct {
	New     *taplinev1.Job
	Lost    *Range
	Note    string // what an operator should know
	Earlier string // that the start time is earlier than before
}

// StepList advances the state of one list, in place. One page is read at a time: outcome
// is that of the outstanding page, nil while it is not known.
func StepList(c ListConfig, s *taplinev1.ListState, now time.Time, outcome *taplinev1.JobRecord) ListOutput {
	out := ListOutput{Earlier: c.begin(s, now)}
	if j := s.GetOutstanding(); j != nil {
		switch state := outcome.GetState(); {
		case state == taplinev1.WindowState_WINDOW_STATE_FETCHED:
			s.Failures = 0
			c.read(s, j, now, outcome, &out)
		case state == taplinev1.WindowState_WINDOW_STATE_LOST && !c.Call.IsPeople() && span(j).End.Before(now.Add(-window.Lookback)):
			out.Lost = &Range{span(j), feed.Names(feed.Set{c.Call.Feed()}), outcome.GetReason()}
			c.done(s, j, now)
		case state == taplinev1.WindowState_WINDOW_STATE_LOST, state == taplinev1.WindowState_WINDOW_STATE_UNPROVEN: // no answer ends a list
			s.Outstanding, s.Due = nil, timestamppb.New(now.Add(listRetry))
			s.Failures++
		case c.outdated(j, now):
			s.Outstanding = nil
			out.Note = fmt.Sprintf("page %d of the list %s was asked for in vain since %s; the list is restarted", j.GetPass(), c.Name(), stamp(j.GetPlannedAt().AsTime()))
		default:
			return out
		}
	}
	if s.GetOutstanding() == nil && !s.GetDue().AsTime().After(now) {
		if w := c.next(s, now); w.Span() >= window.MinSpan {
			s.Read = 0
			out.New = c.page(w, 1, now)
			s.Outstanding = out.New
		}
	}
	return out
}

// begin takes in the configured start time. An earlier one than before has the list read from there
// once more, as far as Proofpoint serves it; a later one changes nothing, as for windows. What was
// outstanding lies behind the new beginning.
func (c ListConfig) begin(s *taplinev1.ListState, now time.Time) (note string) {
	if s.GetStart() == nil {
		s.Start = timestamppb.New(c.Start)
		if s.GetHead() != nil {
			s.Start = timestamppb.New(earlier(c.Start, s.GetHead().AsTime()))
		}
	}
	before := s.GetStartTime()
	if c.Call.IsPeople() || before == c.Text {
		return ""
	}
	start, begin := s.GetStart().AsTime(), later(c.Start, Oldest(now))
	switch {
	case before == "": // the first start, or a version that did not note it
		s.StartTime = c.Text
	case begin.Before(start):
		s.StartTime, s.Start = c.Text, timestamppb.New(begin)
		s.Head, s.Outstanding, s.Due = nil, nil, nil
		return fmt.Sprintf("TAP_START_TIME was %s and is %s: the list %s is read from %s, which was read from %s", before, c.Text, c.Name(), stamp(begin), stamp(start))
	}
	return ""
}

// outdated reports whether a page of people is still not read although the snapshot that it belongs
// to is over.
func (c ListConfig) outdated(j *taplinev1.Job, now time.Time) bool {
	return c.Call.IsPeople() && span(j).Start.Before(now.Truncate(c.Snapshot)) && now.Sub(j.GetPlannedAt().AsTime()) > stale
}

// read continues behind a page that was read.
func (c ListConfig) read(s *taplinev1.ListState, j *taplinev1.Job, now time.Time, outcome *taplinev1.JobRecord, out *ListOutput) {
	received := int64(0)
	for _, f := range outcome.GetFeeds() {
		received += f.GetReceived()
	}
	s.Read += received
	more := received > 0
	switch {
	case c.Call == feed.CallCampaignIDs: // no total, and a page that is not full is the last
		more = received >= int64(c.Call.PageSize())
	case outcome.GetTotal() > 0:
		more = more && s.GetRead() < outcome.GetTotal()
	}
	if more && j.GetPass() >= maxPages {
		more, out.Note = false, fmt.Sprintf("the list %s has no end: %d pages were read", c.Name(), j.GetPass())
	}
	if more {
		out.New = c.page(span(j), j.GetPass()+1, now)
		s.Outstanding = out.New
		return
	}
	c.done(s, j, now)
}

// done ends a reading and decides when the next is due.
func (c ListConfig) done(s *taplinev1.ListState, j *taplinev1.Job, now time.Time) {
	w := span(j)
	s.Outstanding, s.Head, s.Pages = nil, timestamppb.New(w.End), j.GetPass()
	s.Due = timestamppb.New(c.due(s, now))
}

func (c ListConfig) due(s *taplinev1.ListState, now time.Time) time.Time {
	if c.Call == feed.CallCampaignIDs && now.Sub(s.GetHead().AsTime()) > min(c.Interval, behind)+c.Margin {
		return now // there is more to catch up with
	}
	interval := c.Interval
	if budget := c.Limit * listShare / 100 / max(c.Lists, 1); budget > 0 { // pages are calls
		interval = max(interval, 24*time.Hour*time.Duration(s.GetPages())/time.Duration(budget))
	}
	due := now.Add(-c.Spread).Truncate(interval).Add(interval + c.Spread)
	if c.Call.IsPeople() && due.Sub(now) < interval/2 { // a first reading comes at any time
		due = due.Add(interval)
	}
	return due
}

// next is the window of the next reading.
func (c ListConfig) next(s *taplinev1.ListState, now time.Time) window.Window {
	end := now.Add(-c.Margin).Truncate(time.Second)
	if c.Call.IsPeople() { // the snapshot so far
		return window.New(now.Truncate(c.Snapshot), end)
	}
	start, first := s.GetStart().AsTime(), s.GetStart().AsTime()
	if head := s.GetHead(); head != nil {
		start = later(start, head.AsTime().Add(-listOverlap))
	}
	// A window that was given up is asked for in another length, since its outcome stays what it
	// is.
	whole := max(listSpan-time.Duration(s.GetFailures())*time.Minute, 2*listOverlap)
	start, first = start.UTC().Truncate(time.Second), first.UTC().Truncate(time.Second)
	if end.Sub(start) > whole {
		return window.New(start, start.Add(whole))
	}
	return window.New(later(end.Add(-whole), first), end)
}

func (c ListConfig) page(w window.Window, page uint32, now time.Time) *taplinev1.Job {
	j := &taplinev1.Job{
		Tenant: c.Tenant, Call: string(c.Call), Feeds: []string{string(c.Call.Feed())}, Window: w.Proto(),
		Lane: taplinev1.Lane_LANE_LIST, Pass: page, PlannedAt: timestamppb.New(now),
	}
	if c.Days != "" {
		j.Targets = []*taplinev1.Target{{Id: c.Days}}
	}
	if id, err := job.Of(j); err == nil { // the windows made here are well formed
		j.Id = id.String()
	}
	return j
}
