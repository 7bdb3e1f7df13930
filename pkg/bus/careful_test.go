package bus_test

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestMessagesThatLookLikeTheServer: an empty message with a status of the server in its header is
// a message all the same: it comes to the handler once, and all others do.
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
	var empty, rows atomic.Int32
	err = b.Consume(ctx, bus.Consumption{Stage: "shipper", Tenant: "main", Consumer: bus.ConsumerShipper, Workers: 2, Log: slog.New(slog.DiscardHandler)},
		func(_ context.Context, d *bus.Delivery) error {
			if len(d.Data()) == 0 {
				empty.Add(1)
			} else {
				rows.Add(1)
			}
			if int(empty.Load()) >= len(statuses) && int(rows.Load()) >= len(statuses) {
				cancel()
			}
			return nil
		})
	if err != nil || int(empty.Load()) < len(statuses) || int(rows.Load()) < len(statuses) {
		t.Errorf("%d of %d empty messages came, and %d rows, %v", empty.Load(), len(statuses), rows.Load(), err)
	}
}
