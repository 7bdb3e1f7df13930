package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/step"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

const (
	probeCredential = 5 * time.Minute  // between calls with a refused credential
	probeOddAnswer  = 15 * time.Minute // between calls that get an answer nobody expects
	untilPast       = 10 * time.Second // for a window whose end is not yet in the server's past
	// splitAfter is how many attempts a window that fails on its own gets before it is
	// cut; splitAnyway is how many when everything else fails, too, which looks
	// like an outage and not like a window that is too large.
	splitAfter  = 3
	splitAnyway = 6
)

// fate says what a failed call means for its job.
func (f *Fetcher) fate(ctx context.Context, w *work, err error) error {
	var api *proofpoint.APIError
	if !errors.As(err, &api) { // SEEN, the spool: nothing is wrong with the call
		f.metrics.calls.WithLabelValues(w.endpoint.Path, "not-stored").Inc()
		return err
	}
	f.metrics.calls.WithLabelValues(w.endpoint.Path, string(api.Kind)).Inc()
	return f.judge(ctx, w, api)
}

// judge is fate for a call that is counted.
func (f *Fetcher) judge(ctx context.Context, w *work, api *proofpoint.APIError) error {
	switch api.Kind {
	case proofpoint.Canceled:
		return api
	case proofpoint.BadCredentials:
		f.alarms.Hold(ctx, alarm.Refused, api.Error(), probeCredential+time.Minute)
		return f.pause(w, api, probeCredential)
	case proofpoint.Forbidden:
		f.alarms.Hold(ctx, alarm.Forbidden, api.Error(), probeCredential+time.Minute)
		return f.pause(w, api, probeCredential)
	case proofpoint.TooManyRequests:
		return f.refused(ctx, w, api)
	case proofpoint.StillCurrent:
		return bus.RetryAfter(api, untilPast)
	case proofpoint.TooFarPast:
		return f.tooOld(ctx, w, api)
	case proofpoint.TooShort, proofpoint.TooLong:
		return f.giveUp(ctx, w, api) // the job itself is wrong, and will be tomorrow
	case proofpoint.Timeout:
		f.rest(w, api, 0)
		return f.halve(ctx, w, api, 1)
	case proofpoint.ServerError, proofpoint.Truncated, proofpoint.Malformed:
		f.rest(w, api, 0)
		return f.halve(ctx, w, api, splitAfter)
	case proofpoint.Network:
		return f.pause(w, api, 0)
	default:
		f.log.Error("Proofpoint answers in a way nobody expects; the window waits", slog.Any("error", api))
		return bus.RetryAfter(api, step.Wait(probeOddAnswer))
	}
}

// rest keeps this process from calling for a while, and tells of it once.
func (f *Fetcher) rest(w *work, api *proofpoint.APIError, least time.Duration) {
	if f.gateOf(w).failure(least) {
		f.log.Warn("a call to Proofpoint failed", slog.Any("error", api))
	}
	f.health.Degraded("proofpoint", api.Error())
}

// pause is rest for failures that say nothing about the window.
func (f *Fetcher) pause(w *work, api *proofpoint.APIError, least time.Duration) error {
	if f.gateOf(w).failure(least) {
		f.log.Error("Proofpoint cannot be used; trying on now and then", slog.Int("error_id", api.Kind.DevoID()), slog.Any("error", api))
	}
	f.health.Degraded("proofpoint", api.Error())
	return bus.RetryAfter(api, f.gateOf(w).rest())
}

// refused notes that somebody else uses the credential.
func (f *Fetcher) refused(ctx context.Context, w *work, api *proofpoint.APIError) error {
	external, err := f.quota.Refused(ctx, w.endpoint.Pool, api.RetryAfter)
	if err != nil {
		return err
	}
	f.log.Error("Proofpoint answered 429 although calls should be left: somebody else uses this credential",
		slog.String("pool", string(w.endpoint.Pool)), slog.Int("calls_of_others", external), slog.Any("error", api))
	f.health.Degraded("quota "+string(w.endpoint.Pool), api.Error())
	return bus.RetryAfter(api, longestWait)
}

// tooOld gives up what Proofpoint no longer serves. The second half of a window
// may still be served, so the window is cut first.
func (f *Fetcher) tooOld(ctx context.Context, w *work, api *proofpoint.APIError) error {
	if _, _, ok := w.window.Halves(); w.id.Call == feed.CallSIEM && (ok || w.job.GetOverlap() > 0) {
		return f.split(ctx, w, api.Error())
	}
	f.log.Error("a window is lost", slog.Int("error_id", api.Kind.DevoID()), slog.String("window", w.window.String()), slog.Any("error", api))
	return f.conclude(ctx, w, taplinev1.WindowState_WINDOW_STATE_LOST, api.Error())
}

// giveUp ends a job that is wrong in itself: first its letter, and then the note, behind which no run looks at the
// job again. The letter's name is the same whenever that is repeated.
func (f *Fetcher) giveUp(ctx context.Context, w *work, api *proofpoint.APIError) error {
	order, err := proto.MarshalOptions{Deterministic: true}.Marshal(w.job)
	if err != nil {
		return fmt.Errorf("encode job %s: %w", w.job.GetId(), err)
	}
	letter := &taplinev1.DeadLetter{
		Tenant: f.cfg.Tenant.Name, Stage: Flow.Stage, Reason: api.Error(), Payload: order, Source: w.job.GetId(),
		Attempts: uint64(w.attempts), DiedAt: timestamppb.New(f.now()),
	}
	if err := f.bus.PublishDead(ctx, letter, deadID(letter)); err != nil {
		return err
	}
	step.At("fetcher.dead")
	f.log.Error("a job went to DEAD", slog.String("job", w.job.GetId()), slog.Any("error", api))
	return f.conclude(ctx, w, taplinev1.WindowState_WINDOW_STATE_LOST, api.Error())
}

// halve cuts a window that failed often enough on its own; before that, or when it cannot
// be cut, it is called again after the rest.
func (f *Fetcher) halve(ctx context.Context, w *work, api *proofpoint.APIError, after int) error {
	due := w.attempts >= splitAnyway || (w.attempts >= after && f.gateOf(w).alone())
	if w.divisible() && due {
		return f.split(ctx, w, api.Error())
	}
	return bus.RetryAfter(api, f.gateOf(w).rest())
}

// split tells the scheduler to plan the parts.
func (f *Fetcher) split(ctx context.Context, w *work, reason string) error {
	if !w.divisible() {
		return bus.RetryAfter(fmt.Errorf("%w: %s cannot be cut: %s", errBadJob, w.window, reason), longestWait)
	}
	f.log.Info("a window is cut", slog.String("window", w.window.String()), slog.String("reason", reason))
	return f.conclude(ctx, w, taplinev1.WindowState_WINDOW_STATE_SPLIT, reason)
}

// conclude writes a state other than fetched into the ledger.
func (f *Fetcher) conclude(ctx context.Context, w *work, state taplinev1.WindowState, reason string) error {
	err := f.ledger.Read(ctx, &taplinev1.WindowRecord{
		JobId: w.job.GetId(), State: state, Attempts: uint32(w.attempts), Reason: reason, SkewMs: f.skew().Milliseconds(),
	})
	step.At("fetcher.concluded")
	return err
}
