package tapline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/heartbeat"
	"github.com/tapline/tapline/pkg/lifecycle"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/services/enricher"
	"github.com/tapline/tapline/services/fetcher"
	"github.com/tapline/tapline/services/scheduler"
	"github.com/tapline/tapline/services/shipper"
)

const name = "tapline"

// Run runs everything until ctx ends. now is the clock that windows, calls and
// quota go by; nil means time.Now.
func Run(ctx context.Context, c Config, rt program.Runtime, now func() time.Time) error {
	c.Fetcher.SpoolDir = c.spoolDir()
	// The sink's certificates and a start time in the future show before anything starts.
	conn := &late{}
	parts, err := stages(c, rt, now, conn)
	if err != nil {
		return err
	}
	server, err := embedded.Start(embedded.Options{Dir: c.natsDir(), Listen: c.Listen, Keys: c.Keys, Log: rt.Log})
	if err != nil {
		return err
	}
	defer server.Stop()
	if conn.Bus, err = server.Connect(name); err != nil {
		return err
	}
	defer conn.Close()
	conn.Trace(rt.Traces)
	conn.OnWrites(rt.Health.Writes)
	if err := conn.Setup(ctx, c.Limits, quota.Seeds(c.Fetcher.Tenant.Name)); err != nil {
		return lifecycle.Stopped(ctx, fmt.Errorf("set up the streams in %s: %w", c.natsDir(), err))
	}
	tenant := c.Fetcher.Tenant.Name
	defer heartbeat.Start(ctx, conn, rt, heartbeat.Scheduler(tenant), heartbeat.Fetcher(tenant), heartbeat.Enricher(tenant), heartbeat.Shipper(tenant))()
	state, err := conn.Bucket(ctx, bus.BucketState)
	if err != nil {
		return lifecycle.Stopped(ctx, fmt.Errorf("look at the streams in %s: %w", c.natsDir(), err))
	}
	defer watchDisk(ctx, &disk{dir: c.natsDir(), streams: conn, healthy: server.Healthy}, tenant, state, rt)()
	rt.Health.OK(name) // from here on readiness is the stages' to tell
	return lifecycle.Run(ctx, parts...)
}

// late is the connection that stages are made with before there is a server.
type late struct{ *bus.Bus }

// stages makes the four stages, in the order they start.
func stages(c Config, rt program.Runtime, now func() time.Time, conn *late) ([]lifecycle.Part, error) {
	var problems []error
	ship, err := shipper.New(c.Shipper, shipper.Deps{
		Bus: conn, Log: rt.Log, Metrics: rt.Metrics, Health: rt.Health, Stdout: rt.Stdout, Now: now,
	})
	problems = append(problems, err)
	enrich := enricher.New(c.Enricher, enricher.Deps{Bus: conn, Log: rt.Log, Metrics: rt.Metrics, Health: rt.Health, Now: now})
	fetch, err := fetcher.New(c.Fetcher, fetcher.Deps{Bus: conn, Log: rt.Log, Metrics: rt.Metrics, Health: rt.Health, Now: now})
	problems = append(problems, err)
	schedule, err := scheduler.New(c.Scheduler, scheduler.Deps{Bus: conn, Log: rt.Log, Metrics: rt.Metrics, Health: rt.Health, Now: now})
	problems = append(problems, err)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return []lifecycle.Part{
		{Name: shipper.Flow.Stage, Run: ship.Run},
		{Name: enricher.Flow.Stage, Run: enrich.Run},
		{Name: fetcher.Flow.Stage, Run: fetch.Run},
		{Name: scheduler.Flow.Stage, Run: schedule.Run},
	}, nil
}
