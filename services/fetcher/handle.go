package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
	"github.com/tapline/tapline/services/fetcher/internal/seen"
	"github.com/tapline/tapline/services/fetcher/internal/spool"
)

// work is one job in hand.
type work struct {
	job      *taplinev1.Job
	id       job.ID
	set      feed.Set
	window   window.Window
	endpoint feed.Endpoint
	attempts int
}

// divisible reports whether the scheduler can cut the job: see package plan.
func (w *work) divisible() bool {
	if w.id.Call != feed.CallSIEM {
		return false
	}
	_, _, ok := w.window.Halves()
	return ok || len(w.set) > 1 || w.job.GetOverlap() > 0
}

// handle runs one job. What its error means is decided here and in fate.go.
func (f *Fetcher) handle(ctx context.Context, d *bus.Delivery) error {
	w, err := f.decode(d.Data())
	if err != nil {
		return bus.Permanent(err)
	}
	w.attempts = d.Attempts()
	sequence, marker, err := f.bus.Marker(ctx, f.cfg.Tenant.Name, w.job.GetId())
	if err == nil {
		return f.complete(ctx, w, sequence, marker)
	}
	if !errors.Is(err, bus.ErrNotFound) {
		return err
	}
	// An earlier run may have ended between its note and its ack. The scheduler acts on
	// the note; to call now would read what the halves read at the same time.
	known, err := f.ledger.Outcomes(ctx, w.job.GetId())
	if err != nil || known[w.job.GetId()] != nil {
		return err
	}
	if rest := f.gateOf(w).rest(); rest > 0 {
		return bus.RetryAfter(errResting, rest)
	}
	if held, err := f.hold(ctx, w); held {
		return err
	}
	if w.id.Call != feed.CallSIEM && w.id.Call.PageSize() == 0 {
		return f.expand(ctx, w)
	}
	if err := f.reserve(ctx, w); err != nil {
		return err
	}
	step.At("fetcher.reserved")
	return f.call(ctx, w)
}

// gateOf keeps SIEM records and the rest from hindering each other.
func (f *Fetcher) gateOf(w *work) *gate {
	if w.id.Call == feed.CallSIEM {
		return f.gate
	}
	return f.side
}

// decode reads a job and refuses what this fetcher cannot run.
func (f *Fetcher) decode(data []byte) (*work, error) {
	order := &taplinev1.Job{}
	if err := proto.Unmarshal(data, order); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadJob, err)
	}
	if order.GetTenant() != f.cfg.Tenant.Name {
		return nil, fmt.Errorf("%w %q: this fetcher serves %q", errUnknownTenant, order.GetTenant(), f.cfg.Tenant.Name)
	}
	id, err := job.Of(order)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadJob, err)
	}
	if id.Call == feed.CallSIEM && !servable(id.Window) {
		return nil, fmt.Errorf("%w: window %s spans %s, and Proofpoint serves 30s to 1h", errBadJob, id.Window, id.Window.Span())
	}
	if id.Call == feed.CallSIEM && id.Pass > uint32(window.Lookback/time.Minute) {
		return nil, fmt.Errorf("%w: pass %d is of an age that Proofpoint no longer serves, %s", errBadJob, id.Pass, window.Lookback)
	}
	if _, err := job.Parse(order.GetId()); err != nil || id.String() != order.GetId() {
		return nil, fmt.Errorf("%w: id %q does not say what the job is, %s", errBadJob, order.GetId(), id)
	}
	w := &work{job: order, id: id, set: id.Set, window: id.Window, endpoint: id.Set.Endpoint()}
	if id.Call != feed.CallSIEM {
		w.endpoint = feed.Endpoint{Path: id.Call.Path(), Feeds: id.Set, Pool: id.Call.Pool()}
	}
	return w, nil
}

// longestWait bounds how long a job waits for a unit before it looks again, so
// that an operator who opens a pool sees an effect.
const longestWait = time.Minute

func (f *Fetcher) reserve(ctx context.Context, w *work) error {
	err := f.quota.Reserve(ctx, w.endpoint.Pool)
	if exhausted, ok := errors.AsType[*quota.ExhaustedError](err); ok {
		f.health.Degraded("quota "+string(w.endpoint.Pool), err.Error())
		return bus.RetryAfter(err, min(exhausted.Wait, longestWait))
	}
	if err == nil {
		f.health.OK("quota " + string(w.endpoint.Pool))
	}
	return err
}

// collect begins to take what a job brings. Close the collector's spool.
func (f *Fetcher) collect(w *work) *collector {
	at := f.now()
	c := &collector{
		cfg: &f.cfg, id: w.id, sets: seen.Open(f.seen, f.cfg.Tenant.Name, &f.hints, job.LaneName(w.id.Lane)), hasher: identity.NewHasher(),
		spool: spool.Open(f.cfg.SpoolDir, f.cfg.SpoolMemory), dead: spool.Open(f.cfg.SpoolDir, f.cfg.SpoolMemory/8),
		head: batch.Raw{
			Tenant: f.cfg.Tenant.Name, JobID: w.job.GetId(), Window: w.window,
			PullID: strconv.FormatInt(at.UnixMilli(), 10), FetchedAt: at,
		},
	}
	for _, name := range w.set {
		c.feeds = append(c.feeds, &feedCollector{feed: name})
	}
	return c
}

func (f *Fetcher) discard(c *collector) {
	if err := errors.Join(c.spool.Close(), c.dead.Close()); err != nil {
		f.log.Warn("cannot close a spool", slog.Any("error", err))
	}
}

// read makes the call for a window or a page.
func (f *Fetcher) read(ctx context.Context, w *work, c *collector) (response proofpoint.Response, err error) {
	visit := func(r proofpoint.Record) error { return c.visit(ctx, r) }
	if w.id.Call == feed.CallSIEM {
		response, err = f.api.SIEM(ctx, w.endpoint, w.window, visit)
		if flaw := response.Evidence.Flaw(w.window); err == nil && flaw != nil {
			err = &proofpoint.APIError{
				Kind: proofpoint.Odd, Status: response.Status, Sentence: flaw.String(), Endpoint: w.endpoint.Path, Window: w.window,
			}
		}
		return response, err
	}
	c.envelope, response, err = f.api.List(ctx, proofpoint.Question{
		Call: w.id.Call, Target: w.id.Target, Interval: w.window.Interval(), Page: int(w.id.Pass),
	}, visit)
	return response, err
}

// call makes the one call of the job and stores what it brings.
func (f *Fetcher) call(ctx context.Context, w *work) error {
	c := f.collect(w)
	defer f.discard(c)
	response, err := f.read(ctx, w, c)
	f.note(response)
	f.metrics.bytes.Add(float64(response.Bytes))
	f.metrics.duration.Observe(response.Duration.Seconds())
	if err != nil {
		return f.fate(ctx, w, err)
	}
	step.At("fetcher.called")
	f.works(ctx, w)
	if err := premature(w, response.ServerTime); err != nil {
		return err
	}
	if cut, err := f.cut(ctx, w); cut || err != nil {
		return err
	}
	return f.store(ctx, w, c, response)
}

// cut reports whether somebody else had the window cut during the call, in which this process may have stood still. Its
// parts are read at this moment, perhaps, and would not know of what is stored now.
func (f *Fetcher) cut(ctx context.Context, w *work) (bool, error) {
	known, err := f.ledger.Outcomes(ctx, w.job.GetId())
	return known[w.job.GetId()].GetState() == taplinev1.WindowState_WINDOW_STATE_SPLIT, err
}

// works notes that Proofpoint answers.
func (f *Fetcher) works(ctx context.Context, w *work) {
	f.metrics.calls.WithLabelValues(w.endpoint.Path, "ok").Inc()
	f.alarms.Clear(ctx, alarm.Refused)
	f.alarms.Clear(ctx, alarm.Forbidden)
	if f.gateOf(w).success() {
		f.log.Info("Proofpoint answers again")
	}
	f.health.OK("proofpoint")
}
