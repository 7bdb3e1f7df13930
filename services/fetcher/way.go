package fetcher

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// call is one call for a window.
type call struct {
	endpoint feed.Endpoint
	window   window.Window // as it is asked for: at least the job's
}

// unproven is an answer that does not prove its window read.
type unproven struct {
	path string
	flaw *proofpoint.Flaw
}

// Error says what is missing.
func (u *unproven) Error() string {
	return u.path + " does not prove that the window was read: " + u.flaw.String()
}

// failed is a call that brought nothing, and why.
type failed struct {
	call
	err    error
	answer proofpoint.Response
}

// Error is that of the call.
func (f *failed) Error() string { return f.err.Error() }

// Unwrap gives the reason.
func (f *failed) Unwrap() error { return f.err }

// reading is what the calls of one job brought.
type reading struct {
	status  int
	bytes   int64
	at      time.Time // of the first call, by Proofpoint's clock
	readEnd time.Time // up to where the window is proven read; zero means all of it
	lag     time.Duration
}

// planned is the usual way to ask for a window: one call.
func (f *Fetcher) planned(w *work) []call {
	return []call{{w.endpoint, f.ladder.Widened(w.endpoint.Path, w.window)}}
}

// others asks other endpoints for the same: those of the single feeds, or the one that serves all
// for a single feed. Feeds that answers lacked come first, and what failed last before them, so
// that a way that fails costs one call.
func (f *Fetcher) others(w *work) []call {
	if len(w.set) == 1 {
		e := feed.Endpoint{Path: feed.SIEMAll.Path, Feeds: w.set, Pool: feed.SIEMAll.Pool}
		return []call{{e, f.ladder.Widened(e.Path, w.window)}}
	}
	var calls []call
	for _, name := range w.set {
		e := feed.Set{name}.Endpoint()
		calls = append(calls, call{e, f.ladder.Widened(e.Path, w.window)})
	}
	slices.SortStableFunc(calls, func(x, y call) int { return f.doubts.compare(x.endpoint.Feeds[0], y.endpoint.Feeds[0]) })
	slices.SortStableFunc(calls, func(x, y call) int {
		switch first, second := f.breakers.Open(w.key(x.endpoint.Path)), f.breakers.Open(w.key(y.endpoint.Path)); {
		case first == second:
			return 0
		case first:
			return -1
		}
		return 1
	})
	return calls
}

// way chooses how to ask for a window, and how long to wait before. While the usual endpoint
// answers oddly and the others prove windows, these are asked. A way of which one call cannot be
// made is none: what the calls before it bring is not enough, and would be asked for again and
// again.
func (f *Fetcher) way(ctx context.Context, w *work) (calls []call, wait time.Duration) {
	calls = f.planned(w)
	wait = f.waitFor(w, calls)
	if !f.ladder.ByOthers(w.job.GetId(), int(w.job.GetFailures())) && (wait == 0 || !f.doubts.detour(w.endpoint.Path)) {
		return calls, wait
	}
	others := f.others(w)
	if until := f.waitFor(w, others); until <= max(wait, f.scale(briefly)) && f.units(ctx, others) {
		return others, until
	}
	return calls, wait
}

// briefly is how long a window waits for another way although the usual one is open.
const briefly = 10 * time.Second

// units reports whether the pools have a unit for each call.
func (f *Fetcher) units(ctx context.Context, calls []call) bool {
	need := make(map[feed.Pool]int)
	for _, c := range calls {
		need[c.endpoint.Pool]++
	}
	for pool, n := range need {
		status, err := f.quota.Look(ctx, pool)
		if err != nil {
			f.log.Debug("cannot look at a pool", slog.Any("error", err))
			return false
		}
		if status.Limit > 0 && (status.Left() < n || status.Free.After(f.clock.Earliest(f.now()))) {
			return false
		}
	}
	return true
}

func (f *Fetcher) waitFor(w *work, calls []call) (wait time.Duration) {
	for _, c := range calls {
		wait = max(wait, f.breakers.Wait(w.key(c.endpoint.Path)))
	}
	return wait
}

// key is the breaker of an endpoint for the lane of a job.
func (w *work) key(endpoint string) pace.Key {
	lane := job.LaneName(w.id.Lane)
	if w.job.GetAside() {
		lane = job.Aside
	}
	if w.id.Call.IsForensics() { // its levels are one queue
		lane = forensics
	}
	if w.id.Call.Kind() == feed.KindLookup { // two calls have one path
		endpoint = string(w.id.Call)
	}
	return pace.Key{Lane: lane, Endpoint: endpoint}
}

// read makes the calls one after the other. An error of the type [*failed] is about a call.
func (f *Fetcher) read(ctx context.Context, w *work, calls []call, c *collector) (*reading, error) {
	got := &reading{}
	for _, one := range calls {
		charged, err := f.enter(ctx, w, one.endpoint)
		if err != nil {
			return nil, err
		}
		asked := f.local()
		r, err := f.api.SIEM(ctx, one.endpoint, one.window, func(r proofpoint.Record) error { return c.visit(ctx, r) })
		f.measure(r)
		if err == nil {
			step.At("fetcher.called")
			err = f.prove(ctx, w, one, r, got)
		}
		f.charge(ctx, one.endpoint.Pool, charged, err)
		if err != nil {
			return nil, f.failure(w, one, r, err)
		}
		if got.at.IsZero() {
			got.at = f.readAt(asked, r, one.window)
		}
		got.status, got.bytes = r.Status, got.bytes+r.Bytes
	}
	return got, nil
}

// enter reserves what a call takes: a breaker that lets it pass, and a unit.
func (f *Fetcher) enter(ctx context.Context, w *work, e feed.Endpoint) (charged bool, err error) {
	key := w.key(e.Path)
	if wait := f.breakers.Enter(key); wait > 0 {
		return false, bus.RetryAfter(errCoolingDown, min(wait, longestWait))
	}
	if charged, err = f.takeUnit(ctx, w, e); err != nil {
		f.breakers.Leave(key)
		return false, err
	}
	w.begun = true
	step.At("fetcher.reserved")
	f.ladder.Called(w.job.GetId())
	return charged, nil
}

// failure names the call that an error is about; errors of SEEN and of the spool are about none.
func (f *Fetcher) failure(w *work, c call, r proofpoint.Response, err error) error {
	_, api := errors.AsType[*proofpoint.APIError](err)
	_, odd := errors.AsType[*unproven](err)
	if api || odd {
		return &failed{c, err, r}
	}
	f.breakers.Leave(w.key(c.endpoint.Path))
	f.metrics.calls.WithLabelValues(c.endpoint.Path, "not-stored").Inc()
	return err
}

// prove holds an answer against what was asked.
func (f *Fetcher) prove(ctx context.Context, w *work, c call, r proofpoint.Response, got *reading) error {
	flaw, err := f.flaw(ctx, w, c, r.Evidence)
	if err != nil {
		return err
	}
	if err := f.tooEarly(w, r, flaw == nil); err != nil {
		return err
	}
	if flaw == nil {
		f.proven(ctx, w, c, r)
		return nil
	}
	if err := f.shapes.saw(ctx, r.Evidence); err != nil {
		return err
	}
	if flaw.ProvenEnd.After(w.unread()) {
		f.partly(ctx, w, c, flaw, got)
		return nil
	}
	if flaw.Kind == proofpoint.EarlyQueryEnd && f.lags(w, c, r.Evidence.QueryEnd) {
		if err := f.behind(w); err != nil {
			return err
		}
	}
	if len(flaw.Feeds) > 0 {
		f.doubts.missing(flaw.Feeds)
	}
	return &unproven{c.endpoint.Path, flaw}
}

// proven records that an endpoint served what it was asked for.
func (f *Fetcher) proven(ctx context.Context, w *work, c call, r proofpoint.Response) {
	if err := f.shapes.saw(ctx, r.Evidence); err != nil { // it is tried again with the next answer
		f.log.Warn("cannot remember what answers look like", slog.Any("error", err))
	}
	now := f.local()
	if r.Served && !r.ServerTime.IsZero() && !lies(r.ServerTime, c.window) {
		f.observe(ctx, now, r.Skew.Truncate(time.Second))
	}
	theirs := f.clock.Earliest(now)
	f.lag.Served(now, theirs.Sub(c.window.End))
	f.ladder.Served(c.endpoint.Path, c.window)
	f.served(ctx, w.key(c.endpoint.Path), c.endpoint.Path)
}

// partly takes an answer that proves the beginning of a window: what came is real, and the
// remainder is asked for later.
func (f *Fetcher) partly(ctx context.Context, w *work, c call, flaw *proofpoint.Flaw, got *reading) {
	if f.lags(w, c, flaw.ProvenEnd) {
		got.lag = f.lag.Now(f.local())
	} else {
		f.alarmOdd(ctx, w, c, &unproven{c.endpoint.Path, flaw})
	}
	if got.readEnd.IsZero() || flaw.ProvenEnd.Before(got.readEnd) {
		got.readEnd = flaw.ProvenEnd
	}
	f.metrics.calls.WithLabelValues(c.endpoint.Path, "partly").Inc()
	f.breakers.Served(w.key(c.endpoint.Path))
}

// readAt is when the calls were made, for the account: nil for a job about ids.
func (r *reading) readAt() *timestamppb.Timestamp {
	if r.at.IsZero() {
		return nil
	}
	return timestamppb.New(r.at)
}

// upTo is how far a window was read, for its account: nil for all of it.
func (r *reading) upTo() *timestamppb.Timestamp {
	if r.readEnd.IsZero() {
		return nil
	}
	return timestamppb.New(r.readEnd)
}
