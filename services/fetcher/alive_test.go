package fetcher_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/fetcher"
)

// longCalls is a bus with two forensics jobs whose calls take three minutes each.
type longCalls struct {
	*bus.Bus
	left *atomic.Int32
}

func (l longCalls) Take(_ context.Context, c bus.Consumption, _ bus.Handler) (bool, error) {
	if l.left.Add(-1) < 0 {
		return false, nil
	}
	for range 36 {
		<-time.After(5 * time.Second) // the time of a bubble
		c.Turn()
	}
	return true, nil
}

// TestNothingToDoIsNoStandstill: no job for an hour, Proofpoint away, and calls that take minutes
// before that.
func TestNothingToDoIsNoStandstill(t *testing.T) {
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
		var c fetcher.Config
		if err := config.Load(&c, []string{"TAP_URL=http://127.0.0.1:1", "TAP_INSECURE_HTTP=true", "TAP_PRINCIPAL=demo", "TAP_SECRET=demo", "FETCHER_WORKERS=1"}); err != nil {
			t.Fatal(err)
		}
		health, left := telemetry.NewHealth(), &atomic.Int32{}
		left.Store(2)
		f, err := fetcher.New(c, fetcher.Deps{
			Bus: longCalls{b, left}, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Health: health,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		minutes := 60
		if testing.Short() {
			minutes = 15
		}
		for range minutes {
			<-time.After(time.Minute)
			if r := health.Report(); !r.Alive {
				t.Errorf("not alive: %v", r.Stuck)
				break
			}
		}
		if left.Load() >= 0 {
			t.Error("the long calls were not made")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
