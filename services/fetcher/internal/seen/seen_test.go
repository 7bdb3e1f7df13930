package seen

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is the bucket as a map.
type memory struct {
	values map[string]bus.Entry
	rev    uint64

	gets, selects, updates, batches int

	before func() // each batch; nil for nothing
}

func (m *memory) Get(_ context.Context, key string) (bus.Entry, error) {
	m.gets++
	if e, ok := m.values[key]; ok {
		return e, nil
	}
	return bus.Entry{}, bus.ErrNotFound
}

func (m *memory) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	m.updates++
	if m.values[key].Revision != revision {
		return 0, bus.ErrConflict
	}
	return m.put(key, value), nil
}

func (m *memory) put(key string, value []byte) (revision uint64) {
	m.rev++
	m.values[key] = bus.Entry{Value: value, Revision: m.rev}
	return m.rev
}

func (m *memory) UpdateAll(_ context.Context, changes []bus.Change) error {
	m.batches++
	if m.before != nil {
		m.before()
	}
	for _, c := range changes {
		if m.values[c.Key].Revision != c.Revision {
			return bus.ErrConflict
		}
	}
	for _, c := range changes {
		m.put(c.Key, c.Value)
	}
	return nil
}

// Select gives what there is of the keys, but sometimes lacks one, as a bus with a limit might.
func (m *memory) Select(_ context.Context, filters ...string) (pairs []bus.Pair, err error) {
	m.selects++
	for i, key := range filters {
		if e, ok := m.values[key]; ok && i%5 != 4 {
			pairs = append(pairs, bus.Pair{Key: key, Entry: e})
		}
	}
	return pairs, nil
}

// TestAgreesWithAMap runs jobs of several fetchers, one at a time, against a
// plain map; chunks are tiny so that they fill up.
func TestAgreesWithAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		store := &memory{values: map[string]bus.Entry{}}
		var prefetch Prefetch
		published := map[string]map[uint64]bool{}
		for range rapid.IntRange(1, 8).Draw(t, "jobs") {
			sets := Open(store, "main", &prefetch, "live")
			sets.chunk = 5
			sets.most = rapid.SampledFrom([]int{0, 5 * entrySize, 1 << 20}).Draw(t, "most")
			for range rapid.IntRange(0, 30).Draw(t, "records") {
				f := rapid.SampledFrom(feed.SIEM()[:2]).Draw(t, "feed")
				hour := rapid.Int64Range(0, 2).Draw(t, "hour")
				id := rapid.Uint64Range(1, 12).Draw(t, "id") << 40
				hash := rapid.Uint64Range(1, 3).Draw(t, "hash") << 50
				key := fmt.Sprint(f, hour, id)
				want := New
				switch {
				case published[key][hash]:
					want = Duplicate
				case len(published[key]) > 0:
					want = Revision
				}
				got, err := sets.Add(t.Context(), f, hour*3_600_000+17, id, hash)
				if err != nil || got != want {
					t.Fatalf("record %s %d: verdict %d, %v; want %d", key, hash, got, err, want)
				}
				if published[key] == nil {
					published[key] = map[uint64]bool{}
				}
				published[key][hash] = true
			}
			if err := sets.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestFetchersShareTheBucket lets two jobs commit to the same hour.
func TestFetchersShareTheBucket(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	bucket, err := b.Bucket(t.Context(), bus.BucketSeen)
	if err != nil {
		t.Fatal(err)
	}
	first, second := Open(bucket, "main", &Prefetch{}, "live"), Open(bucket, "main", &Prefetch{}, "live")
	for i := range uint64(100) {
		for n, sets := range []*Sets{first, second} {
			if _, err := sets.Add(t.Context(), feed.ClicksBlocked, 1, (2*i+uint64(n))<<30, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, sets := range []*Sets{first, second, first} {
		if err := sets.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	third := Open(bucket, "main", &Prefetch{}, "live")
	for i := range uint64(200) {
		if v, err := third.Add(t.Context(), feed.ClicksBlocked, 1, i<<30, 1); err != nil || v != Duplicate {
			t.Fatalf("record %d: verdict %d, %v", i, v, err)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	store := &memory{values: map[string]bus.Entry{}}
	fill := Open(store, "main", &Prefetch{}, "live")
	for i := range uint64(100_000) {
		if _, err := fill.Add(b.Context(), feed.MessagesBlocked, 1, i*0x9e3779b97f4a7c15, i); err != nil {
			b.Fatal(err)
		}
	}
	if err := fill.Commit(b.Context()); err != nil {
		b.Fatal(err)
	}
	sets := Open(store, "main", &Prefetch{}, "live")
	i := uint64(0)
	for b.Loop() {
		if _, err := sets.Add(b.Context(), feed.MessagesBlocked, 1, (i%100_000)*0x9e3779b97f4a7c15, i%100_000); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// TestTheNextJobPrefetches: it asks once for all hours that the last one touched, and takes what is
// new in them.
func TestTheNextJobPrefetches(t *testing.T) {
	t.Parallel()
	store := &memory{values: map[string]bus.Entry{}}
	var prefetch Prefetch
	const hours = 100
	job := func(lane string, id uint64, want Verdict) (gets, selects int) {
		t.Helper()
		store.gets, store.selects = 0, 0
		sets := Open(store, "main", &prefetch, lane)
		for hour := range int64(hours) {
			if got, err := sets.Add(t.Context(), feed.ClicksBlocked, hour*3_600_000, id, 7<<50); err != nil || got != want {
				t.Fatalf("hour %d: verdict %d, %v; want %d", hour, got, err, want)
			}
		}
		if err := sets.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		return store.gets, store.selects
	}
	if gets, selects := job("backfill", 1<<40, New); gets != hours || selects != 0 {
		t.Errorf("the first job asked for %d single hours and %d lists", gets, selects)
	}
	if gets, selects := job("live", 2<<40, New); gets != hours || selects != 0 {
		t.Errorf("the first job of another lane asked for %d single hours and %d lists", gets, selects)
	}
	if gets, selects := job("backfill", 2<<40, Duplicate); gets != hours/5 || selects != 1 {
		t.Errorf("the second job asked for %d single hours, of which the list lacked %d, and %d lists", gets, hours/5, selects)
	}
}
