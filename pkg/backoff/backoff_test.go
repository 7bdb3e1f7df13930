package backoff_test

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tapline/tapline/pkg/backoff"
)

func TestTheDelayDoublesUpToItsMaximum(t *testing.T) {
	t.Parallel()
	b := backoff.Doubling{Min: time.Second, Max: time.Minute}
	for failures, want := range map[int]time.Duration{
		-1: time.Second, 0: time.Second, 1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute,
		math.MaxInt: time.Minute,
	} {
		if got := b.After(failures); got != want {
			t.Errorf("after %d failures: %s, want %s", failures, got, want)
		}
	}
	if got := (backoff.Doubling{Min: time.Hour, Max: time.Minute}).After(1); got != time.Minute {
		t.Errorf("a minimum over the maximum gives %s", got)
	}
}

func TestJitterTakesAwayUpToItsShare(t *testing.T) {
	t.Parallel()
	b := backoff.Doubling{Min: time.Second, Max: time.Minute, Jitter: 0.25}
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		d := b.After(2)
		least, most = min(least, d), max(most, d)
	}
	if least < 1500*time.Millisecond || most > 2*time.Second || most-least < 250*time.Millisecond {
		t.Errorf("delays of %s to %s", least, most)
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !backoff.Sleep(t.Context(), time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("slept %s of a minute", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if backoff.Sleep(ctx, time.Minute) || time.Since(began) != time.Second {
			t.Errorf("slept %s, want the second until the context ends", time.Since(began))
		}
		if backoff.Sleep(ctx, 0) {
			t.Error("a sleep of no time does not notice that the context has ended")
		}
	})
}
