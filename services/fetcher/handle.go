package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/pkg/wire"
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
	begun    bool // a call was made
}

// handle runs one job. What its error means is decided here and in outcome.go.
func (f *Fetcher) handle(ctx context.Context, d *bus.Delivery) error {
	w, err := f.decode(d.Data())
	if errors.Is(err, errUnknownTenant) { // of before a change of TENANT
		f.log.Warn("a job is dropped", slog.Any("error", err))
		return nil
	}
	if err == nil && !d.Orders(w.id, w.job.GetAside()) {
		err = fmt.Errorf("%w: %s stands on the subject %s", errBadJob, w.job.GetId(), d.Subject())
	}
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
	if recorded, err := f.recorded(ctx, w); recorded || err != nil {
		return err
	}
	probing, err := f.credentials(ctx)
	if err != nil {
		return err
	}
	if err = f.checkRoom(ctx); err == nil {
		err = f.call(ctx, w)
	}
	if probing && uncalled(err) {
		f.breakers.Leave(credential)
	}
	return err
}

// uncalled reports whether a job waits without a call.
func uncalled(err error) bool {
	return slices.ContainsFunc([]error{errTooEarly, errCoolingDown, errNoRoom, errSpent}, func(reason error) bool { return errors.Is(err, reason) })
}

// call does what a job says.
func (f *Fetcher) call(ctx context.Context, w *work) error {
	switch w.id.Call.Kind() {
	case feed.KindWindow:
		return f.readWindow(ctx, w)
	case feed.KindPage:
		return f.readPage(ctx, w)
	default:
		return f.lookUp(ctx, w)
	}
}

// recorded reports whether LEDGER has the outcome of the job. An earlier run may have ended between
// its record and its ack. The scheduler acts on the record; to call now would read what the halves
// read at the same time. A job that was set aside is offered again with the failures of its record,
// or more.
func (f *Fetcher) recorded(ctx context.Context, w *work) (bool, error) {
	known, err := f.ledger.Outcomes(ctx, w.job.GetId())
	record := known[w.job.GetId()]
	if err != nil || record == nil {
		return false, err
	}
	offered := w.job.GetAside() && record.GetState() == taplinev1.WindowState_WINDOW_STATE_UNPROVEN && record.GetFailures() <= w.job.GetFailures()
	return !offered, nil
}

// decode reads a job and refuses what this fetcher cannot run.
func (f *Fetcher) decode(data []byte) (*work, error) {
	order := &taplinev1.Job{}
	if err := wire.Unmarshal(data, order); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadJob, err)
	}
	if order.GetTenant() != f.cfg.Tenant.Name {
		return nil, fmt.Errorf("%w %q: this fetcher serves %q", errUnknownTenant, order.GetTenant(), f.cfg.Tenant.Name)
	}
	id, err := job.Of(order)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadJob, err)
	}
	if id.Call.Kind() == feed.KindWindow && !servable(id.Window) {
		return nil, fmt.Errorf("%w: window %s spans %s, and Proofpoint serves 30s to 1h", errBadJob, id.Window, id.Window.Span())
	}
	if id.Call.Kind() == feed.KindWindow && id.Pass > uint32(window.Lookback/time.Minute) {
		return nil, fmt.Errorf("%w: pass %d is of an age that Proofpoint no longer serves, %s", errBadJob, id.Pass, window.Lookback)
	}
	if _, err := job.Parse(order.GetId()); err != nil || id.String() != order.GetId() {
		return nil, fmt.Errorf("%w: id %q does not say what the job is, %s", errBadJob, order.GetId(), id)
	}
	w := &work{job: order, id: id, set: id.Set, window: id.Window, endpoint: id.Set.Endpoint()}
	if id.Call.Kind() != feed.KindWindow {
		w.endpoint = feed.Endpoint{Path: id.Call.Path(), Feeds: id.Set, Pool: id.Call.Pool()}
	}
	return w, nil
}

// longestWait bounds how long a job waits for a unit before it looks again, so
// that an operator who opens a pool sees an effect.
const longestWait = time.Minute

// takeUnit takes a unit, and tells when there is none.
func (f *Fetcher) takeUnit(ctx context.Context, w *work, e feed.Endpoint) (charged bool, err error) {
	charged, err = f.reserve(ctx, w, e)
	if exhausted, ok := errors.AsType[*quota.ExhaustedError](err); ok {
		f.health.Degraded("quota "+string(e.Pool), err.Error())
		return false, bus.RetryAfter(err, min(exhausted.Wait, longestWait))
	}
	if err == nil {
		f.health.OK("quota " + string(e.Pool))
	}
	return charged, err
}

// collect begins to take what a job brings. Close the collector's spool.
func (f *Fetcher) collect(w *work) *collector {
	at := f.now()
	c := &collector{
		cfg: &f.cfg, id: w.id, sets: seen.Open(f.seen, f.cfg.Tenant.Name, &f.prefetch, job.LaneName(w.id.Lane)), hasher: identity.NewHasher(),
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

// wanted reports whether a plan still has the job. One of a plan that is no more would be called
// for ever.
func (f *Fetcher) wanted(ctx context.Context, w *work) (bool, error) {
	wanted, err := plan.Wanted(ctx, f.state, w.job)
	if err == nil && !wanted {
		f.log.Info("a job is dropped: no plan has it any more", slog.String("job", w.job.GetId()))
		f.ladder.Done(w.job.GetId())
	}
	return wanted, err
}

// measure counts what an answer took.
func (f *Fetcher) measure(r proofpoint.Response) {
	f.metrics.bytes.Add(float64(r.Bytes))
	f.metrics.duration.Observe(r.Duration.Seconds())
}
