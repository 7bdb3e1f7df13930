package plan

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	// offKept is how long a span that was not collected is listed: as long as the ledger keeps
	// pages.
	offKept = 90 * 24 * time.Hour
	// joinAfter is how far inside what is served the history of a feed begins that was never
	// collected before.
	joinAfter = time.Hour
	// beganLater is why a feed has nothing of a span that no plan ever owed.
	beganLater = "collection of the feed began later"
)

// Old is a plan of a tenant and the feeds that it reads.
type Old struct {
	Set   feed.Set
	State *taplinev1.PlanState
}

// InForce selects the plans that are in force: those after the most changes. There is one, but for
// what versions before 2 left behind.
func InForce(plans []Old) (current []Old) {
	for _, o := range plans {
		switch {
		case len(current) == 0 || o.State.GetGeneration() > current[0].State.GetGeneration():
			current = []Old{o}
		case o.State.GetGeneration() == current[0].State.GetGeneration():
			current = append(current, o)
		}
	}
	return current
}

// Change makes the plan for a changed set of feeds, from those in force. No instant that was owed
// is forgotten: what the feeds of the new plan had not read becomes a backlog; what the others had
// not read, and what comes after it, is listed as not collected until they are switched on again.
// The set may be empty.
func Change(c Config, old []Old, now time.Time) *taplinev1.PlanState {
	ch := &change{c: c, old: old, now: now, base: old[0]}
	for _, o := range old {
		if o.State.GetLiveHead().AsTime().After(ch.base.State.GetLiveHead().AsTime()) {
			ch.base = o
		}
	}
	was := ch.base.State
	start, head := was.GetStart().AsTime(), time.Time{}
	for _, o := range old {
		start = earlier(start, o.State.GetStart().AsTime())
		if slices.ContainsFunc(o.Set, func(f feed.Feed) bool { return slices.Contains(c.Set, f) }) {
			head = later(head, o.State.GetLiveHead().AsTime())
		}
	}
	if head.IsZero() { // all feeds are new, or none is left
		head = later(was.GetLiveHead().AsTime(), now.Add(-c.Margin).Truncate(time.Minute))
	}
	at := timestamppb.New(head)
	ch.s = &taplinev1.PlanState{
		LiveHead: at, BackfillNext: at, BackfillEnd: at, Start: timestamppb.New(start),
		SkewMs: was.GetSkewMs(), LagMs: was.GetLagMs(), LagAt: was.GetLagAt(), FirstRead: was.GetFirstRead(),
		Generation: was.GetGeneration() + 1, StartTime: was.GetStartTime(),
	}
	ch.carry()
	for _, o := range old {
		for _, off := range o.State.GetOffs() {
			if off.GetReason() == beganLater {
				ch.off(feed.Feed(off.GetFeed()), window.New(off.GetStart().AsTime(), off.GetEnd().AsTime()), beganLater)
			}
		}
	}
	for _, f := range feed.SIEM() {
		switch collected, wanted := ch.recorded(f), slices.Contains(c.Set, f); {
		case wanted && collected:
			ch.goOn(f)
		case wanted:
			ch.join(f)
		case collected:
			ch.leave(f)
		}
	}
	return ch.s
}

// Changed reports whether a plan is not about the feeds of a configuration.
func Changed(o Old, set feed.Set) bool {
	return slices.ContainsFunc(feed.SIEM(), func(f feed.Feed) bool {
		_, open := offsOf(o.State, f)
		return slices.Contains(set, f) != (slices.Contains(o.Set, f) && open.IsZero())
	})
}

type change struct {
	c    Config
	old  []Old
	base Old // the plan that has come furthest
	now  time.Time
	s    *taplinev1.PlanState
}

// recorded reports whether a plan knows the feed.
func (ch *change) recorded(f feed.Feed) bool {
	return slices.ContainsFunc(ch.old, func(o Old) bool {
		return slices.Contains(o.Set, f) || slices.ContainsFunc(o.State.GetOffs(), func(off *taplinev1.Off) bool { return off.GetFeed() == string(f) })
	})
}

// carry takes over sweeps, and what was asked for in vain.
func (ch *change) carry() {
	p := &planner{c: ch.c, s: ch.s, in: Input{Now: ch.now}}
	was := ch.base.State
	for _, s := range was.GetSweeps() {
		ch.s.Sweeps = append(ch.s.Sweeps, proto.CloneOf(s))
	}
	extra := func(w *taplinev1.Window, pass uint32, feeds []string) {
		if feeds = ch.kept(feeds); len(feeds) > 0 {
			ch.s.Extras = append(ch.s.Extras, &taplinev1.Extra{Window: w, Pass: pass, Feeds: feeds})
		}
	}
	for _, x := range was.GetExtras() {
		extra(x.GetWindow(), x.GetPass(), x.GetFeeds())
	}
	for _, j := range was.GetOutstanding() {
		if !firstReading(j) {
			extra(j.GetWindow(), j.GetPass(), j.GetFeeds())
		}
	}
	for _, a := range was.GetAsides() {
		j := a.GetJob()
		feeds := ch.kept(j.GetFeeds())
		switch {
		case len(feeds) == 0:
		case !firstReading(j):
			extra(j.GetWindow(), j.GetPass(), feeds)
		default:
			next := p.like(&taplinev1.Job{Lane: taplinev1.Lane_LANE_BACKFILL, Pass: p.age(own(j))}, span(j), feeds)
			next.Overlap = j.GetOverlap()
			ch.s.Asides = append(ch.s.Asides, p.likeAside(a, next, a.GetRetryAt().AsTime()))
		}
	}
}

// kept are those of the feeds that the new plan reads.
func (ch *change) kept(feeds []string) []string {
	return slices.DeleteFunc(slices.Clone(feeds), func(f string) bool { return !slices.Contains(ch.c.Set, feed.Feed(f)) })
}

// known is what of a feed was read or given up, by any plan.
func (ch *change) known(f feed.Feed) (spans []window.Window) {
	for _, o := range ch.old {
		_, open := offsOf(o.State, f)
		if !slices.Contains(o.Set, f) && open.IsZero() {
			continue
		}
		end := o.State.GetLiveHead().AsTime()
		if !open.IsZero() {
			end = open
		}
		whole := window.New(o.State.GetStart().AsTime(), end)
		spans = append(spans, whole.Missing(owed(o.State, f))...)
	}
	return spans
}

// owed is what of a feed a plan has not read, or left out.
func owed(s *taplinev1.PlanState, f feed.Feed) []window.Window {
	spans, _ := offsOf(s, f)
	return append(spans, unreadOf(s, string(f))...)
}

// offsOf is where a feed was not collected that had been before, and since when it is not; zero if
// it is.
func offsOf(s *taplinev1.PlanState, f feed.Feed) (closed []window.Window, open time.Time) {
	for _, o := range s.GetOffs() {
		switch {
		case o.GetFeed() != string(f), o.GetReason() == beganLater:
		case o.GetEnd() == nil:
			open = o.GetStart().AsTime()
		default:
			closed = append(closed, window.New(o.GetStart().AsTime(), o.GetEnd().AsTime()))
		}
	}
	return closed, open
}

// goOn makes a backlog of what a feed has not read. What was not collected and is no longer served
// stays listed.
func (ch *change) goOn(f feed.Feed) {
	whole := window.New(ch.s.GetStart().AsTime(), ch.s.GetLiveHead().AsTime())
	var off []window.Window
	for _, o := range ch.old {
		closed, open := offsOf(o.State, f)
		off = append(off, closed...)
		if !open.IsZero() {
			off = append(off, window.New(open, later(whole.End, open)))
		}
	}
	oldest := Oldest(ch.now)
	for _, w := range whole.Missing(ch.known(f)) {
		for _, part := range w.Missing(off) {
			owe(ch.s, &taplinev1.Backlog{Window: part.Proto(), Feeds: []string{string(f)}, Reason: "it was unread when TAP_FEEDS changed"})
		}
		for _, o := range off {
			part := w.Within(o)
			ch.off(f, part.Within(window.New(whole.Start, oldest)), "the feed was switched off")
			if part = part.Within(window.New(oldest, whole.End)); !part.Empty() {
				owe(ch.s, &taplinev1.Backlog{Window: part.Proto(), Feeds: []string{string(f)}, Reason: "the feed was switched off"})
			}
		}
	}
}

// join begins with a feed that was never collected.
func (ch *change) join(f feed.Feed) {
	whole := window.New(ch.s.GetStart().AsTime(), ch.s.GetLiveHead().AsTime())
	begin := later(ch.c.Start.UTC().Truncate(time.Minute), Oldest(ch.now).Add(joinAfter))
	begin = earlier(later(begin, whole.Start), whole.End)
	ch.off(f, window.New(whole.Start, begin), beganLater)
	if begin.Before(whole.End) {
		owe(ch.s, &taplinev1.Backlog{Window: window.New(begin, whole.End).Proto(), Feeds: []string{string(f)}, Reason: "the feed was switched on"})
	}
}

// leave lists what a feed has not read, and that nothing follows. When it is switched on again,
// what still waited for a sweep is read once more, too.
func (ch *change) leave(f feed.Feed) {
	reason := fmt.Sprintf("the feed is switched off since %s", stamp(ch.now))
	var open time.Time
	for _, o := range ch.old {
		_, since := offsOf(o.State, f)
		if slices.Contains(o.Set, f) && since.IsZero() {
			since = unsealed(o.State)
		}
		open = later(open, since)
	}
	whole := window.New(ch.s.GetStart().AsTime(), open)
	for _, w := range whole.Missing(ch.known(f)) {
		ch.off(f, w, reason)
	}
	ch.s.Offs = append(ch.s.Offs, &taplinev1.Off{Feed: string(f), Start: timestamppb.New(open), Reason: reason})
}

// unsealed is from where on a plan has sweeps to do.
func unsealed(s *taplinev1.PlanState) time.Time {
	at := s.GetLiveHead().AsTime()
	for _, pass := range s.GetSweeps() {
		at = earlier(at, pass.GetNext().AsTime())
	}
	for _, x := range s.GetExtras() {
		at = earlier(at, of(x.GetWindow()).Start)
	}
	sweeps := slices.Clone(s.GetOutstanding())
	for _, a := range s.GetAsides() {
		sweeps = append(sweeps, a.GetJob())
	}
	for _, j := range sweeps {
		if !firstReading(j) {
			at = earlier(at, span(j).Start)
		}
	}
	return later(at, s.GetStart().AsTime())
}

// off lists a span of a feed as not collected.
func (ch *change) off(f feed.Feed, w window.Window, reason string) {
	if w.Empty() || ch.now.Sub(w.End) > offKept {
		return
	}
	for _, o := range ch.s.GetOffs() {
		if o.GetFeed() == string(f) && o.GetEnd() != nil && o.GetEnd().AsTime().Equal(w.Start) && o.GetReason() == reason {
			o.End = timestamppb.New(w.End)
			return
		}
	}
	ch.s.Offs = append(ch.s.Offs, &taplinev1.Off{Feed: string(f), Start: timestamppb.New(w.Start), End: timestamppb.New(w.End), Reason: reason})
}

// Begin takes in that the configured start time is another than before. An earlier one makes a
// backlog of what Proofpoint still serves; a later one changes nothing, since no instant is dropped
// that was owed. The text is for an operator.
func Begin(c Config, s *taplinev1.PlanState, configured string, now time.Time) (note string) {
	before := s.GetStartTime()
	s.StartTime = configured
	if before == "" && s.GetFirstRead() == nil { // of a version before 2, which owed its history from the start
		s.FirstRead = s.GetBackfillEnd()
	}
	if before == "" || before == configured {
		return ""
	}
	start := s.GetStart().AsTime()
	begin := later(c.Start.UTC().Truncate(time.Minute), Oldest(now))
	if !begin.Before(start) {
		return fmt.Sprintf("TAP_START_TIME was %s and is %s: collection began at %s already and continues from there", before, configured, stamp(start))
	}
	s.Start = timestamppb.New(begin)
	more := window.New(begin, start)
	owe(s, &taplinev1.Backlog{Window: more.Proto(), Feeds: feed.Names(c.Set), Reason: "TAP_START_TIME is earlier now"})
	ch := &change{s: s, now: now}
	for _, f := range feed.SIEM() {
		if _, open := offsOf(s, f); !open.IsZero() {
			ch.off(f, more, beganLater)
		}
	}
	return fmt.Sprintf("TAP_START_TIME was %s and is %s: what is before %s is read, too", before, configured, stamp(start))
}
