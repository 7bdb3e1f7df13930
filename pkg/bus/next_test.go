package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestEveryMessageIsAskedFor: the client library forgets to ask for the next message when the last one came faster than its own
// bookkeeping, and would notice only when heartbeats are missing, 30 seconds later.
func TestEveryMessageIsAskedFor(t *testing.T) {
	t.Parallel()
	const messages = 6_000
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

// TestAKilledServer: a server that is killed takes with it what it was about to answer. A client that is connected
// to another server of the cluster is not told, and gets all of its messages all the same.
func TestAKilledServer(t *testing.T) {
	t.Parallel()
	const messages = 2 * 999
	k := bustest.StartKillable(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, errors.New("the test's patience ended"))
	defer cancel()
	for i := range messages / 999 {
		if _, err := k.Bus.PublishWindow(ctx, bus.Window{Tenant: "main", JobID: fmt.Sprintf("main/all/20260311T080000Z/20260311T090000Z/live/%d", i), Batches: batches(999), Marker: []byte("account")}); err != nil {
			t.Fatal(err)
		}
	}
	k.Lead(t, bus.ConsumerEnricher, 1)
	sub, err := k.Bus.Subscribe(ctx, bus.ConsumerEnricher, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	seen := make(map[string]bool)
	var killing sync.WaitGroup
	defer killing.Wait()
	kill := sync.OnceFunc(func() { killing.Go(func() { k.Kill(t, 1) }) })
	for len(seen) < messages {
		if len(seen) == messages/2 {
			kill()
		}
		brief, cancel := context.WithTimeout(ctx, 2*time.Second) // as the stages wait
		d, err := sub.Next(brief)
		cancel()
		switch {
		case err == nil:
			seen[d.Source()] = true
			_ = d.Ack() // what is lost with the server comes once more
		case ctx.Err() != nil:
			t.Fatalf("%d of %d messages came: %v", len(seen), messages, context.Cause(ctx))
		}
	}
}
