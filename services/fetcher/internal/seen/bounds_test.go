package seen

import (
	"encoding/binary"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// full is the value of a key with as many entries as one has, none of them of the content in a
// test.
func full(chunk uint64) []byte {
	value := append(make([]byte, 0, markMost+chunkEntries*entrySize), mark[:keySize]...)
	for i := range uint64(chunkEntries) {
		value = binary.BigEndian.AppendUint64(value, i<<44|chunk<<(keyBits+1)|1)
		value = binary.BigEndian.AppendUint32(value, 1)
	}
	return value
}

// TestAnHourHasAnEnd: what is stored of one hour is never more than a job has room for, whatever
// was published in it. New records of such an hour are published and not remembered; those of
// others are remembered as ever.
func TestAnHourHasAnEnd(t *testing.T) {
	t.Parallel()
	store := &memory{values: map[string]bus.Entry{}}
	keys := []string{"main.clicksBlocked.1970010100", "main.clicksBlocked.1970010100.1", "main.clicksBlocked.1970010100.2", "main.clicksBlocked.1970010100.3", "main.clicksBlocked.1970010100.4"}
	for i, key := range keys {
		store.put(key, full(uint64(i)))
	}
	for run, want := range []Verdict{New, Duplicate} {
		s := Open(store, "main", &Prefetch{}, "live")
		for range 2 {
			if got, err := s.Add(t.Context(), feed.ClicksBlocked, 1, 7<<40, 7); err != nil || (run == 0 && got == Revision) {
				t.Errorf("an hour that is full: %v, %v", got, err)
			}
		}
		if got, err := s.Add(t.Context(), feed.ClicksBlocked, 3_600_000, 7<<40, 7); err != nil || got != want {
			t.Errorf("run %d: another hour: %v, %v, want %v", run, got, err, want)
		}
		size := 0
		for _, h := range s.hours {
			size += h.size()
		}
		if size > bound.Seen {
			t.Errorf("%d bytes are in memory, at most %d may be", size, bound.Seen)
		}
		if err := s.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(store.values) != len(keys)+1 {
		t.Errorf("%d keys are stored, want %d", len(store.values), len(keys)+1)
	}
}
