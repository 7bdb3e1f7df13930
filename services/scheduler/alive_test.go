package scheduler_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/telemetry"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/scheduler"
)

// mute is a bus that stores no job and lets the caller wait for that.
type mute struct{ *bus.Bus }

func (mute) PublishJob(ctx context.Context, _ *taplinev1.Job) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Second):
		return context.DeadlineExceeded
	}
}

// TestABusThatStoresNothingIsNoStandstill: many jobs that cannot be published, each after a while,
// are one long look at the plan. A restart does not make it shorter.
func TestABusThatStoresNothingIsNoStandstill(t *testing.T) {
	t.Parallel()
	bustest.Bubble(t, func(t *testing.T, b *bus.Bus) {
		t.Helper()
		for _, seed := range quota.Seeds("main") {
			bucket, err := b.Bucket(t.Context(), seed.Bucket)
			if err != nil {
				t.Fatal(err)
			}
			if err := bucket.Put(t.Context(), seed.Key, seed.Value); err != nil {
				t.Fatal(err)
			}
		}
		var c scheduler.Config
		if err := config.Load(&c, []string{"TAP_START_TIME=6d"}); err != nil {
			t.Fatal(err)
		}
		health := telemetry.NewHealth()
		s, err := scheduler.New(c, scheduler.Deps{
			Bus: mute{b}, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Health: health,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for range 4 * 60 {
			<-time.After(5 * time.Second) // the time of a bubble
			if r := health.Report(); !r.Alive {
				t.Errorf("not alive: %v", r.Stuck)
				break
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
