package fetcher

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

const (
	// clockHolds is how long a measured clock is relied on. Then a call is made that measures it again.
	clockHolds = 5 * time.Minute
	// inaccurate is how far the Date header may be off: it has whole seconds, and it is not known
	// when in the course of an answer a server takes it.
	inaccurate = time.Minute
	// coarse is how long a window that has begun waits for its end as a whole.
	coarse = 5 * time.Minute
)

// measured is how far the local clock was ahead of Proofpoint's, and when that was.
type measured struct {
	skew time.Duration
	at   time.Time
}

// note measures how far the local clock is from Proofpoint's. The Date header
// has a precision of a second.
func (f *Fetcher) note(r proofpoint.Response) {
	if r.ServerTime.IsZero() {
		return
	}
	skew := r.Skew.Truncate(time.Second)
	f.clock.Store(&measured{skew: skew, at: f.local()})
	f.metrics.skew.Set(skew.Seconds())
}

// local is what the local clock shows. With its monotonic reading, one that was set would look as if it had gone on.
func (f *Fetcher) local() time.Time { return f.now().Round(0) }

// skew is how far the local clock was ahead when that was measured last, 0 if it never was. No answer, and one without
// a Date header, tell nothing new: they are not the word that the clock is right.
func (f *Fetcher) skew() time.Duration {
	if clock := f.clock.Load(); clock != nil {
		return clock.skew
	}
	return 0
}

// theirs is the time by Proofpoint's clock. It is not known when none was measured lately, or the
// local one has jumped.
func (f *Fetcher) theirs() (now time.Time, known bool) {
	local, clock := f.local(), f.clock.Load()
	if clock == nil {
		return local, false
	}
	since := local.Sub(clock.at)
	return local.Add(-clock.skew), since >= 0 && since <= clockHolds
}

// readAt is when a call was made, by Proofpoint's clock; nil for a job of several calls.
func (f *Fetcher) readAt(r proofpoint.Response) *timestamppb.Timestamp {
	switch {
	case r.AskedAt.IsZero():
		return nil
	case r.ServerTime.IsZero():
		return timestamppb.New(r.AskedAt.Add(-f.skew()))
	}
	return timestamppb.New(r.AskedAt)
}

// due is when a job may be done, by Proofpoint's clock: its window has ended, and is as old as its
// sweep says. A scheduler whose clock is ahead plans it earlier.
func (w *work) due() time.Time {
	return w.window.End.Add(time.Duration(w.id.Pass) * time.Minute)
}

// hold puts off what is not due. A call would cost a unit and bring nothing, or would be taken for a sweep that found
// nothing late. A window that has begun is cut rather than that its first half waits for the second.
func (f *Fetcher) hold(ctx context.Context, w *work) (held bool, err error) {
	now, known := f.theirs()
	wait := w.due().Sub(now)
	if w.id.Call != feed.CallSIEM || !known || wait <= 0 {
		return false, nil
	}
	if wait > inaccurate { // nobody else can tell: a scheduler knows no clock but its own and what fetchers measure of theirs
		f.alarms.Hold(ctx, alarm.ClockSkew, fmt.Sprintf("the clock of a scheduler is ahead: it planned %s %s before it is due", w.job.GetId(), wait.Round(time.Second)), longestWait+time.Minute)
	}
	if w.id.Pass == 0 && wait > coarse && now.After(w.window.Start) && w.divisible() {
		return true, f.split(ctx, w, "it was planned before its end")
	}
	return true, bus.RetryAfter(fmt.Errorf("%w: it is by %s", errNotDue, wait), step.Wait(min(wait, longestWait)))
}

// premature refuses the answer to a call that turned out to be too early, when the clock was not known before. Only
// Proofpoint's clock can tell: by the local one every answer might be early, and would be called for again without end.
func premature(w *work, answered time.Time) error {
	wait := w.due().Sub(answered)
	if w.id.Call != feed.CallSIEM || answered.IsZero() || wait <= inaccurate {
		return nil
	}
	return bus.RetryAfter(fmt.Errorf("%w: it was called %s before", errNotDue, wait), step.Wait(min(wait, longestWait)))
}
