package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestEveryMessageIsAskedFor: the client library forgets to ask for the next message when the last
// one came faster than its own bookkeeping, and would notice only when heartbeats are missing, 30
// seconds later.
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
		if _, err := b.StoreJob(ctx, bus.JobOutput{Tenant: "main", JobID: fmt.Sprintf("main/all/20260311T080000Z/20260311T090000Z/live/%d", i), Batches: batches(999), Marker: []byte("account")}); err != nil {
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

// TestAKilledServer: a server that is killed takes with it what it was about to answer. A client
// that is connected to another server of the cluster is not informed, and gets all of its messages
// all the same.
func TestAKilledServer(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	const messages = 2 * 999
	k := bustest.StartKillable(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, errors.New("the test's patience ended"))
	defer cancel()
	for i := range messages / 999 {
		if _, err := k.Bus.StoreJob(ctx, bus.JobOutput{Tenant: "main", JobID: fmt.Sprintf("main/all/20260311T080000Z/20260311T090000Z/live/%d", i), Batches: batches(999), Marker: []byte("account")}); err != nil {
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

// TestAConsumerThatWasMadeAgain: a server that says the consumer is deleted ends what waits for its
// messages, but not the lane.
func TestAConsumerThatWasMadeAgain(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	worked := make(chan struct{}, 10) // an ack may be lost with the consumer, and its message redelivered
	ended := make(chan error, 1)
	go func() {
		ended <- b.Consume(t.Context(), bus.Consumption{Stage: "test", Tenant: "main", Consumer: bus.ConsumerFetcherLive, Log: slog.New(slog.DiscardHandler)},
			func(context.Context, *bus.Delivery) error { worked <- struct{}{}; return nil })
	}()
	for pass := range 3 {
		j := job()
		j.Pass = uint32(pass)
		j.Id = fmt.Sprintf("main/all/20260311T080000Z/20260311T090000Z/live/%d", pass)
		if err := b.PublishJob(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		select {
		case <-worked:
		case <-time.After(time.Minute):
			t.Fatalf("job %d waited in vain", pass)
		}
		until(t, func() error { // the worker waits for the next
			left, err := b.Backlog(t.Context(), bus.ConsumerFetcherLive)
			if err == nil && left.InWork > 0 {
				err = errors.New("in work")
			}
			return err
		})
		bustest.Publish(t, server, "$JS.API.CONSUMER.DELETE.JOBS."+bus.ConsumerFetcherLive.Name, nil)
		if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
			t.Fatal(err)
		}
	}
	b.Close()
	if err := <-ended; !errors.Is(err, bus.ErrClosed) { // the lane has no reader any more
		t.Errorf("a lane without a connection ends with %v", err)
	}
}
