package fetcher

import (
	"context"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/clock"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// coarse is how long a window that has begun waits for its end as a whole.
const coarse = 5 * time.Minute

// local is what the local clock shows. Round(0) drops the monotonic reading: differences must show
// when the wall clock was set.
func (f *Fetcher) local() time.Time { return f.now().Round(0) }

// observe takes what an answer says about Proofpoint's clock. A skew that no good clocks have needs
// a person.
func (f *Fetcher) observe(ctx context.Context, local time.Time, skew time.Duration) {
	if !f.clock.Observe(local, skew) {
		return
	}
	f.metrics.skew.Set(skew.Seconds())
	if skew.Abs() > clock.Far {
		f.alarms.HoldCause(ctx, alarm.ClockSkew, "Proofpoint", fmt.Sprintf("the local clock is %s ahead of Proofpoint's: one of them is wrong", skew), skewHolds)
		return
	}
	f.alarms.ClearCause(ctx, alarm.ClockSkew, "Proofpoint")
}

// skewHolds is how long the alarm about a clock stays without another answer: the clock is measured
// every five minutes. A process that ends leaves it for so long.
const skewHolds = 6 * time.Minute

// lies reports whether a Date header is older than what the same answer served.
func lies(date time.Time, w window.Window) bool { return date.Before(w.End.Add(-clock.Near)) }

// readAt is when a call was made, by Proofpoint's clock. Of what is believed and what the answer
// says the earlier counts: a window that seems younger is only read once more. It is never after
// the local present.
func (f *Fetcher) readAt(asked time.Time, r proofpoint.Response, w window.Window) time.Time {
	at := f.clock.Earliest(asked)
	if !r.ServerTime.IsZero() && r.AskedAt.Before(at) && !lies(r.ServerTime, w) {
		return r.AskedAt
	}
	return at
}

// due is when a job may be done, by Proofpoint's clock. A scheduler whose clock is ahead plans it
// earlier.
func (w *work) due() time.Time { return w.window.End.Add(w.age()) }

// age is how old a window is when it is read: as its sweep says or, the first time, the head
// margin. A second of that is no clock's: a Date header has whole seconds. The bound is that of
// TAP_HEAD_MARGIN.
func (w *work) age() time.Duration {
	if w.isSweep() {
		return w.id.SweepAge()
	}
	return min(max(time.Duration(w.job.GetMarginMs())*time.Millisecond-time.Second, 0), time.Hour)
}

// isSweep reports whether the window was read before. Elsewhere a pass only distinguishes a job
// from an earlier one of the same window.
func (w *work) isSweep() bool { return w.id.Lane == taplinev1.Lane_LANE_SWEEP }

// deferEarly defers a job that is too early. A call would cost a unit and bring nothing, or would
// be taken for a sweep that found nothing late.
func (f *Fetcher) deferEarly(ctx context.Context, w *work) (held bool, err error) {
	now, known := f.clock.Theirs(f.local())
	if !known {
		return false, nil
	}
	return f.deferEarlyAt(ctx, w, now)
}

// deferEarlyAt defers a job that is too early by this clock. A window that has begun is cut rather
// than that its first half waits for the second.
func (f *Fetcher) deferEarlyAt(ctx context.Context, w *work, now time.Time) (held bool, err error) {
	wait := w.due().Sub(now)
	if wait <= 0 {
		return false, nil
	}
	if wait > clock.Near { // only a fetcher can tell: a scheduler knows no clock but its own and what fetchers measure of theirs
		f.alarms.HoldCause(ctx, alarm.ClockSkew, "scheduler", fmt.Sprintf("the clock of a scheduler is ahead: it planned %s %s before it is due", w.job.GetId(), wait.Round(time.Second)), longestWait+time.Minute)
	}
	if !w.isSweep() && wait > coarse && now.After(w.window.Start.Add(w.age())) && w.divisible() {
		return true, f.split(ctx, w, "it was planned before its end")
	}
	return true, bus.RetryAfter(fmt.Errorf("%w: it is by %s", errTooEarly, wait), f.scale(min(wait, longestWait)))
}

// behind defers a window that Proofpoint does not serve yet, as other windows have shown.
func (f *Fetcher) behind(w *work) error {
	local := f.local()
	lag := f.lag.Now(local)
	if wait := lag - f.clock.Earliest(local).Sub(w.window.End); lag > 0 && wait > 0 {
		return bus.RetryAfter(fmt.Errorf("%w: Proofpoint serves it in %s", errTooEarly, wait), f.scale(min(wait, longestWait)))
	}
	return nil
}

// young reports whether a window may be at the head of what is read. Only such a one can tell how
// far behind Proofpoint is.
func (w *work) young() bool { return !w.isSweep() && !w.job.GetAside() }

// lags reports whether Proofpoint is behind: an answer proves its window up to this instant only.
func (f *Fetcher) lags(w *work, c call, upTo time.Time) bool {
	now := f.local()
	theirs := f.clock.Earliest(now)
	if lag := theirs.Sub(upTo); lag > f.lag.Now(now) {
		return w.young() && f.lag.Told(now, theirs.Sub(c.window.End), lag)
	}
	return true
}

// unread is where what the job is about begins, after what was read before.
func (w *work) unread() time.Time {
	return w.window.Start.Add(time.Duration(w.job.GetOverlap()) * time.Second)
}

// tooEarly refuses the answer to a call that turned out to be too early, when the clock was not
// known before. Only Proofpoint's clock can tell: by the local one every answer might be early, and
// would be called for again without end. A Date that is older than what the answer proves is no
// clock, nor is one that proves nothing and is far from what is believed. One answer in a row is
// refused for a job: a second one that tells the same makes the clock known, or else it is a Date
// that lies.
func (f *Fetcher) tooEarly(w *work, r proofpoint.Response, proven bool) error {
	wait, local := w.due().Sub(r.ServerTime), f.local()
	skew := r.Skew.Truncate(time.Second)
	if !r.Served || r.ServerTime.IsZero() || wait <= clock.Near {
		return nil
	}
	if (proven && lies(r.ServerTime, w.window)) || (!proven && (skew-f.clock.Skew()).Abs() > clock.Far) {
		return nil
	}
	if known := f.clock.Observe(local, skew); !f.ladder.Early(w.job.GetId()) && !known {
		return nil
	}
	return bus.RetryAfter(fmt.Errorf("%w: it was called %s before", errTooEarly, wait), f.scale(min(wait, longestWait)))
}
