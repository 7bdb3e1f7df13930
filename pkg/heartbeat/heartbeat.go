package heartbeat

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/telemetry"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	// Every is the time between two heartbeats.
	Every = 30 * time.Second
	// Silence is how long a stage may give no sign of life.
	Silence = 2 * time.Minute
	// kept is how long the last heartbeat of a program stays.
	kept = 24 * time.Hour
	// holds is longer than the time between two looks, so that an alarm does not flicker.
	holds        = 3 * time.Minute
	writeTimeout = 5 * time.Second
	// retryAfter is the time to the next attempt while the bus cannot be written.
	retryAfter = 5 * time.Second
	// part is what a heartbeat that cannot be written makes not ready.
	part = "heartbeat"
)

// Stages are the programs that should run, in flow order.
func Stages() []string { return []string{"scheduler", "fetcher", "enricher", "shipper"} }

// Stage is one stage of this process.
type Stage struct {
	Tenant, Name string
	Watches      []string // stages whose silence it reports
}

// Scheduler is the stage that plans. It watches the others.
func Scheduler(tenant string) Stage {
	return Stage{Tenant: tenant, Name: "scheduler", Watches: []string{"fetcher", "enricher", "shipper"}}
}

// Fetcher is the stage that calls Proofpoint.
func Fetcher(tenant string) Stage { return Stage{Tenant: tenant, Name: "fetcher"} }

// Enricher is the stage that makes rows.
func Enricher(tenant string) Stage { return Stage{Tenant: tenant, Name: "enricher"} }

// Shipper is the stage that delivers rows. It alone watches the scheduler.
func Shipper(tenant string) Stage {
	return Stage{Tenant: tenant, Name: "shipper", Watches: []string{"scheduler"}}
}

// opener opens buckets.
type opener interface {
	Bucket(ctx context.Context, name string) (*bus.Bucket, error)
}

// keeper writes the heartbeat of one stage.
type keeper struct {
	stage  Stage
	open   opener
	log    *slog.Logger
	health *telemetry.Health
	beat   *taplinev1.Heartbeat // what does not change
	state  *bus.Bucket          // nil until it is open
	watch  *Watch               // nil for a stage that watches no other
	gauge  prometheus.Registerer
	failed bool
}

// Start keeps heartbeats of the stages of this process until the function that it returns is
// called; that one writes the last.
func Start(ctx context.Context, open opener, rt program.Runtime, stages ...Stage) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it beats while the process ends its work
	var running sync.WaitGroup
	for _, s := range stages {
		now := time.Now()
		k := &keeper{
			stage: s, open: open, log: rt.Log, health: rt.Health, gauge: rt.Metrics,
			beat: &taplinev1.Heartbeat{Stage: s.Name, Instance: instance(), Version: program.Version(), StartedAt: timestamppb.New(now)},
		}
		running.Go(func() { k.run(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// instance names a process of a host. In a container it stays the same over restarts.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	host = strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, host)
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}

func (k *keeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := Every
		err := k.write(ctx, false)
		if err == nil && k.watch != nil {
			err = k.watch.Look(ctx, time.Now())
		}
		if err == nil && k.stage.Name == "scheduler" { // the only one that may
			err = forget(ctx, k.state, k.stage.Tenant, time.Now())
		}
		if err != nil {
			wait = retryAfter
		}
		k.report(ctx, err)
		next := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-next.C:
		}
		next.Stop()
	}
	k.health.OK(part)
	_ = k.write(context.WithoutCancel(ctx), true) // without it the silence is noticed all the same
}

// report makes the process unready while heartbeats cannot be written.
func (k *keeper) report(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil:
		k.health.NotReady(part, "the bus cannot be written: "+err.Error())
		if !k.failed {
			k.log.Error("heartbeat cannot be written; retrying", slog.String("stage", k.stage.Name), slog.Any("error", err))
		}
	default:
		k.health.OK(part)
		if k.failed {
			k.log.Info("heartbeat is written again", slog.String("stage", k.stage.Name))
		}
	}
	k.failed = err != nil
}

// connect opens STATE at the first write that can.
func (k *keeper) connect(ctx context.Context) error {
	if k.state != nil {
		return nil
	}
	state, err := k.open.Bucket(ctx, bus.BucketState)
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	k.state = state
	if len(k.stage.Watches) > 0 {
		k.watch = &Watch{
			Tenant: k.stage.Tenant, Stages: k.stage.Watches, Since: k.beat.GetStartedAt().AsTime(), State: state,
			Alarms: alarm.New(state, k.stage.Tenant, k.stage.Name, k.log, alarm.Gauge(k.gauge)),
		}
	}
	return nil
}

// write stores one heartbeat.
func (k *keeper) write(ctx context.Context, ended bool) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := k.connect(ctx); err != nil {
		return err
	}
	beat := proto.CloneOf(k.beat)
	report := k.health.Report()
	beat.At, beat.Ended = timestamppb.Now(), ended
	beat.Alive, beat.Ready, beat.Troubles = report.Alive, report.Ready, make(map[string]string)
	maps.Copy(beat.Troubles, report.Degraded)
	maps.Copy(beat.Troubles, report.NotReady)
	for loop, silent := range report.Stuck {
		beat.Troubles[loop] = "stuck for " + silent
	}
	data, err := proto.Marshal(beat)
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	if err := k.state.Put(ctx, key(k.stage.Tenant, k.stage.Name, beat.GetInstance()), data); err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	return nil
}

func key(tenant, stage, instance string) string {
	return "heartbeat." + tenant + "." + stage + "." + instance
}
