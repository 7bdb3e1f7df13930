package bus_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestOneAnswerIsBounded: a server that has sent so much at once ends its answer as if it were
// whole. That is an error, and no shorter list.
func TestOneAnswerIsBounded(t *testing.T) {
	t.Parallel()
	bucket, err := bustest.Start(t).Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if err := bucket.Put(t.Context(), fmt.Sprintf("main.%d", i), make([]byte, 7<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if pairs, err := bucket.Select(t.Context(), "main.*"); !errors.Is(err, bus.ErrIncomplete) || len(pairs) > 0 {
		t.Errorf("%d keys of 28 MiB: %v", len(pairs), err)
	}
	if pairs, err := bucket.Select(t.Context(), "main.1", "main.2"); err != nil || len(pairs) != 2 {
		t.Errorf("%d keys of 14 MiB: %v", len(pairs), err)
	}
}

// TestAKeyThatWasDeletedIsGone: also where several keys are read at once.
func TestAKeyThatWasDeletedIsGone(t *testing.T) {
	t.Parallel()
	bucket, err := bustest.Start(t).Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := bucket.Create(t.Context(), "heartbeat.main.fetcher.x", []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Put(t.Context(), "heartbeat.main.fetcher.y", []byte("y")); err != nil {
		t.Fatal(err)
	}
	if err := bucket.Delete(t.Context(), "heartbeat.main.fetcher.x", revision); err != nil {
		t.Fatal(err)
	}
	pairs, err := bucket.Select(t.Context(), "heartbeat.main.>")
	if err != nil || len(pairs) != 1 || pairs[0].Key != "heartbeat.main.fetcher.y" {
		t.Errorf("%v, %v", pairs, err)
	}
	if keys, err := bucket.Keys(t.Context(), "heartbeat.main.>", "none.*", "*.main.>"); err != nil || fmt.Sprint(keys) != "[heartbeat.main.fetcher.y]" {
		t.Errorf("%v, %v", keys, err)
	}
}
