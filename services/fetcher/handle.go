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
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
	"github.com/tapline/tapline/services/fetcher/internal/seen"
	"github.com/tapline/tapline/services/fetcher/internal/spool"
)

// work is one job in hand.
type work struct {
	job      *taplinev1.Job
	set      feed.Set
	window   window.Window
	endpoint feed.Endpoint
	attempts int
}

// divisible reports whether the scheduler can cut the job: see package plan.
func (w *work) divisible() bool {
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
	if rest := f.gate.rest(); rest > 0 {
		return bus.RetryAfter(errResting, rest)
	}
	if err := f.reserve(ctx, w); err != nil {
		return err
	}
	return f.call(ctx, w)
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
	if !servable(id.Window) {
		return nil, fmt.Errorf("%w: window %s spans %s, and Proofpoint serves 30s to 1h", errBadJob, id.Window, id.Window.Span())
	}
	if _, err := job.Parse(order.GetId()); err != nil || id.String() != order.GetId() {
		return nil, fmt.Errorf("%w: id %q does not say what the job is, %s", errBadJob, order.GetId(), id)
	}
	return &work{job: order, set: id.Set, window: id.Window, endpoint: id.Set.Endpoint()}, nil
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

// call makes the one call of the job and stores what it brings.
func (f *Fetcher) call(ctx context.Context, w *work) error {
	at := f.now()
	c := &collector{
		cfg: &f.cfg, sets: seen.Open(f.seen, f.cfg.Tenant.Name), hasher: identity.NewHasher(),
		spool: spool.Open(f.cfg.SpoolDir, f.cfg.SpoolMemory),
		head: batch.Raw{
			Tenant: f.cfg.Tenant.Name, JobID: w.job.GetId(), Window: w.window,
			PullID: strconv.FormatInt(at.UnixMilli(), 10), FetchedAt: at,
		},
	}
	for _, name := range w.set {
		c.feeds = append(c.feeds, &feedCollector{feed: name})
	}
	defer func() {
		if err := c.spool.Close(); err != nil {
			f.log.Warn("cannot close a spool", slog.Any("error", err))
		}
	}()
	response, err := f.api.SIEM(ctx, w.endpoint, w.window, func(r proofpoint.Record) error { return c.visit(ctx, r) })
	skew := f.note(response)
	f.metrics.bytes.Add(float64(response.Bytes))
	f.metrics.duration.Observe(response.Duration.Seconds())
	if err != nil {
		return f.fate(ctx, w, err, skew)
	}
	f.metrics.calls.WithLabelValues(w.endpoint.Path, "ok").Inc()
	f.alarms.Clear(ctx, alarm.Refused)
	f.alarms.Clear(ctx, alarm.Forbidden)
	if f.gate.success() {
		f.log.Info("Proofpoint answers again")
	}
	f.health.OK("proofpoint")
	return f.store(ctx, w, c, response, skew)
}
