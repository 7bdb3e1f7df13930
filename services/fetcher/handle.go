package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
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
	job := &taplinev1.Job{}
	if err := proto.Unmarshal(data, job); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadJob, err)
	}
	if job.GetTenant() != f.cfg.Tenant.Name {
		return nil, fmt.Errorf("%w %q: this fetcher serves %q", errUnknownTenant, job.GetTenant(), f.cfg.Tenant.Name)
	}
	w := &work{job: job}
	var err error
	if w.window, err = window.FromProto(job.GetWindow()); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadJob, err)
	}
	if !servable(w.window) {
		return nil, fmt.Errorf("%w: window %s spans %s, and Proofpoint serves 30s to 1h", errBadJob, w.window, w.window.Span())
	}
	for _, name := range job.GetFeeds() {
		if !feed.Feed(name).IsSIEM() || slices.Contains(w.set, feed.Feed(name)) {
			return nil, fmt.Errorf("%w: feeds %q", errBadJob, job.GetFeeds())
		}
		w.set = append(w.set, feed.Feed(name))
	}
	if len(w.set) == 0 || job.GetId() == "" {
		return nil, fmt.Errorf("%w: no feeds or no id", errBadJob)
	}
	w.endpoint = w.set.Endpoint()
	return w, nil
}

// longestWait bounds how long a job waits for a unit before it looks again, so
// that an operator who opens a pool sees an effect.
const longestWait = time.Minute

func (f *Fetcher) reserve(ctx context.Context, w *work) error {
	err := f.quota.Reserve(ctx, w.endpoint.Pool)
	if exhausted, ok := errors.AsType[*quota.ExhaustedError](err); ok {
		f.metrics.quotaLeft.WithLabelValues(string(w.endpoint.Pool)).Set(0)
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
	if f.gate.success() {
		f.log.Info("Proofpoint answers again")
	}
	f.health.OK("proofpoint")
	return f.store(ctx, w, c, response, skew)
}
