package bus_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestMoreThanOneAnswer: a server that has sent so much at once ends its answer as if it were whole. That is an error, and no
// shorter list.
func TestMoreThanOneAnswer(t *testing.T) {
	t.Parallel()
	const size = 64 << 10
	bucket, err := bustest.Hasty(t).Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * bustest.Pending / size / 2 {
		if err := bucket.Put(t.Context(), fmt.Sprintf("main.%d", i), make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	if pairs, err := bucket.Select(t.Context(), "main.*"); !errors.Is(err, bus.ErrIncomplete) {
		t.Errorf("%d keys of more than fit: %v", len(pairs), err)
	}
}

// TestAKeyThatExpiredIsGone: also the trace that the server leaves of it.
func TestAKeyThatExpiredIsGone(t *testing.T) {
	t.Parallel()
	bucket, err := bustest.Start(t).Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.PutFor(t.Context(), "heartbeat.main.fetcher.x", []byte("x"), time.Second); err != nil {
		t.Fatal(err)
	}
	if err := bucket.Put(t.Context(), "heartbeat.main.fetcher.y", []byte("y")); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		pairs, err := bucket.Select(t.Context(), "heartbeat.main.>")
		if err != nil || len(pairs) == 0 || len(pairs[0].Value) == 0 || time.Now().After(deadline) {
			t.Fatalf("%v, %v", pairs, err)
		}
		if len(pairs) == 1 && pairs[0].Key == "heartbeat.main.fetcher.y" {
			return
		}
	}
}
