package tapline_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/tapline"
)

// TestStoppedWhileItStarts: a stop is not a failure, however early it comes.
func TestStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	var c tapline.Config
	if err := config.Load(&c, good(t, "http://127.0.0.1:1")); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	rt := program.Runtime{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Health: telemetry.NewHealth(), Stdout: io.Discard}
	if err := tapline.Run(ctx, c, rt, time.Now); err != nil {
		t.Errorf("stopped at once: %v", err)
	}
}
