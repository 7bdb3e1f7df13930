package seen

import (
	"sync"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
)

// hours is how many hours the jobs of these tests touch.
const hours = 100

// touch adds one record to each hour, and says what it wants to hear.
func touch(t *testing.T, s *Sets, id uint64, want Verdict) {
	t.Helper()
	for hour := range int64(hours) {
		if got, err := s.Add(t.Context(), feed.ClicksBlocked, hour*3_600_000, id<<40, 1); err != nil || got != want {
			t.Fatalf("record %d of hour %d: verdict %d, %v; want %d", id, hour, got, err, want)
		}
	}
}

// whole fails unless each hour has each of the records 1 to n once.
func whole(t *testing.T, store store, n int) {
	t.Helper()
	s := Open(store, "main", &Prefetch{}, "live")
	for id := range uint64(n) {
		touch(t, s, id+1, Duplicate)
	}
	for key, h := range s.hours {
		if size := h.tail().len(); len(h.chunks) != 1 || size != n {
			t.Errorf("hour %d has %d chunks, the last of %d records; want one of %d", key.hour, len(h.chunks), size, n)
		}
	}
}

// TestALostBatchIsWrittenAgain and not hour by hour, each of which would cost a sync of the disk.
func TestALostBatchIsWrittenAgain(t *testing.T) {
	t.Parallel()
	m := &memory{values: map[string]bus.Entry{}}
	first, second := Open(m, "main", &Prefetch{}, "live"), Open(m, "main", &Prefetch{}, "live")
	touch(t, first, 1, New)
	touch(t, second, 2, New)
	if err := first.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.gets, m.selects, m.batches = 0, 0, 0
	if err := second.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.batches != 2 || m.updates != 0 {
		t.Errorf("the slower job wrote %d batches and %d single hours, want two and none", m.batches, m.updates)
	}
	if m.selects != 1 || m.gets != hours/5 {
		t.Errorf("it read %d lists and %d single hours, want one and the %d that it lacked", m.selects, m.gets, hours/5)
	}
	whole(t, m, 2)
}

// TestHoursAreWrittenInTheEnd, also when each batch is lost.
func TestHoursAreWrittenInTheEnd(t *testing.T) {
	t.Parallel()
	m := &memory{values: map[string]bus.Entry{}}
	s := Open(m, "main", &Prefetch{}, "live")
	touch(t, s, 1, New)
	rivals := 0
	m.before = func() {
		rivals++
		rival := Open(m, "main", &Prefetch{}, "live")
		if _, err := rival.Add(t.Context(), feed.ClicksBlocked, 0, uint64(rivals+1)<<40, 1); err != nil {
			t.Error(err)
		}
		if err := rival.Commit(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.batches != batchTries || rivals != batchTries {
		t.Errorf("%d batches, %d rivals; want %d", m.batches, rivals, batchTries)
	}
	if m.updates != batchTries+hours {
		t.Errorf("%d single writes, want one of each rival and one of each hour", m.updates)
	}
	after := Open(m, "main", &Prefetch{}, "live")
	touch(t, after, 1, Duplicate)
	if n := after.hours[hourKey{feed.ClicksBlocked, 0}].tail().len(); n != 1+rivals {
		t.Errorf("the hour that all fought for has %d records, want %d", n, 1+rivals)
	}
}

// TestFetchersCommitAtOnce to the same hours of a real bucket: what each of them published is there
// once.
func TestFetchersCommitAtOnce(t *testing.T) {
	t.Parallel()
	bucket, err := bustest.Start(t).Bucket(t.Context(), bus.BucketSeen)
	if err != nil {
		t.Fatal(err)
	}
	const fetchers = 4
	var group sync.WaitGroup
	for n := range uint64(fetchers) {
		s := Open(bucket, "main", &Prefetch{}, "live")
		touch(t, s, n+1, New)
		group.Go(func() {
			if err := s.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	whole(t, bucket, fetchers)
}
