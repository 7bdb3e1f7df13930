package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

const (
	// forensics is the lane of all forensics queues.
	forensics = "forensics"
	// alarmAfter is how long calls of one kind fail before that is an alarm.
	alarmAfter = 2 * time.Minute
	// troubleHolds is how long such an alarm stays without a new look, and troubleTurn how often
	// one is taken.
	troubleHolds, troubleTurn = 3 * time.Minute, 15 * time.Second
)

// checkPath is the cause of the alarm about a credential that a probe found refused.
const checkPath = "probe"

// credential is the breaker for a credential that is refused: no call is made but its probes.
var credential = pace.Key{Endpoint: "credential"}

// tripLane opens the breaker of an endpoint for the lane of a job, and reports for how long.
func (f *Fetcher) tripLane(w *work, e feed.Endpoint, cause error, least time.Duration) time.Duration {
	curve := pace.CurveOf(w.key(e.Path).Lane, f.cfg.Quota.Limits()[e.Pool])
	curve.Least = least
	return f.trip(w, e, cause, curve)
}

func (f *Fetcher) trip(w *work, e feed.Endpoint, cause error, curve pace.Curve) time.Duration {
	key := w.key(e.Path)
	wait, first := f.breakers.Failed(key, pace.Failure{Curve: curve, Odd: odd(cause), Quiet: curve.Least > 0, Words: cause.Error()})
	if first {
		f.log.Warn("a call to Proofpoint failed", slog.String("lane", key.Lane), slog.Any("error", cause))
	}
	f.health.Degraded(component(key), cause.Error())
	return wait
}

// odd reports whether Proofpoint answered, but not in a way that proves anything.
func odd(err error) bool {
	switch kindOf(err) {
	case proofpoint.TooShort, proofpoint.TooLong, proofpoint.TooFarPast, proofpoint.StillCurrent, proofpoint.BadRequest,
		proofpoint.NotFound, proofpoint.Unexpected, proofpoint.Odd, "":
		return true
	default:
		return false
	}
}

// kindOf is the kind of a failed call; "" for an answer that proves nothing.
func kindOf(err error) proofpoint.Kind {
	if api, ok := errors.AsType[*proofpoint.APIError](err); ok {
		return api.Kind
	}
	return ""
}

// component is what /readyz and heartbeats call the trouble of a breaker.
func component(k pace.Key) string { return "proofpoint " + k.String() }

// served records that an endpoint answers for a lane. That clears the alarms that its failures
// raised, and no others.
func (f *Fetcher) served(ctx context.Context, key pace.Key, path string) {
	f.metrics.calls.WithLabelValues(path, "ok").Inc()
	if f.breakers.Served(key) {
		f.log.Info("Proofpoint answers again", slog.String("lane", key.Lane), slog.String("endpoint", key.Endpoint))
	}
	f.accepted()
	f.alarms.ClearCause(ctx, alarm.Refused, path)
	f.alarms.ClearCause(ctx, alarm.Refused, checkPath)
	f.alarms.ClearCause(ctx, alarm.Forbidden, path)
	f.over(ctx, key)
}

// over ends the alarms of a breaker.
func (f *Fetcher) over(ctx context.Context, key pace.Key) {
	f.health.OK(component(key))
	f.alarms.ClearCause(ctx, alarm.Proofpoint, key.String())
	f.alarms.ClearCause(ctx, alarm.Answer, key.String())
}

// alarmOdd raises the alarm about an answer that is odd although it brought something.
func (f *Fetcher) alarmOdd(ctx context.Context, w *work, c call, cause error) {
	f.alarms.HoldCause(ctx, alarm.Answer, w.key(c.endpoint.Path).String(), cause.Error(), oddFor)
}

// watchTroubles raises the alarms about endpoints that fail for longer. An endpoint that nothing
// asks for any more is not in trouble.
func (f *Fetcher) watchTroubles(ctx context.Context) error {
	ticker := time.NewTicker(f.scale(troubleTurn))
	defer ticker.Stop()
	known := make(map[pace.Key]bool)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		current := make(map[pace.Key]bool)
		for _, t := range f.breakers.Troubles() {
			current[t.Key] = true
			if t.Lasts(f.scale(alarmAfter)) {
				f.raise(ctx, t)
			}
		}
		for key := range known {
			if !current[key] {
				f.over(ctx, key)
			}
		}
		known = current
	}
}

func (f *Fetcher) raise(ctx context.Context, t pace.Trouble) {
	name := alarm.Proofpoint
	if t.Odd {
		name = alarm.Answer
	}
	good := "none since the start of this process"
	if !t.Good.IsZero() {
		good = t.Good.UTC().Format(time.RFC3339)
	}
	f.alarms.HoldCause(ctx, name, t.String(), fmt.Sprintf("%s: %d calls in a row failed; last good call %s; %s", t, t.Failures, good, t.Words), troubleHolds)
}

// refusedCredential has all calls wait but a probe now and then.
func (f *Fetcher) refusedCredential(ctx context.Context, path string, cause error) {
	curve := pace.Curve{First: probeCredential, Most: probeCredential}
	wait, first := f.breakers.Failed(credential, pace.Failure{Curve: curve, Quiet: true, Words: cause.Error()})
	f.alarms.HoldCause(ctx, alarm.Refused, path, cause.Error(), wait+2*time.Minute)
	f.health.Degraded(credential.Endpoint, cause.Error())
	if first {
		f.log.Error("Proofpoint refuses the credential; calls stop but for a probe", slog.Duration("every", probeCredential), slog.Any("error", cause))
	}
}

// accepted records that the credential is good.
func (f *Fetcher) accepted() {
	if f.breakers.Served(credential) {
		f.log.Info("Proofpoint takes the credential again")
	}
	f.health.OK(credential.Endpoint)
}

// credentials refuses calls with a refused credential. When it is time, one job probes, at an
// endpoint without a limit. If that is inconclusive, the call of the job is the probe, and the
// others wait for what it finds.
func (f *Fetcher) credentials(ctx context.Context) (probing bool, err error) {
	if !f.breakers.Open(credential) {
		return false, nil
	}
	wait := f.breakers.Enter(credential)
	if wait == 0 {
		if conclusive := f.probe(ctx); !conclusive {
			return true, nil
		}
		wait = f.breakers.Wait(credential)
	}
	if wait > 0 {
		return false, bus.RetryAfter(errCoolingDown, min(wait, longestWait))
	}
	return false, nil
}

// probe asks for nothing. It reports whether that was conclusive. A credential that may not read it
// is known all the same.
func (f *Fetcher) probe(ctx context.Context) (conclusive bool) {
	if err := f.quota.Count(ctx, 1); err != nil {
		f.log.Debug("cannot count a call", slog.Any("error", err))
	}
	_, err := f.api.Check(ctx)
	switch {
	case err == nil || kindOf(err) == proofpoint.Forbidden:
		f.accepted()
	case kindOf(err) == proofpoint.BadCredentials:
		f.refusedCredential(ctx, checkPath, err)
	default:
		return false
	}
	return true
}
