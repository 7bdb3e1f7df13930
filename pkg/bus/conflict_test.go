package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tapline/tapline/pkg/bus"
)

func TestRetryOnConflict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lost := fmt.Errorf("update: %w", bus.ErrConflict)
		tries, broken := 0, errors.New("broken")
		err := bus.RetryOnConflict(t.Context(), func() error {
			if tries++; tries < 4 {
				return lost
			}
			return broken
		})
		if !errors.Is(err, broken) || tries != 4 {
			t.Errorf("ends with %v after %d tries, want the first error that is no conflict", err, tries)
		}
		began := time.Now()
		if err := bus.RetryOnConflict(t.Context(), func() error { return lost }); !errors.Is(err, bus.ErrConflict) || time.Since(began) > 5*time.Second {
			t.Errorf("gives up with %v after %s", err, time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		tries = 0
		err = bus.RetryOnConflict(ctx, func() error {
			tries++
			cancel()
			return lost
		})
		if !errors.Is(err, context.Canceled) || errors.Is(err, bus.ErrConflict) || tries != 1 {
			t.Errorf("an end between two tries is %v after %d tries", err, tries)
		}
	})
}
