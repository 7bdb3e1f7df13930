package fetcher

import (
	"context"
	"errors"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// readPage reads one page of a list. A list that fails waits for itself, and its endpoint's breaker
// keeps the other lists of the endpoint from spending the few calls of the pool in the same way.
func (f *Fetcher) readPage(ctx context.Context, w *work) error {
	own := w.key(w.endpoint.Path + "/" + w.id.Target)
	if wait := max(f.breakers.Wait(own), f.breakers.Wait(w.key(w.endpoint.Path))); wait > 0 {
		return bus.RetryAfter(errCoolingDown, min(wait, longestWait))
	}
	if wanted, err := f.wanted(ctx, w); !wanted || err != nil {
		return err
	}
	c := f.collect(w)
	defer f.discard(c)
	charged, err := f.enter(ctx, w, w.endpoint)
	if err != nil {
		return err
	}
	asked := f.local()
	envelope, r, err := f.api.List(ctx, proofpoint.Question{
		Call: w.id.Call, Target: w.id.Target, Interval: w.window.Interval(), Page: w.id.Page(),
	}, func(r proofpoint.Record) error { return c.visit(ctx, r) })
	f.measure(r)
	f.charge(ctx, w.endpoint.Pool, charged, err)
	if err != nil {
		return f.failedPage(ctx, w, own, r, err)
	}
	step.At("fetcher.called")
	c.envelope = envelope
	f.breakers.Served(own)
	f.served(ctx, w.key(w.endpoint.Path), w.endpoint.Path)
	return f.store(ctx, w, c, &reading{status: r.Status, bytes: r.Bytes, at: f.clock.Earliest(asked)})
}

// failedPage has a page wait. No answer ends a list: a list of campaigns is lost when Proofpoint
// has forgotten its time, and a list of people, which is of the present, never.
func (f *Fetcher) failedPage(ctx context.Context, w *work, own pace.Key, r proofpoint.Response, err error) error {
	api, ok := errors.AsType[*proofpoint.APIError](err)
	if !ok { // SEEN, the spool: nothing is wrong with the call
		return f.failure(w, call{w.endpoint, w.window}, r, err)
	}
	f.metrics.calls.WithLabelValues(w.endpoint.Path, string(api.Kind)).Inc()
	if err, general := f.general(ctx, w, w.endpoint, api); general {
		return err
	}
	if w.id.Call == feed.CallCampaignIDs && w.window.End.Before(f.clock.Earliest(f.local()).Add(-window.Lookback)) {
		return f.lose(ctx, w, err)
	}
	f.tripLane(w, w.endpoint, err, 0)
	curve := pace.CurveOf(own.Lane, f.cfg.Quota.Limits()[w.endpoint.Pool])
	wait, _ := f.breakers.Failed(own, pace.Failure{Curve: curve, Quiet: true, Words: err.Error()})
	return bus.RetryAfter(err, min(wait, whenScarce))
}

// whenScarce is how long a job of a pool with few calls waits before it looks again.
const whenScarce = 10 * time.Minute
