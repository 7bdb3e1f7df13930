package fetcher

import (
	"context"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

const (
	// clockHolds is how long a measured clock is relied on. Then a call is made that measures it again.
	clockHolds = 5 * time.Minute
	// inaccurate is how far the times of a call may be off: the Date header has whole
	// seconds, and it is not known when in the course of an answer a server takes it.
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
func (f *Fetcher) note(r proofpoint.Response) (skew time.Duration) {
	if r.ServerTime.IsZero() {
		return 0
	}
	skew = r.Skew.Truncate(time.Second)
	f.clock.Store(&measured{skew: skew, at: f.now()})
	f.metrics.skew.Set(skew.Seconds())
	return skew
}

// theirs is the time by Proofpoint's clock. It is not known when none was measured lately, or the
// local one has jumped.
func (f *Fetcher) theirs() (now time.Time, known bool) {
	local, clock := f.now(), f.clock.Load()
	if clock == nil {
		return local, false
	}
	since := local.Sub(clock.at)
	return local.Add(-clock.skew), since >= 0 && since <= clockHolds
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
	if w.id.Pass == 0 && wait > coarse && now.After(w.window.Start) && w.divisible() {
		return true, f.split(ctx, w, "it was planned before its end", f.clock.Load().skew)
	}
	return true, bus.RetryAfter(fmt.Errorf("%w: it is by %s", errNotDue, wait), step.Wait(min(wait, longestWait)))
}

// premature refuses the answer to a call that turned out to be too early, when the clock was not known before.
func premature(w *work, asked time.Time) error {
	wait := w.due().Sub(asked)
	if w.id.Call != feed.CallSIEM || wait <= inaccurate {
		return nil
	}
	return bus.RetryAfter(fmt.Errorf("%w: it was called %s before", errNotDue, wait), step.Wait(min(wait, longestWait)))
}
