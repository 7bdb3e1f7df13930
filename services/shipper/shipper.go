package shipper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/lifecycle"
	"github.com/tapline/tapline/pkg/telemetry"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/shipper/internal/canary"
)

// Flow is this stage's place in the chain.
var Flow = bus.Flow{Stage: "shipper", Consumes: bus.StreamEvents, Emits: bus.FlowSink}

// transport is what the shipper needs of the bus.
type transport interface {
	Subscribe(ctx context.Context, c bus.Consumer, prefetch int) (*bus.Subscription, error)
	Bucket(ctx context.Context, name string) (*bus.Bucket, error)
	PublishDead(ctx context.Context, letter *taplinev1.DeadLetter, id string) error
	Backlog(ctx context.Context, c bus.Consumer) (bus.Backlog, error)
}

// conn is one connection to a sink. Send and Confirm may run at the same time,
// each in one goroutine; Wait and Close may be called by any.
type conn interface {
	// Send writes the rows of a batch. After nil they are under way; after an error the
	// connection is finished.
	Send(e *batch.Events) error
	// Confirm waits until more of the batches sent are confirmed, and says how
	// many. It is called only while some are not. With an error the connection is finished;
	// batches counted beside an error are confirmed all the same.
	Confirm(ctx context.Context) (int, error)
	// Wait returns why the connection is finished, or nil when ctx has ended.
	Wait(ctx context.Context) error
	// Close finishes the connection. It may be called again.
	Close()
}

// opener opens connections to the sink. It may block until ctx ends.
type opener func(ctx context.Context) (conn, error)

// Deps are what the shipper takes from its surroundings.
type Deps struct {
	Bus     transport
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Health  *telemetry.Health
	Stdout  io.Writer        // for the sink stdout
	Now     func() time.Time // the clock that pull times come from; nil means time.Now
}

// Shipper delivers events.
type Shipper struct {
	cfg     Config
	bus     transport
	log     *slog.Logger
	metrics *metrics
	health  *telemetry.Health
	now     func() time.Time
	stdout  io.Writer
	sink    sink // where everything goes that the enricher makes
	outage  *outage
	place   place
	doubted doubted

	registry prometheus.Registerer
	ledger   *ledger.Ledger // set by Run, before anything else, as are the alarms
	alarms   *alarm.Board
	canary   *canary.Canary // nil unless it is on
}

// New checks the configuration, certificates included, and opens a file.
func New(cfg Config, deps Deps) (*Shipper, error) {
	deps.Health.NotReady(Flow.Stage, "starting")
	if deps.Now == nil {
		deps.Now = time.Now
	}
	s := &Shipper{
		cfg: cfg, bus: deps.Bus, log: deps.Log, health: deps.Health, now: deps.Now, registry: deps.Metrics,
		stdout: deps.Stdout, doubted: doubted{after: blamedAfter, pause: firstReturn},
	}
	var err error
	if s.sink, err = newSink(cfg, deps.Stdout); err != nil {
		return nil, err
	}
	if warning := cfg.Devo.Warning(); cfg.Sink == SinkDevo && warning != "" {
		s.log.Warn("a protection is switched off", slog.String("what", warning))
	}
	s.metrics = newMetrics(deps.Metrics)
	s.outage = &outage{log: s.log, health: s.health, up: s.metrics.up}
	s.metrics.up.Set(1)
	return s, nil
}

// Run delivers until ctx ends, then waits a while for what is in flight. An
// error means that the bus is not set up, or that the sink cannot be closed.
func (s *Shipper) Run(ctx context.Context) error {
	pages, err := s.bus.Bucket(ctx, bus.BucketLedger)
	if err != nil {
		return errors.Join(lifecycle.Stopped(ctx, fmt.Errorf("shipper: %w", err)), s.sink.close())
	}
	state, err := s.bus.Bucket(ctx, bus.BucketState)
	if err != nil {
		return errors.Join(lifecycle.Stopped(ctx, fmt.Errorf("shipper: %w", err)), s.sink.close())
	}
	orders, err := s.bus.Bucket(ctx, bus.BucketReplay)
	if err != nil {
		return errors.Join(lifecycle.Stopped(ctx, fmt.Errorf("shipper: %w", err)), s.sink.close())
	}
	s.ledger = ledger.New(pages)
	s.alarms = alarm.New(state, s.cfg.Tenant.Name, Flow.Stage, s.log, alarm.Gauge(s.registry))
	s.outage.alarms = s.alarms
	if err := s.startCanary(); err != nil {
		return errors.Join(err, s.sink.close())
	}
	// Fail now, and not in every worker for ever, if there is no such consumer.
	sub, err := s.bus.Subscribe(ctx, bus.ConsumerShipper, 1)
	if err != nil {
		return errors.Join(lifecycle.Stopped(ctx, fmt.Errorf("shipper: %w", err)), s.sink.close())
	}
	sub.Stop()
	s.begin(ctx)
	s.health.OK(Flow.Stage)
	ackWait := sub.AckWait()
	var wg sync.WaitGroup
	for i := range s.cfg.Connections {
		wg.Go(func() { newWorker(s, s.live(), fmt.Sprintf("lane %d", i), ackWait).run(ctx) })
	}
	if s.canary != nil {
		wg.Go(func() { s.canary.Run(ctx) })
	}
	wg.Go(func() { s.replays(orders).Run(ctx) })
	if s.sink.expiry != nil {
		wg.Go(func() { s.watchCertificate(ctx) })
	}
	wg.Wait()
	if err := s.sink.close(); err != nil {
		return fmt.Errorf("shipper: %w", err)
	}
	return nil
}
