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
	"github.com/tapline/tapline/services/shipper/internal/devo"
	"github.com/tapline/tapline/services/shipper/internal/devohttp"
	"github.com/tapline/tapline/services/shipper/internal/jsonl"
)

// Flow is this stage's place in the chain.
var Flow = bus.Flow{Stage: "shipper", Consumes: bus.StreamEvents, Emits: bus.FlowSink}

// transport is what the shipper needs of the bus.
type transport interface {
	Subscribe(ctx context.Context, c bus.Consumer, prefetch int) (*bus.Subscription, error)
	Bucket(ctx context.Context, name string) (*bus.Bucket, error)
	PublishDead(ctx context.Context, letter *taplinev1.DeadLetter, id string) error
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
	open    opener
	close   func() error
	expiry  func() (time.Time, error) // of the certificate, if there is one
	outage  *outage

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
		close: func() error { return nil },
	}
	if err := s.choose(deps.Stdout); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(deps.Metrics)
	s.outage = &outage{log: s.log, health: s.health, up: s.metrics.up}
	s.metrics.up.Set(1)
	return s, nil
}

// choose makes the sink.
func (s *Shipper) choose(stdout io.Writer) error {
	switch s.cfg.Sink {
	case SinkDevoHTTP:
		dialer, err := devohttp.NewDialer(s.cfg.HTTP, s.cfg.Devo.Host())
		if err != nil {
			return err
		}
		s.open = func(ctx context.Context) (conn, error) { return dialer.Open(ctx) }
		s.close = dialer.Close
		return nil
	case SinkDevo:
		dialer, err := devo.NewDialer(s.cfg.Devo)
		if err != nil {
			return err
		}
		s.open = func(ctx context.Context) (conn, error) { return dialer.Open(ctx) }
		if s.cfg.Devo.TLS {
			s.expiry = dialer.Expiry
		}
		if warning := s.cfg.Devo.Warning(); warning != "" {
			s.log.Warn("a protection is switched off", slog.String("what", warning))
		}
		return nil
	}
	sink := jsonl.NewStream(stdout)
	if s.cfg.Sink == SinkFile {
		var err error
		if sink, err = jsonl.NewFile(s.cfg.File); err != nil {
			return err
		}
		s.close = sink.Close
	}
	s.open = func(ctx context.Context) (conn, error) { return sink.Open(ctx) }
	return nil
}

// Run delivers until ctx ends, then waits a while for what is in flight. An
// error means that the bus is not set up, or that the sink cannot be closed.
func (s *Shipper) Run(ctx context.Context) error {
	pages, err := s.bus.Bucket(ctx, bus.BucketLedger)
	if err != nil {
		return errors.Join(lifecycle.Stopped(ctx, fmt.Errorf("shipper: %w", err)), s.close())
	}
	state, err := s.bus.Bucket(ctx, bus.BucketState)
	if err != nil {
		return errors.Join(lifecycle.Stopped(ctx, fmt.Errorf("shipper: %w", err)), s.close())
	}
	s.ledger = ledger.New(pages)
	s.alarms = alarm.New(state, s.cfg.Tenant.Name, Flow.Stage, s.log, alarm.Gauge(s.registry))
	s.outage.alarms = s.alarms
	if err := s.startCanary(); err != nil {
		return errors.Join(err, s.close())
	}
	// Fail now, and not in every lane for ever, if there is no such consumer.
	sub, err := s.bus.Subscribe(ctx, bus.ConsumerShipper, 1)
	if err != nil {
		return errors.Join(lifecycle.Stopped(ctx, fmt.Errorf("shipper: %w", err)), s.close())
	}
	sub.Stop()
	s.health.OK(Flow.Stage)
	ackWait := sub.AckWait()
	var wg sync.WaitGroup
	for i := range s.cfg.Connections {
		wg.Go(func() { newLane(s, i, ackWait).run(ctx) })
	}
	if s.canary != nil {
		wg.Go(func() { s.canary.Run(ctx) })
	}
	if s.expiry != nil {
		wg.Go(func() { s.watchCertificate(ctx) })
	}
	wg.Wait()
	if err := s.close(); err != nil {
		return fmt.Errorf("shipper: %w", err)
	}
	return nil
}
