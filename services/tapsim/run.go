package tapsim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/telemetry"
)

// ProgramConfig is the configuration of the program.
type ProgramConfig struct {
	Addr      string `env:"TAPSIM_ADDR" envDefault:"127.0.0.1:8081" usage:"address of the simulated API, plain http"`
	Faults    string `env:"TAPSIM_FAULTS" usage:"faults from the start, a list in JSON as /_sim/faults takes each"`
	Sim       Config
	Telemetry telemetry.Config
}

const name = "tapsim"

// Run serves a simulator until ctx ends.
func Run(ctx context.Context, c ProgramConfig, rt program.Runtime) error {
	sim, err := New(c.Sim)
	if err != nil {
		return err
	}
	faults, err := ReadFaults(c.Faults)
	if err != nil {
		return &config.ProblemError{Variable: "TAPSIM_FAULTS", Value: c.Faults, Reason: err.Error()}
	}
	for _, f := range faults {
		if err := sim.Inject(f); err != nil {
			return err
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return &config.ProblemError{Variable: "TAPSIM_ADDR", Value: c.Addr, Reason: "cannot listen: " + err.Error()}
	}
	rt.Health.OK(name)
	rt.Log.Info("simulating Proofpoint TAP", slog.String("url", "http://"+ln.Addr().String()))
	return Serve(ctx, ln, sim)
}

// Serve answers on a listener until ctx ends, then closes it. The handler is a [Sim], or one around
// it.
func Serve(ctx context.Context, ln net.Listener, sim http.Handler) error {
	server := telemetry.NewServer(sim)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(telemetry.Bounded(ln, telemetry.MaxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the simulator: %w", err)
	}
	return nil
}
