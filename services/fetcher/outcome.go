package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/ladder"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

const (
	// probeCredential is the time between calls with a credential that is refused, or may not read
	// something.
	probeCredential = 5 * time.Minute
	// untilPast is how long a window waits at least when its end is not yet in the server's past.
	untilPast = 10 * time.Second
	// stricter is by how much an API may be stricter about its seven days than documented.
	stricter = 15 * time.Minute
	// lostFor is how long the alarm about something lost stays.
	lostFor = 24 * time.Hour
	// ownFailures is what a window that is set aside has at least: see package ladder.
	ownFailures = 3
	// oddFor is how long the alarm about an answer that is odd although it brought something stays.
	oddFor = 3 * time.Minute
)

// classes says what a failed call for a window may be about. What is not listed says nothing about
// it, or has a case of its own in [Fetcher.failedWindow]. No answer ends a window: see package
// ladder.
var classes = map[proofpoint.Kind]ladder.Class{
	proofpoint.Network:     ladder.Size,
	proofpoint.ServerError: ladder.Size,
	proofpoint.Truncated:   ladder.Size,
	proofpoint.Malformed:   ladder.Size,
	proofpoint.Timeout:     ladder.Slow,
	proofpoint.TooLarge:    ladder.Huge,
	proofpoint.TooLong:     ladder.Long,
	proofpoint.TooShort:    ladder.Short,
	proofpoint.TooFarPast:  ladder.Odd, // of a window that is not: see tooOld
	proofpoint.BadRequest:  ladder.Odd,
	proofpoint.NotFound:    ladder.Odd,
	proofpoint.Unexpected:  ladder.Odd,
	proofpoint.Odd:         ladder.Odd,
}

// failedWindow decides what a failed call means for its window.
func (f *Fetcher) failedWindow(ctx context.Context, w *work, failure *failed) error {
	api, ok := errors.AsType[*proofpoint.APIError](failure.err)
	if !ok {
		f.metrics.calls.WithLabelValues(failure.endpoint.Path, "unproven").Inc()
		return f.climb(ctx, w, failure, ladder.Odd)
	}
	f.metrics.calls.WithLabelValues(failure.endpoint.Path, string(api.Kind)).Inc()
	switch api.Kind {
	case proofpoint.StillCurrent:
		if explained, err := f.current(ctx, w, failure); explained {
			return err
		}
		return f.climb(ctx, w, failure, ladder.Odd)
	case proofpoint.TooFarPast:
		if start, now := w.window.Start, f.clock.Earliest(f.local()); start.Before(now.Add(stricter - window.Lookback)) {
			return f.tooOld(ctx, w, failure, start.Before(now.Add(-window.Lookback)))
		}
	}
	if err, general := f.general(ctx, w, failure.endpoint, api); general {
		if limited := api.Kind == proofpoint.Forbidden || api.Kind == proofpoint.TooManyRequests; limited && failure.endpoint.Path != w.endpoint.Path {
			return bus.RetryAfter(err, f.scale(firstOther)) // the usual way is left
		}
		return err
	}
	return f.climb(ctx, w, failure, classes[api.Kind])
}

// general handles what is about no single job: credentials, limits, and the end of this process.
func (f *Fetcher) general(ctx context.Context, w *work, e feed.Endpoint, api *proofpoint.APIError) (err error, handled bool) {
	key := w.key(e.Path)
	switch api.Kind {
	case proofpoint.Canceled:
		f.breakers.Leave(key)
		return api, true
	case proofpoint.BadCredentials:
		f.refusedCredential(ctx, e.Path, api)
		return f.coolDown(w, e, api, probeCredential), true
	case proofpoint.Forbidden:
		f.accepted() // who may not read this is known
		err := f.coolDown(w, e, api, probeCredential)
		f.alarms.HoldCause(ctx, alarm.Forbidden, e.Path, api.Error(), f.breakers.Wait(key)+2*time.Minute)
		return err, true
	case proofpoint.TooManyRequests:
		f.breakers.Leave(key)
		return f.limited(ctx, e.Pool, api), true
	}
	return nil, false
}

// coolDown opens the breaker of an endpoint, and has the job wait for it.
func (f *Fetcher) coolDown(w *work, e feed.Endpoint, cause error, least time.Duration) error {
	return bus.RetryAfter(cause, min(f.tripLane(w, e, cause, least), longestWait))
}

// climb has the ladder decide about a window that failed. For one that is set aside, the scheduler
// raises the alarm: it knows of it until it is read, whichever fetcher reads it, and in whatever
// parts.
func (f *Fetcher) climb(ctx context.Context, w *work, failure *failed, class ladder.Class) error {
	divisible := w.divisible()
	if class == ladder.Long { // single feeds are as long
		divisible = w.shortens()
	}
	d := f.ladder.Failed(ladder.Failure{
		ID: w.job.GetId(), Path: failure.endpoint.Path, Window: w.window, Asked: failure.window.Span(), Class: class, Divisible: divisible,
		Carried: int(w.job.GetFailures()), Aside: w.job.GetAside(), ByOthers: failure.endpoint.Path != w.endpoint.Path, Spent: f.scant(failure.endpoint.Pool),
	})
	wait := f.coolFor(w, failure, d.Serving)
	switch d.Step {
	case ladder.Split:
		return f.split(ctx, w, failure.Error())
	case ladder.Aside:
		f.log.Error("a window was asked for in vain and is set aside", slog.String("job", w.job.GetId()), slog.Int("failures", d.Failures), slog.Any("error", failure.err))
		return f.setAside(ctx, w, d.Failures, failure.Error())
	}
	if f.ladder.ByOthers(w.job.GetId(), int(w.job.GetFailures())) {
		_, next := f.way(ctx, w)
		wait = max(next, f.scale(firstOther))
	}
	return bus.RetryAfter(failure.err, min(wait, longestWait))
}

// coolFor opens the breaker of an endpoint that failed for a window, and reports how long the
// window waits. While the endpoint serves others, the window waits for the share of those that
// fail, and its lane hardly does: the next one may be a good one.
func (f *Fetcher) coolFor(w *work, failure *failed, serving bool) time.Duration {
	if !serving {
		return f.tripLane(w, failure.endpoint, failure.err, 0)
	}
	pool := failure.endpoint.Pool
	share := f.shared(pool)
	spent := share.Wait(f.quota.Debt(pool, share))
	usual := pace.CurveOf(w.key(failure.endpoint.Path).Lane, f.cfg.Quota.Limits()[pool])
	return max(f.trip(w, failure.endpoint, failure.err, usual.Brief(spent)), spent)
}

// firstOther is how long a window waits before it is asked for another way.
const firstOther = 2 * time.Second

// current has a window wait that is still current: it is planned early, or Proofpoint is behind. It
// reports false when neither explains the answer. Such an answer is about the clock, so its Date
// tells the time as that of a served one.
func (f *Fetcher) current(ctx context.Context, w *work, failure *failed) (explained bool, err error) {
	local, date := f.local(), failure.answer.ServerTime
	now := f.clock.Earliest(local)
	if !date.IsZero() && date.Before(failure.window.End) {
		f.observe(ctx, local, failure.answer.Skew.Truncate(time.Second))
		now = date
	}
	age := now.Sub(failure.window.End)
	known := age < f.lag.Now(local) || age < 0
	if explained := known || w.young() && f.lag.Refused(local, age); !explained {
		return false, nil
	}
	f.breakers.Leave(w.key(failure.endpoint.Path))
	if held, err := f.deferEarlyAt(ctx, w, now); held {
		return true, err
	}
	lag := f.lag.Now(local)
	f.log.Info("Proofpoint does not serve yet what has ended", slog.Any("error", failure.err), slog.Duration("lag", lag))
	return true, bus.RetryAfter(failure.err, f.scale(max(lag-age, untilPast)))
}

// limited records that another client uses the credential.
func (f *Fetcher) limited(ctx context.Context, pool feed.Pool, api *proofpoint.APIError) error {
	external, err := f.quota.Refused(ctx, pool, api.RetryAfter)
	if err != nil {
		return err
	}
	f.log.Error("Proofpoint answered 429 although calls should be left: another client uses this credential",
		slog.String("pool", string(pool)), slog.Int("calls_of_others", external), slog.Any("error", api))
	f.health.Degraded("quota "+string(pool), api.Error())
	return bus.RetryAfter(api, longestWait)
}

// tooOld handles what Proofpoint no longer serves. The second half of a window may still be served,
// so the window is cut first. What is too old by our clock as well is set aside at once: whether
// that is a loss the scheduler says, who knows what was owed.
func (f *Fetcher) tooOld(ctx context.Context, w *work, failure *failed, ours bool) error {
	f.breakers.Leave(w.key(failure.endpoint.Path))
	if _, _, ok := w.window.Halves(); ok || w.job.GetOverlap() > 0 {
		return f.split(ctx, w, failure.Error())
	}
	if !ours {
		return f.climb(ctx, w, failure, ladder.Odd)
	}
	f.log.Error("a window is too old", slog.String("window", w.window.String()), slog.Any("error", failure.err))
	return f.setAside(ctx, w, max(int(w.job.GetFailures())+1, ownFailures), failure.Error())
}

// lose gives up a list that is too old.
func (f *Fetcher) lose(ctx context.Context, w *work, cause error) error {
	f.log.Error("a list is lost", slog.String("job", w.job.GetId()), slog.Any("error", cause))
	if err := f.conclude(ctx, w, &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_LOST, Reason: cause.Error()}); err != nil {
		return err
	}
	f.alarms.HoldCause(ctx, alarm.Lost, w.window.String(), fmt.Sprintf("%s of %s cannot be read any more: %s", w.window, w.id.What(), cause), lostFor)
	return nil
}

// split has the scheduler plan the halves.
func (f *Fetcher) split(ctx context.Context, w *work, reason string) error {
	if !w.divisible() {
		return f.setAside(ctx, w, int(w.job.GetFailures())+1, reason+" (it cannot be cut)")
	}
	f.log.Info("a window is cut", slog.String("window", w.window.String()), slog.String("reason", reason))
	return f.conclude(ctx, w, &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_SPLIT, Reason: reason})
}

// setAside has the scheduler offer the window again later.
func (f *Fetcher) setAside(ctx context.Context, w *work, failures int, reason string) error {
	return f.conclude(ctx, w, &taplinev1.JobRecord{
		State: taplinev1.WindowState_WINDOW_STATE_UNPROVEN, Reason: reason, Failures: uint32(failures), LagMs: f.lag.Now(f.local()).Milliseconds(),
	})
}

// conclude writes a state other than fetched into the ledger.
func (f *Fetcher) conclude(ctx context.Context, w *work, r *taplinev1.JobRecord) error {
	r.JobId, r.Attempts, r.SkewMs = w.job.GetId(), uint32(w.attempts), f.clock.Skew().Milliseconds()
	r.Calls, r.NotedAt = uint32(f.ladder.Calls(w.job.GetId())), timestamppb.New(f.now())
	if err := f.ledger.RecordJob(ctx, r); err != nil {
		return err
	}
	f.ladder.Done(w.job.GetId())
	step.At("fetcher.concluded")
	return nil
}
