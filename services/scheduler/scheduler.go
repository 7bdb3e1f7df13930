package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/lifecycle"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/telemetry"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Flow is this stage's place in the chain.
var Flow = bus.Flow{Stage: "scheduler", Consumes: bus.FlowLedger, Emits: bus.StreamJobs}

// transport is what the scheduler needs of the bus.
type transport interface {
	PublishJob(ctx context.Context, job *taplinev1.Job) error
	Bucket(ctx context.Context, name string) (*bus.Bucket, error)
	streams
}

// Deps are what the scheduler takes from its surroundings.
type Deps struct {
	Bus     transport
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Health  *telemetry.Health
	Now     func() time.Time // nil means time.Now
}

// Scheduler plans the windows of one tenant.
type Scheduler struct {
	cfg     Config
	bus     transport
	log     *slog.Logger
	metrics *metrics
	health  *telemetry.Health
	now     func() time.Time

	registry prometheus.Registerer

	// The rest belongs to the goroutine of Run.
	state        *bus.Bucket
	ledger       *ledger.Ledger
	quota        *quota.Limiter
	alarms       *alarm.Board
	audit        audit
	plans        []*planning
	lists        []*listing
	backpressure backpressure
	bounds       bounds
	deadLetters  deadLetters
	orders       orders
	start        time.Time // where collection begins, at the first start
	ready        bool      // what is in STATE is in line with the configuration
}

// New checks what can be checked without the bus. A start time in the future is
// an error here.
func New(cfg Config, deps Deps) (*Scheduler, error) {
	deps.Health.NotReady(Flow.Stage, "starting")
	if deps.Now == nil {
		deps.Now = time.Now
	}
	start, err := cfg.Start.Instant(deps.Now())
	if err != nil {
		return nil, err
	}
	s := &Scheduler{
		start: start, cfg: cfg, bus: deps.Bus, log: deps.Log, metrics: newMetrics(deps.Metrics), health: deps.Health, now: deps.Now, registry: deps.Metrics,
	}
	for _, set := range feed.Cover(cfg.Feeds.Names) {
		s.plans = append(s.plans, &planning{
			cfg: plan.Config{
				Tenant: cfg.Tenant.Name, Set: set, Start: start, Poll: cfg.Poll, Settings: cfg.Settings,
			},
			pool:      set.Endpoint().Pool,
			key:       plan.Key(cfg.Tenant.Name, set),
			published: make(map[string]time.Time),
		})
	}
	s.lists = cfg.listings(start)
	return s, nil
}

// Run plans until ctx ends. An error means that the bus is not set up, or that the first start
// cannot begin as configured.
func (s *Scheduler) Run(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return lifecycle.Stopped(ctx, err)
	}
	s.health.OK(Flow.Stage)
	ticker := time.NewTicker(s.cfg.Tick)
	defer ticker.Stop()
	failing := false
	for ctx.Err() == nil {
		s.turn()
		err := s.tick(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, config.ErrInvalid):
			return fmt.Errorf("scheduler: %w", err)
		case err != nil && !failing:
			s.log.Warn("cannot plan; retrying", slog.Any("error", err))
			s.health.Degraded("plan", err.Error())
		case err == nil && failing:
			s.log.Info("planning works again")
			s.health.OK("plan")
		}
		failing = err != nil
		s.turn()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	return nil
}

func (s *Scheduler) open(ctx context.Context) error {
	state, err := s.bus.Bucket(ctx, bus.BucketState)
	if err != nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	records, err := s.bus.Bucket(ctx, bus.BucketLedger)
	if err != nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	units, err := s.bus.Bucket(ctx, bus.BucketQuota)
	if err != nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	s.state, s.ledger = state, ledger.New(records)
	s.quota = quota.NewLimiter(units, s.cfg.Tenant.Name, s.cfg.Quota, s.now).RebuildFrom(s.ledger)
	s.alarms = alarm.New(state, s.cfg.Tenant.Name, Flow.Stage, s.log, alarm.Gauge(s.registry))
	return nil
}

// turn shows that planning continues. Each plan and list may wait for a server that does not
// answer.
func (s *Scheduler) turn() { s.health.Turn(Flow.Stage, time.Minute+s.cfg.Tick) }

// tick advances every plan. The plans do not hinder each other.
func (s *Scheduler) tick(ctx context.Context) error {
	if !s.ready {
		if err := s.prepare(ctx); err != nil {
			return err
		}
		s.ready = true
	}
	if err := s.look(ctx); err != nil {
		return err
	}
	if err := s.orders.look(ctx, s.state, s.cfg.Tenant.Name, min(lookEvery, 5*s.cfg.Tick)); err != nil {
		return err
	}
	var problems []error
	for _, p := range s.plans {
		problems = append(problems, s.advance(ctx, p))
		s.turn()
	}
	if !s.backpressure.noLive {
		for _, l := range s.lists {
			problems = append(problems, s.advanceList(ctx, l))
			s.turn()
		}
	}
	problems = append(problems, s.check(ctx))
	s.watchBounds(ctx)
	return errors.Join(problems...)
}
