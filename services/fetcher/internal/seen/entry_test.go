package seen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
)

const someKey = "main.clicksBlocked.1970010100"

// former is a value as an earlier version wrote it.
func former(keys ...uint64) (value []byte) {
	slices.Sort(keys)
	for _, k := range keys {
		value = binary.BigEndian.AppendUint64(value, k)
	}
	return value
}

// formerKey is what an earlier version remembered of a record.
func formerKey(id, hash uint64) uint64 { return id&^(1<<24-1) | hash>>40 }

// TestNoRevisionIsDropped at the birthday scale of 24 bits: of 40 000 contents of one record 48
// would be dropped.
func TestNoRevisionIsDropped(t *testing.T) {
	t.Parallel()
	const revisions = 40_000
	random := rand.New(rand.NewPCG(1, 2))
	contents := make([]uint64, revisions)
	short := make(map[uint64]bool)
	for i := range contents {
		contents[i] = random.Uint64()
		short[contents[i]>>40] = true
	}
	if len(short) == revisions { // else this test would pass with 24 bits
		t.Fatal("no two contents share 24 bits")
	}
	store := &memory{values: map[string]bus.Entry{}}
	for job := range 4 { // each reads what those before have stored
		sets := Open(store, "main", &Prefetch{}, "live")
		sets.chunk = revisions / 3
		for i := job; i < revisions; i += 4 {
			want := Revision
			if i == 0 {
				want = New
			}
			if got, err := sets.Add(t.Context(), feed.ClicksBlocked, 1, 1<<40, contents[i]); err != nil || got != want {
				t.Fatalf("content %d: verdict %d, %v; want %d", i, got, err, want)
			}
			if got, err := sets.Add(t.Context(), feed.ClicksBlocked, 1, 1<<40, contents[i]); err != nil || got != Duplicate {
				t.Fatalf("content %d once more: verdict %d, %v", i, got, err)
			}
		}
		if err := sets.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sets := Open(store, "main", &Prefetch{}, "live")
	sets.chunk = revisions / 3
	for i, hash := range contents {
		if got, err := sets.Add(t.Context(), feed.ClicksBlocked, 1, 1<<40, hash); err != nil || got != Duplicate {
			t.Fatalf("content %d after all: verdict %d, %v", i, got, err)
		}
	}
}

// TestEachBitCounts of those that are kept, and no other.
func TestEachBitCounts(t *testing.T) {
	t.Parallel()
	store := &memory{values: map[string]bus.Entry{}}
	const id, hash = 0x123456789abcdef0, 0xfedcba9876543210
	stored := Open(store, "main", &Prefetch{}, "live")
	if v, err := stored.Add(t.Context(), feed.ClicksBlocked, 1, id, hash); err != nil || v != New {
		t.Fatal(v, err)
	}
	if err := stored.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for bit := range 64 {
		want := [2]Verdict{Duplicate, Duplicate}
		if bit >= 24 {
			want[0] = New
		}
		if bit >= 8 {
			want[1] = Revision
		}
		for i, r := range [2][2]uint64{{id ^ 1<<bit, hash}, {id, hash ^ 1<<bit}} {
			sets := Open(store, "main", &Prefetch{}, "live")
			if v, err := sets.Add(t.Context(), feed.ClicksBlocked, 1, r[0], r[1]); err != nil || v != want[i] {
				t.Errorf("bit %d of %d: verdict %d, %v; want %d", bit, i, v, err, want[i])
			}
		}
	}
}

// TestWhatAnEarlierVersionWrote is known, as far as it was kept, and stays so when more is written.
func TestWhatAnEarlierVersionWrote(t *testing.T) {
	t.Parallel()
	const own = 7<<60 + 9<<8 // a hash of this version
	for _, n := range []uint64{1, 2, 3, 8} {
		store := &memory{values: map[string]bus.Entry{}}
		var keys []uint64
		for i := range n {
			keys = append(keys, formerKey(i<<40, (i+1)<<60))
		}
		store.put(someKey, former(keys...))
		for round := range 3 {
			sets := Open(store, "main", &Prefetch{}, "live")
			add := func(id, hash uint64, want Verdict) {
				t.Helper()
				if v, err := sets.Add(t.Context(), feed.ClicksBlocked, 1, id<<40, hash); err != nil || v != want {
					t.Fatalf("round %d of %d: record %d: verdict %d, %v; want %d", round, n, id, v, err, want)
				}
			}
			before := func(id, hash uint64, want bool) {
				t.Helper()
				if is, err := sets.Former(t.Context(), feed.ClicksBlocked, 1, id<<40, hash); err != nil || is != want {
					t.Fatalf("round %d of %d: record %d was published by an earlier version: %t, %v", round, n, id, is, err)
				}
			}
			for i := range n {
				before(i, (i+1)<<60, true)
				before(i, (i+1)<<60+1<<40+9<<8, false)
				before(i+n, (i+1)<<60, false)
				add(i, (i+1)<<60, Duplicate)
				add(i, (i+1)<<60+1<<39, Duplicate) // which an earlier version cannot tell
				want := Revision
				if round > 0 {
					want = Duplicate
				}
				add(i, (i+1)<<60+1<<40+9<<8, want)
			}
			for j := range uint64(round) {
				add(100+j, own, Duplicate)
				before(100+j, own, false) // of this version
				if round == 1 {
					add(100+j, own+1<<8, Revision)
				}
			}
			add(100+uint64(round), own, New)
			if err := sets.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if size := len(store.values[someKey].Value); size%8 != 0 {
				t.Errorf("an earlier version takes %d bytes for damage", size)
			}
		}
	}
}

// TestDamageIsAnError, which names the key.
func TestDamageIsAnError(t *testing.T) {
	t.Parallel()
	for name, value := range map[string][]byte{
		"seven bytes": []byte("1234567"), "a mark and a byte": append(slices.Clone(mark[:8]), 1), "part of an entry": append(slices.Clone(mark), make([]byte, 11)...),
	} {
		store := &memory{values: map[string]bus.Entry{}}
		store.put(someKey, value)
		_, err := Open(store, "main", &Prefetch{}, "live").Add(t.Context(), feed.ClicksBlocked, 1, 1, 1)
		if !errors.Is(err, errMalformed) || !strings.Contains(err.Error(), someKey) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Open(store, "main", &Prefetch{}, "live").AddUndated(t.Context(), feed.ClicksBlocked, time.Unix(0, 0), 1, 1); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMergedListsAreSortedSets that read back as they were.
func TestMergedListsAreSortedSets(t *testing.T) {
	t.Parallel()
	anyEntry := rapid.Custom(func(t *rapid.T) entry {
		return entry{rapid.Uint64Range(0, 3).Draw(t, "id")<<keyBits | rapid.Uint64Range(0, 2).Draw(t, "content"), rapid.Uint32Range(0, 2).Draw(t, "more")}
	})
	rapid.Check(t, func(t *rapid.T) {
		var stored list
		want := make(map[entry]bool)
		for range rapid.IntRange(1, 4).Draw(t, "merges") {
			add := rapid.SliceOfN(anyEntry, 0, 8).Draw(t, "add")
			for _, e := range add {
				want[e] = true
			}
			value, merged := merge(stored, add)
			read, err := parse(value)
			if err != nil || !slices.Equal(read, merged) || len(value)%8 != 0 {
				t.Fatalf("%x reads as %x, %v; want %x", value, read, err, merged)
			}
			stored = read
		}
		if stored.len() != len(want) {
			t.Fatalf("%d entries, want %d", stored.len(), len(want))
		}
		for i := range stored.len() {
			if !want[stored.at(i)] || i > 0 && stored.at(i-1).compare(stored.at(i)) >= 0 {
				t.Fatalf("entry %d is %v", i, stored.at(i))
			}
		}
		for _, e := range rapid.SliceOfN(anyEntry, 1, 8).Draw(t, "look") {
			known, same := false, false
			for w := range want {
				known = known || w.base() == e.base()
				same = same || w.key == e.key && (w.more == e.more || w.more == 0)
			}
			gotKnown, gotSame := stored.contains(e)
			if gotKnown != known || gotSame != same || stored.short(e.key) != want[entry{e.key, 0}] {
				t.Fatalf("%v in %v: known %t, same %t, short %t", e, want, gotKnown, gotSame, stored.short(e.key))
			}
		}
	})
}

// TestAFullListGoesOn in the next chunk, also when it is exactly full.
func TestAFullListGoesOn(t *testing.T) {
	t.Parallel()
	const chunk = 6
	for _, first := range []int{chunk - 1, chunk, chunk + 1, 2 * chunk} {
		store := &memory{values: map[string]bus.Entry{}}
		n := 0
		for _, more := range []int{first, 1, chunk, 1} {
			sets := Open(store, "main", &Prefetch{}, "live")
			sets.chunk = chunk
			for i := range n + more {
				want := New
				if i < n {
					want = Duplicate
				}
				if v, err := sets.Add(t.Context(), feed.ClicksBlocked, 1, uint64(i+1)<<40, 1<<60); err != nil || v != want {
					t.Fatalf("%d, then %d: record %d: verdict %d, %v; want %d", first, more, i, v, err, want)
				}
			}
			n += more
			if err := sets.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := sets.Commit(t.Context()); err != nil { // nothing is left to write
				t.Fatal(err)
			}
		}
		for i := range (n + chunk - 1) / chunk {
			key := someKey
			if i > 0 {
				key = fmt.Sprint(someKey, ".", i)
			}
			l, err := parse(store.values[key].Value)
			if want := min(chunk, n-i*chunk); err != nil || l.len() != want {
				t.Errorf("%s has %d entries, %v; want %d", key, l.len(), err, want)
			}
		}
	}
}

// TestKeysStay: they are stored, and read for eight days by whatever version comes next.
func TestKeysStay(t *testing.T) {
	t.Parallel()
	store := &memory{values: map[string]bus.Entry{}}
	s := Open(store, "main", &Prefetch{}, "live")
	s.chunk = 1
	at := time.Date(2026, 3, 11, 8, 59, 59, 999e6, time.UTC)
	for i := range uint64(3) {
		if _, err := s.Add(t.Context(), feed.MessagesDelivered, at.UnixMilli(), i<<40, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"main.messagesDelivered.2026031108", "main.messagesDelivered.2026031108.1", "main.messagesDelivered.2026031108.2"} {
		if len(store.values[key].Value) != 24 {
			t.Errorf("%s is missing: %v", key, store.values)
		}
	}
}
