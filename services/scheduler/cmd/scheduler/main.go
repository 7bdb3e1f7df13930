// Command scheduler decides which windows are read and when; see package scheduler.
package main

import (
	"context"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/heartbeat"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/telemetry/otlp"
	"github.com/tapline/tapline/services/scheduler"
)

type config struct {
	Scheduler scheduler.Config
	Bus       bus.Config
	Telemetry telemetry.Config
}

func main() {
	program.Main(program.Program[config]{
		Name:      "scheduler",
		Summary:   "decides which windows of Proofpoint TAP are read and when",
		Telemetry: func(c config) telemetry.Config { return c.Telemetry },
		Traces:    otlp.Traces,
		Run: func(ctx context.Context, c config, rt program.Runtime) error {
			conn, err := bus.Connect(ctx, c.Bus, "scheduler", rt.Log)
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.Trace(rt.Traces)
			conn.OnState(rt.Health.Connection("nats"))
			conn.OnWrites(rt.Health.Writes)
			s, err := scheduler.New(c.Scheduler, scheduler.Deps{Bus: conn, Log: rt.Log, Metrics: rt.Metrics, Health: rt.Health, Now: step.Clock()})
			if err != nil {
				return err
			}
			defer heartbeat.Start(ctx, conn, rt, heartbeat.Scheduler(c.Scheduler.Tenant.Name))()
			return s.Run(ctx)
		},
	})
}
