// Command fetcher reads windows from Proofpoint TAP; see package fetcher.
package main

import (
	"context"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/heartbeat"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/telemetry/otlp"
	"github.com/tapline/tapline/services/fetcher"
)

type config struct {
	Fetcher   fetcher.Config
	Bus       bus.Config
	Telemetry telemetry.Config
}

func main() {
	program.Main(program.Program[config]{
		Name:      "fetcher",
		Summary:   "reads windows from Proofpoint TAP and stores what it says",
		Telemetry: func(c config) telemetry.Config { return c.Telemetry },
		Traces:    otlp.Traces,
		Run: func(ctx context.Context, c config, rt program.Runtime) error {
			conn, err := bus.Connect(ctx, c.Bus, "fetcher", rt.Log)
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.Trace(rt.Traces)
			conn.OnState(rt.Health.Connection("nats"))
			conn.OnWrites(rt.Health.Writes)
			f, err := fetcher.New(c.Fetcher, fetcher.Deps{Bus: conn, Log: rt.Log, Metrics: rt.Metrics, Health: rt.Health, Now: step.Clock()})
			if err != nil {
				return err
			}
			defer heartbeat.Start(ctx, conn, rt, heartbeat.Fetcher(c.Fetcher.Tenant.Name))()
			return f.Run(ctx)
		},
	})
}
