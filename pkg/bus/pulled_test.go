package bus_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestWhoPulls: a consumer about which no server answers may have a client that pulls.
func TestWhoPulls(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	k := bustest.StartKillable(t)
	if consumer, err := k.Bus.Pulled(t.Context(), bus.StreamRaw); err != nil || consumer != "" {
		t.Errorf("nobody pulls, and it is %q, %v", consumer, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	pulling := make(chan struct{})
	sub, err := k.Bus.Subscribe(ctx, bus.ConsumerEnricher, 1)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(pulling)
		_, _ = sub.Next(ctx)
	}()
	until(t, func() error {
		consumer, err := k.Bus.Pulled(t.Context(), bus.StreamRaw)
		if err == nil && consumer != bus.ConsumerEnricher.Name {
			err = errors.New("said to pull: " + consumer)
		}
		return err
	})
	k.Strand(t, bus.ConsumerEnricher, 1)
	until(t, func() error { // the servers may need a new leader first, and say nothing until then
		consumer, err := k.Bus.Pulled(t.Context(), bus.StreamRaw)
		switch {
		case errors.Is(err, bus.ErrIncomplete):
			return nil
		case err == nil:
			t.Fatalf("of a consumer that does not answer it is known that %q pulls", consumer)
		}
		return err
	})
	cancel()
	<-pulling
	sub.Stop()
}
