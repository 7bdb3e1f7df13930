// Command enricher makes rows for Devo tables out of records; see package enricher.
package main

import (
	"context"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/heartbeat"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/telemetry/otlp"
	"github.com/tapline/tapline/services/enricher"
)

type config struct {
	Enricher  enricher.Config
	Bus       bus.Config
	Telemetry telemetry.Config
}

func main() {
	program.Main(program.Program[config]{
		Name:      "enricher",
		Summary:   "makes rows for Devo tables out of Proofpoint records",
		Telemetry: func(c config) telemetry.Config { return c.Telemetry },
		Traces:    otlp.Traces,
		Run: func(ctx context.Context, c config, rt program.Runtime) error {
			conn, err := bus.Connect(ctx, c.Bus, "enricher", rt.Log)
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.Trace(rt.Traces)
			conn.OnState(rt.Health.Connection("nats"))
			conn.OnWrites(rt.Health.Writes)
			defer heartbeat.Start(ctx, conn, rt, heartbeat.Enricher(c.Enricher.Tenant.Name))()
			return enricher.New(c.Enricher, enricher.Deps{Bus: conn, Log: rt.Log, Metrics: rt.Metrics, Health: rt.Health, Now: step.Clock()}).Run(ctx)
		},
	})
}
