// Command shipper delivers events to Devo, a file or standard output; see
// package shipper.
package main

import (
	"context"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/heartbeat"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/telemetry/otlp"
	"github.com/tapline/tapline/services/shipper"
)

type config struct {
	Shipper   shipper.Config
	Bus       bus.Config
	Telemetry telemetry.Config
}

func main() {
	program.Main(program.Program[config]{
		Name:      "shipper",
		Summary:   "delivers events to Devo, a file or standard output, and proves it",
		Telemetry: func(c config) telemetry.Config { return c.Telemetry },
		Traces:    otlp.Traces,
		Run: func(ctx context.Context, c config, rt program.Runtime) error {
			conn, err := bus.Connect(ctx, c.Bus, "shipper", rt.Log)
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.Trace(rt.Traces)
			conn.OnState(rt.Health.Connection("nats"))
			conn.OnWrites(rt.Health.Writes)
			s, err := shipper.New(c.Shipper, shipper.Deps{
				Bus: conn, Log: rt.Log, Metrics: rt.Metrics, Health: rt.Health, Stdout: rt.Stdout, Now: step.Clock(),
			})
			if err != nil {
				return err
			}
			defer heartbeat.Start(ctx, conn, rt, heartbeat.Shipper(c.Shipper.Tenant.Name))()
			return s.Run(ctx)
		},
	})
}
