package bus_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestMessagesThatLookLikeTheServer: an empty message with a status of the server in its header is
// a message all the same: each comes to the handler.
func TestMessagesThatLookLikeTheServer(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	limits := bustest.Limits
	limits.AckWait = time.Second
	if err := b.Setup(t.Context(), limits, nil); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	statuses := []string{"100", "400", "404", "408", "409", "423", "503", "999"}
	for _, status := range statuses {
		msg := &nats.Msg{Subject: "event.main.t", Header: nats.Header{"Status": []string{status}, "Description": []string{"Consumer Deleted"}}}
		if _, err := nc.RequestMsg(msg, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		bustest.Publish(t, server, "event.main.t", []byte("a row"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	came := map[uint64]bool{}
	err = b.Consume(ctx, bus.Consumption{Stage: "shipper", Tenant: "main", Consumer: bus.ConsumerShipper, Workers: 2, Log: slog.New(slog.DiscardHandler)},
		func(_ context.Context, d *bus.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			if came[d.Sequence()] = true; len(came) == 2*len(statuses) {
				cancel()
			}
			return nil
		})
	for sequence := range uint64(2 * len(statuses)) {
		if !came[sequence+1] {
			t.Errorf("message %d did not come, %v", sequence+1, err)
		}
	}
	if err != nil || len(came) != 2*len(statuses) {
		t.Errorf("%d messages came, %v", len(came), err)
	}
}
