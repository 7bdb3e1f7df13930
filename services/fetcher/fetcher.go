package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/known"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/lifecycle"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/clock"
	"github.com/tapline/tapline/services/fetcher/internal/ladder"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
	"github.com/tapline/tapline/services/fetcher/internal/seen"
)

// Flow is this stage's place in the chain.
var Flow = bus.Flow{Stage: "fetcher", Consumes: bus.StreamJobs, Emits: bus.StreamRaw}

// transport is what the fetcher needs of the bus.
type transport interface {
	Bucket(ctx context.Context, name string) (*bus.Bucket, error)
	queue
	stored
	publisher
}

// queue hands out jobs.
type queue interface {
	Consume(ctx context.Context, c bus.Consumption, handle bus.Handler) error
	Take(ctx context.Context, c bus.Consumption, handle bus.Handler) (bool, error)
	Backlog(ctx context.Context, c bus.Consumer) (bus.Backlog, error)
}

// stored reads what an earlier run of a job left in RAW.
type stored interface {
	Marker(ctx context.Context, tenant, jobID string) (sequence uint64, data []byte, err error)
	Message(ctx context.Context, stream string, sequence uint64) (bus.Stored, error)
	Usage(ctx context.Context, stream string) (bus.Usage, error)
}

// publisher stores what a job brought, and what is left of it.
type publisher interface {
	PublishJob(ctx context.Context, job *taplinev1.Job) error
	StoreJob(ctx context.Context, w bus.JobOutput) (uint64, error)
	PublishDead(ctx context.Context, letter *taplinev1.DeadLetter, id string) error
}

// upstream is Proofpoint.
type upstream interface {
	SIEM(ctx context.Context, e feed.Endpoint, w window.Window, visit func(proofpoint.Record) error) (proofpoint.Response, error)
	List(ctx context.Context, q proofpoint.Question, visit func(proofpoint.Record) error) ([]byte, proofpoint.Response, error)
	One(ctx context.Context, q proofpoint.Question) ([]byte, proofpoint.Response, error)
	Check(ctx context.Context) (proofpoint.Response, error)
	Close()
}

// Deps are what the fetcher takes from its surroundings.
type Deps struct {
	Bus     transport
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Health  *telemetry.Health
	Now     func() time.Time // nil means time.Now
}

// Fetcher reads windows for one tenant.
type Fetcher struct {
	cfg     Config
	bus     transport
	api     upstream
	log     *slog.Logger
	metrics *metrics
	health  *telemetry.Health
	now     func() time.Time
	polite  *rate.Limiter // of calls without a limit

	scale    func(time.Duration) time.Duration // of waits after failures
	breakers *pace.Breakers
	ladder   *ladder.Ladder
	doubts   *doubts
	clock    clock.Clock
	lag      clock.Lag
	raw      backpressure
	stopping <-chan struct{} // closed when Run is to end

	registry prometheus.Registerer

	// Set by open, before anything runs.
	seen     *bus.Bucket
	prefetch seen.Prefetch
	state    *bus.Bucket
	shapes   *shapes
	quota    *quota.Limiter
	known    *known.Memory
	ledger   *ledger.Ledger
	alarms   *alarm.Board
}

// New makes a fetcher. It does nothing before Run.
func New(cfg Config, deps Deps) (*Fetcher, error) {
	deps.Health.NotReady(Flow.Stage, "starting")
	if deps.Now == nil {
		deps.Now = time.Now
	}
	client := cfg.API.client()
	client.Now = deps.Now
	api, err := proofpoint.New(client)
	if err != nil {
		return nil, fmt.Errorf("fetcher: %w", err)
	}
	return &Fetcher{
		cfg: cfg, bus: deps.Bus, api: api, log: deps.Log, metrics: newMetrics(deps.Metrics), health: deps.Health,
		now: deps.Now, scale: step.Wait, breakers: pace.NewBreakers(time.Now, step.Wait), ladder: ladder.New(deps.Now), doubts: newDoubts(),
		polite: rate.NewLimiter(rate.Limit(cfg.Expand.Rate), cfg.Expand.Calls), registry: deps.Metrics,
	}, nil
}

// Run works until ctx ends, then finishes what is in hand. An error means that
// the bus is not set up, or that Proofpoint refuses the credential.
func (f *Fetcher) Run(ctx context.Context) error {
	f.stopping = ctx.Done()
	if err := errors.Join(f.open(ctx), ctx.Err()); err != nil {
		return lifecycle.Stopped(ctx, err)
	}
	if err := f.rebuildSeen(ctx); err != nil {
		return lifecycle.Stopped(ctx, err)
	}
	if err := f.check(ctx); err != nil {
		return lifecycle.Stopped(ctx, err)
	}
	f.health.OK(Flow.Stage)
	defer f.api.Close()
	group, ctx := errgroup.WithContext(ctx)
	for _, lane := range lanes {
		group.Go(func() error { return f.bus.Consume(ctx, f.consumption(lane.consumer), f.handle) })
	}
	group.Go(func() error { return f.watchLanes(ctx) })
	group.Go(func() error { return f.watchTroubles(ctx) })
	for _, call := range []feed.Call{feed.CallThreatForensics, feed.CallCampaignForensics} {
		group.Go(func() error { return f.drain(ctx, call) })
	}
	return group.Wait()
}

func (f *Fetcher) consumption(consumer bus.Consumer) bus.Consumption {
	return bus.Consumption{
		Stage: Flow.Stage, Tenant: f.cfg.Tenant.Name, Consumer: consumer, Workers: f.cfg.Workers,
		Grace: f.cfg.API.Timeout / 2, Log: f.log,
		Turn: func() { f.health.Turn(Flow.Stage+" "+consumer.Name, time.Minute) },
	}
}

func (f *Fetcher) open(ctx context.Context) error {
	var problems []error
	bucket := func(name string) *bus.Bucket {
		b, err := f.bus.Bucket(ctx, name)
		problems = append(problems, err)
		return b
	}
	f.seen = bucket(bus.BucketSeen)
	f.ledger = ledger.New(bucket(bus.BucketLedger))
	f.quota = quota.NewLimiter(bucket(bus.BucketQuota), f.cfg.Tenant.Name, f.cfg.Quota, func() time.Time { return f.clock.Earliest(f.now()) }).RebuildFrom(f.ledger)
	f.known = known.Open(bucket(bus.BucketKnown), f.cfg.Tenant.Name, f.cfg.Known, f.now)
	f.state = bucket(bus.BucketState)
	f.shapes = newShapes(f.state, f.cfg.Tenant.Name, f.lostShapes)
	f.alarms = alarm.New(f.state, f.cfg.Tenant.Name, Flow.Stage, f.log, alarm.Gauge(f.registry))
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("fetcher: %w", err)
	}
	return nil
}

// check proves the credential at an endpoint without a limit, so that a wrong one ends
// the program at once. An API that cannot be reached is no reason to end: it may be
// an outage, and the jobs wait.
func (f *Fetcher) check(ctx context.Context) error {
	if err := f.quota.Reserve(ctx, feed.PoolNone); err != nil {
		f.log.Warn("cannot count a call", slog.Any("error", err))
	}
	_, err := f.api.Check(ctx)
	var api *proofpoint.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api) && api.Kind == proofpoint.BadCredentials:
		return &config.ProblemError{
			Variable: "TAP_PRINCIPAL", Value: f.cfg.API.Principal, ID: api.Kind.DevoID(),
			Reason: "Proofpoint refuses this principal with TAP_SECRET (status 401): create or renew the credential in the TAP dashboard under Settings, Connected Applications",
		}
	}
	f.log.Warn("cannot check the credential; retrying", slog.Any("error", err))
	return nil
}
