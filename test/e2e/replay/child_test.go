package replay_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/shipper"
)

// childVariable makes the test binary behave as a shipper.
const childVariable = "TAPLINE_REPLAY_CHILD"

// child is a shipper that only a kill ends.
func child() int {
	var c struct {
		Shipper shipper.Config
		Bus     bus.Config
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx := context.Background()
	if err := config.Load(&c, os.Environ()); err != nil { //nolint:forbidigo // it is the program
		log.Error("configuration", slog.Any("error", err))
		return 2
	}
	b, err := bus.Connect(ctx, c.Bus, "shipper", log)
	if err != nil {
		log.Error("bus", slog.Any("error", err))
		return 1
	}
	s, err := shipper.New(c.Shipper, shipper.Deps{Bus: b, Log: log, Metrics: prometheus.NewRegistry(), Health: telemetry.NewHealth(), Stdout: io.Discard})
	if err != nil {
		log.Error("shipper", slog.Any("error", err))
		return 1
	}
	log.Error("end", slog.Any("error", s.Run(ctx)))
	return 1
}

// killed runs a shipper as a process of its own until work returns, then kills it.
func (p *place) killed(work func()) {
	p.tb.Helper()
	cmd := exec.CommandContext(p.tb.Context(), os.Args[0])
	cmd.Env = []string{childVariable + "=1", "NATS_URL=" + p.url, "SINK=file", "SINK_FILE_PATH=" + p.live(), "GOCOVERDIR=" + p.dir, "PATH=/nonexistent"}
	cmd.Stderr = p.tb.Output()
	if err := cmd.Start(); err != nil {
		p.tb.Fatal(err)
	}
	work()
	if err := cmd.Process.Kill(); err != nil {
		p.tb.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		p.tb.Fatal("the shipper ended by itself")
	}
}
