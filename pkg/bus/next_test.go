package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestEveryMessageIsAskedFor: the client library forgets to ask for the next message when the last one came faster than its own
// bookkeeping, and would notice only when heartbeats are missing, 30 seconds later.
func TestEveryMessageIsAskedFor(t *testing.T) {
	t.Parallel()
	const messages = 20_000
	b := bustest.Start(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 25*time.Second, errors.New("the test's patience ended"))
	defer cancel()
	for i := range messages {
		if i%1000 != 0 {
			continue
		}
		if _, err := b.PublishWindow(ctx, bus.Window{Tenant: "main", JobID: fmt.Sprintf("main/all/20260311T080000Z/20260311T090000Z/live/%d", i), Batches: batches(999), Marker: []byte("account")}); err != nil {
			t.Fatal(err)
		}
	}
	sub, err := b.Subscribe(ctx, bus.ConsumerEnricher, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	for i := range messages / 1000 * 999 {
		d, err := sub.Next(ctx)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
	}
}
