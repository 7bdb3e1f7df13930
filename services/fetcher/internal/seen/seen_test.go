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
}

func (m *memory) Get(_ context.Context, key string) (bus.Entry, error) {
	if e, ok := m.values[key]; ok {
		return e, nil
	}
	return bus.Entry{}, bus.ErrNotFound
}

func (m *memory) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if m.values[key].Revision != revision {
		return 0, bus.ErrConflict
	}
	m.rev++
	m.values[key] = bus.Entry{Value: value, Revision: m.rev}
	return m.rev, nil
}

func (m *memory) UpdateAll(ctx context.Context, changes []bus.Change) error {
	for _, c := range changes {
		if m.values[c.Key].Revision != c.Revision {
			return bus.ErrConflict
		}
	}
	for _, c := range changes {
		if _, err := m.Update(ctx, c.Key, c.Value, c.Revision); err != nil {
			return err
		}
	}
	return nil
}

// TestAgreesWithAMap runs jobs of several fetchers, one at a time, against a
// plain map; chunks are tiny so that they fill up.
func TestAgreesWithAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		store := &memory{values: map[string]bus.Entry{}}
		published := map[string]map[uint64]bool{}
		for range rapid.IntRange(1, 8).Draw(t, "jobs") {
			sets := Open(store, "main")
			sets.chunk = 5
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
	first, second := Open(bucket, "main"), Open(bucket, "main")
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
	third := Open(bucket, "main")
	for i := range uint64(200) {
		if v, err := third.Add(t.Context(), feed.ClicksBlocked, 1, i<<30, 1); err != nil || v != Duplicate {
			t.Fatalf("record %d: verdict %d, %v", i, v, err)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	store := &memory{values: map[string]bus.Entry{}}
	fill := Open(store, "main")
	for i := range uint64(100_000) {
		if _, err := fill.Add(b.Context(), feed.MessagesBlocked, 1, i*0x9e3779b97f4a7c15, i); err != nil {
			b.Fatal(err)
		}
	}
	if err := fill.Commit(b.Context()); err != nil {
		b.Fatal(err)
	}
	sets := Open(store, "main")
	i := uint64(0)
	for b.Loop() {
		if _, err := sets.Add(b.Context(), feed.MessagesBlocked, 1, (i%100_000)*0x9e3779b97f4a7c15, i%100_000); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
