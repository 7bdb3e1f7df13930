package enricher

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/lifecycle"
	"github.com/tapline/tapline/pkg/telemetry"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Flow is this stage's place in the chain.
var Flow = bus.Flow{Stage: "enricher", Consumes: bus.StreamRaw, Emits: bus.StreamEvents}

// transport is what the enricher needs of the bus.
type transport interface {
	Consume(ctx context.Context, c bus.Consumption, handle bus.Handler) error
	Backlog(ctx context.Context, c bus.Consumer) (bus.Backlog, error)
	Bucket(ctx context.Context, name string) (*bus.Bucket, error)
	publisher
}

type publisher interface {
	PublishJob(ctx context.Context, job *taplinev1.Job) error
	PublishEvents(ctx context.Context, data []byte, m bus.EventMeta) (uint64, error)
	PublishedEvents(ctx context.Context, m bus.EventMeta, since time.Time) (uint64, error)
	PublishDead(ctx context.Context, letter *taplinev1.DeadLetter, id string) error
}

// Deps are what the enricher takes from its surroundings.
type Deps struct {
	Bus     transport
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Health  *telemetry.Health
	Now     func() time.Time // nil means time.Now
}

// Enricher turns records into rows.
type Enricher struct {
	cfg     Config
	bus     transport
	log     *slog.Logger
	metrics *metrics
	health  *telemetry.Health
	now     func() time.Time

	registry prometheus.Registerer

	// Set by Run, before anything else.
	ledger *ledger.Ledger
	expand *expander
}

// New makes an enricher. It does nothing before Run.
func New(cfg Config, deps Deps) *Enricher {
	deps.Health.NotReady(Flow.Stage, "starting")
	if deps.Now == nil {
		deps.Now = time.Now
	}
	return &Enricher{
		cfg: cfg, bus: deps.Bus, log: deps.Log, metrics: newMetrics(deps.Metrics), health: deps.Health, now: deps.Now, registry: deps.Metrics,
	}
}

// Run works until ctx ends, then finishes what is in hand. An error means that
// the bus is not set up.
func (e *Enricher) Run(ctx context.Context) error {
	pages, err := e.bus.Bucket(ctx, bus.BucketLedger)
	if err != nil {
		return lifecycle.Stopped(ctx, fmt.Errorf("enricher: %w", err))
	}
	answers, err := e.bus.Bucket(ctx, bus.BucketKnown)
	if err != nil {
		return lifecycle.Stopped(ctx, fmt.Errorf("enricher: %w", err))
	}
	orders, err := e.bus.Bucket(ctx, bus.BucketReplay)
	if err != nil {
		return lifecycle.Stopped(ctx, fmt.Errorf("enricher: %w", err))
	}
	e.ledger = ledger.New(pages)
	e.expand = newExpander(e, answers)
	ready := sync.OnceFunc(func() { e.health.OK(Flow.Stage) })
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return e.bus.Consume(ctx, bus.Consumption{
			Stage: Flow.Stage, Tenant: e.cfg.Tenant.Name, Consumer: bus.ConsumerEnricher, Workers: e.cfg.Workers,
			Log: e.log, Turn: func() {
				ready()
				e.health.Turn(Flow.Stage, time.Minute)
			},
		}, e.handle)
	})
	if e.cfg.Feeds.Has(feed.Threats) || e.cfg.Feeds.Has(feed.Campaigns) {
		// Beside the rows and not before them: to look threats up holds no row up.
		group.Go(func() error {
			return e.bus.Consume(ctx, bus.Consumption{
				Stage: Flow.Stage, Tenant: e.cfg.Tenant.Name, Consumer: bus.ConsumerExpander, Workers: e.cfg.Expanders,
				Log: e.log, Turn: func() { e.health.Turn(Flow.Stage+" expansion", time.Minute) },
			}, e.expand.handle)
		})
	}
	group.Go(func() error {
		e.reprocessing(orders).Run(ctx)
		return nil
	})
	return group.Wait()
}
