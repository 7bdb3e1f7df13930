package fetcher

import (
	"context"
	"errors"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// readWindow reads a window.
func (f *Fetcher) readWindow(ctx context.Context, w *work) error {
	if held, err := f.deferEarly(ctx, w); held {
		return err
	}
	if err := f.behind(w); err != nil {
		return err
	}
	if f.ladder.TooLong(w.endpoint.Path, w.window.Span()) && w.shortens() {
		return f.split(ctx, w, "the endpoint refuses windows of this length")
	}
	if crowded, err := f.crowded(ctx, w); err != nil {
		return err
	} else if crowded {
		return f.split(ctx, w, "windows like this one bring more than an answer may have")
	}
	if w.job.GetAside() && f.scant(w.endpoint.Pool) { // those that were never tried go first
		return bus.RetryAfter(errSpent, f.scale(longestWait))
	}
	calls, wait := f.way(ctx, w)
	if wait > 0 {
		return bus.RetryAfter(errCoolingDown, min(wait, longestWait))
	}
	if wanted, err := f.wanted(ctx, w); !wanted || err != nil {
		return err
	}
	c := f.collect(w)
	defer f.discard(c)
	got, err := f.read(ctx, w, calls, c)
	if failure, ok := errors.AsType[*failed](err); ok {
		if api, ok := errors.AsType[*proofpoint.APIError](err); ok && w.asked(calls) {
			f.learn(ctx, w, c.received(), failure.answer.Bytes, api)
		}
		return f.failedWindow(ctx, w, failure)
	}
	if err != nil {
		return err
	}
	if w.asked(calls) {
		f.learn(ctx, w, c.received(), got.bytes, nil)
	}
	f.doubts.proven(w.endpoint.Path, calls[0].endpoint.Path != w.endpoint.Path)
	return f.store(ctx, w, c, got)
}

// divisible reports whether the scheduler can cut the job: see package plan.
func (w *work) divisible() bool {
	if w.id.Call.Kind() != feed.KindWindow {
		return false
	}
	_, _, ok := w.window.Halves()
	return ok || len(w.set) > 1 || w.job.GetOverlap() > 0
}

// shortens reports whether the parts that the scheduler makes of the job are shorter than it.
func (w *work) shortens() bool {
	if w.job.GetOverlap() > 0 {
		return w.window.End.Sub(w.unread()) >= window.MinSpan
	}
	_, _, ok := w.window.Halves()
	return ok && w.divisible()
}

// cut reports whether another process had the window cut during the call, in which this process may
// have stood still. Its parts are read at this moment, perhaps, and would not know of what is
// stored now.
func (f *Fetcher) cut(ctx context.Context, w *work) (bool, error) {
	known, err := f.ledger.Outcomes(ctx, w.job.GetId())
	return known[w.job.GetId()].GetState() == taplinev1.WindowState_WINDOW_STATE_SPLIT, err
}
