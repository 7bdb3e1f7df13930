package bus_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestOnlyHistoryIsGivenUp: whatever is asked for, what a stage has not acknowledged stays.
func TestOnlyHistoryIsGivenUp(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	for i := range 10 {
		if _, err := b.PublishEvents(t.Context(), []byte("x"), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	giveUp := func(before, first uint64) {
		t.Helper()
		got, err := b.GiveUp(t.Context(), bus.StreamEvents, before)
		if err != nil {
			t.Fatal(err)
		}
		u, err := b.Usage(t.Context(), bus.StreamEvents)
		if err != nil || got != first || u.First != first || u.Messages != 11-first {
			t.Errorf("up to %d: %d, and EVENTS has %d from %d on, %v; want %d", before, got, u.Messages, u.First, err, first)
		}
	}
	giveUp(100, 1)
	giveUp(0, 1)
	sub, err := b.Subscribe(t.Context(), bus.ConsumerShipper, 10)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	for i := range 7 {
		d, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if i == 4 { // still in work: what comes after it is not given up either
			continue
		}
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	await(t, func() bool { done, err := b.Confirmed(t.Context(), bus.StreamEvents); return err == nil && done == 4 })
	giveUp(3, 3)
	giveUp(2, 3)
	giveUp(100, 5)
	if _, err := b.Next(t.Context(), bus.AllMarkers(), 0); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a marker in an empty stream: %v", err)
	}
}
