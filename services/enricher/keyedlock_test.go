package enricher

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
)

// TestOneTurnAtATime: batches that want overlapping things all get them, each thing one batch at a
// time.
func TestOneTurnAtATime(t *testing.T) {
	t.Parallel()
	locks, known := newKeyedLock(), newRecent()
	var mu sync.Mutex
	ordered := make(map[string]int)
	var batches sync.WaitGroup
	for _, keys := range [][]string{{"a", "b", "c"}, {"b", "c", "d"}, {"a", "d"}, {"a", "b", "c", "d"}, {"c"}} {
		batches.Go(func() {
			for _, key := range slices.Sorted(slices.Values(keys)) {
				if err := locks.lock(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
			defer locks.unlock(keys)
			for _, key := range keys {
				if known.has(key, time.Unix(0, 0)) {
					continue
				}
				mu.Lock()
				ordered[key]++
				mu.Unlock()
				known.add(key, time.Unix(0, 0))
			}
		})
	}
	batches.Wait()
	for _, key := range []string{"a", "b", "c", "d"} {
		if ordered[key] != 1 {
			t.Errorf("%s was ordered %d times", key, ordered[key])
		}
	}
	if len(locks.held) != 0 {
		t.Errorf("%d things were not given back", len(locks.held))
	}
}

// TestATurnIsNotAwaitedForEver: a waiter that is to stop does, and the thing stays with who has it.
func TestATurnIsNotAwaitedForEver(t *testing.T) {
	t.Parallel()
	locks := newKeyedLock()
	if err := locks.lock(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := locks.lock(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("waited: %v", err)
	}
	locks.unlock([]string{"a"})
	if err := locks.lock(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

// TestALinkIsNotRemembered: that a campaign names a threat does not say that the threat was looked
// up for its own sake.
func TestALinkIsNotRemembered(t *testing.T) {
	t.Parallel()
	x, _ := searcher(feed.Selection{})
	x.recent = newRecent()
	if err := x.remember(t.Context(), map[string]*lookup{"named": {}, "linked": {link: true}}, nil); err != nil {
		t.Fatal(err)
	}
	if !x.recent.has("named", noon) || x.recent.has("linked", noon) {
		t.Error("remembered are not those that were named")
	}
}

// TestWhatIsNoObjectIsNoRow, however short it is.
func TestWhatIsNoObjectIsNoRow(t *testing.T) {
	t.Parallel()
	e := &Enricher{cfg: Config{PullID: true}}
	for record, want := range map[string]string{
		"": "", "{": "", "}": "", " { ": "", "{x": "", "x}": "", "[]": "", `{"a":1]`: "",
		"{}": `{"@devo_pulling_id":"7"}`, ` {"a":1} `: `{"a":1,"@devo_pulling_id":"7"}`,
	} {
		row, ok := e.appendRow(nil, []byte(record), "7", nil)
		if ok != (want != "") || ok && string(row) != want {
			t.Errorf("%q is row %q, %t; want %q", record, row, ok, want)
		}
	}
}
