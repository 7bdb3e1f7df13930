package bus_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestAWorkerTurns at least once a minute: while it waits for hours, and while one message takes
// minutes, however patient the server is with it.
func TestAWorkerTurns(t *testing.T) {
	t.Parallel()
	bustest.Bubble(t, func(t *testing.T, b *bus.Bus) {
		t.Helper()
		patient := bustest.Limits
		patient.AckWait = 10 * time.Minute
		if err := b.Setup(t.Context(), patient, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := b.PublishEvents(t.Context(), []byte("rows"), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: "1"}); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		last, longest := time.Now(), time.Duration(0)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		handled := 0
		go func() {
			done <- b.Consume(ctx, bus.Consumption{
				Stage: "test", Tenant: "main", Consumer: bus.ConsumerShipper, Log: slog.New(slog.DiscardHandler),
				Turn: func() {
					mu.Lock()
					defer mu.Unlock()
					last, longest = time.Now(), max(longest, time.Since(last))
				},
			}, func(context.Context, *bus.Delivery) error {
				<-time.After(9 * time.Minute) // the time of a bubble
				handled++
				return nil
			})
		}()
		<-time.After(2 * time.Hour)
		stop()
		if err := <-done; err != nil || handled != 1 {
			t.Errorf("%d messages, %v", handled, err)
		}
		if longest = max(longest, time.Since(last)); longest > time.Minute {
			t.Errorf("the worker shows no sign of life for %s", longest)
		}
	})
}
