package e2e_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/fetcher"
	"github.com/tapline/tapline/services/scheduler"
	"github.com/tapline/tapline/services/tapsim"
)

// beside runs part of a pipeline with a connection of its own until the test ends.
func beside(t *testing.T, address string, run func(context.Context, *bus.Bus) error) {
	t.Helper()
	var b *bus.Bus
	poll(t, "the bus", func() (ok bool) {
		var err error
		b, err = bus.Connect(t.Context(), bus.Config{URL: "nats://" + address}, "replica", slog.New(slog.DiscardHandler))
		if err != nil {
			return false
		}
		if _, err = b.Backlog(t.Context(), bus.ConsumerShipper); err != nil { // not set up yet
			b.Close()
			return false
		}
		return true
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- run(ctx, b) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		b.Close()
	})
}

// TestReplicas: two schedulers and three fetchers deliver what one of each does.
func TestReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) { c.Rate, c.Factor, c.Age = 1, 120, 3*time.Hour })
	address := freeAddress(t)
	w.run(t, "NATS_LISTEN="+address)
	quiet := slog.New(slog.DiscardHandler)
	beside(t, address, func(ctx context.Context, b *bus.Bus) error {
		var c scheduler.Config
		if err := config.Load(&c, w.environ()); err != nil {
			return err
		}
		s, err := scheduler.New(c, scheduler.Deps{Bus: b, Log: quiet, Metrics: prometheus.NewRegistry(), Now: w.sim.Now})
		if err != nil {
			return err
		}
		return s.Run(ctx)
	})
	for range 2 {
		beside(t, address, func(ctx context.Context, b *bus.Bus) error {
			var c fetcher.Config
			if err := config.Load(&c, w.environ()); err != nil {
				return err
			}
			f, err := fetcher.New(c, fetcher.Deps{Bus: b, Log: quiet, Metrics: prometheus.NewRegistry(), Now: w.sim.Now})
			if err != nil {
				return err
			}
			return f.Run(ctx)
		})
	}
	w.complete(t, w.sim.Now().Add(20*time.Minute))
	for key, d := range w.delivered(t) {
		if d.rows != 1 {
			t.Errorf("%s has %d rows", key, d.rows)
		}
	}
	for pool, q := range w.sim.Status().Quota {
		if q.Refused != 0 {
			t.Errorf("pool %s: %d calls were refused", pool, q.Refused)
		}
	}
}
