package seen

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
)

var errRefused = errors.New("refused")

// failing lets the n-th call fail, before or after its effect.
type failing struct {
	*memory
	n     int
	after bool
	calls int
	met   string // which call it was
}

func (f *failing) fails(name string) (before, after error) {
	f.calls++
	switch {
	case f.calls != f.n:
		return nil, nil
	case f.after:
		f.met = name
		return nil, errRefused
	}
	f.met = name
	return errRefused, nil
}

func (f *failing) Get(ctx context.Context, key string) (bus.Entry, error) {
	if before, after := f.fails("get"); before != nil || after != nil {
		return bus.Entry{}, errRefused
	}
	return f.memory.Get(ctx, key)
}

func (f *failing) Select(ctx context.Context, filters ...string) ([]bus.Pair, error) {
	if before, after := f.fails("select"); before != nil || after != nil {
		return nil, errRefused
	}
	return f.memory.Select(ctx, filters...)
}

func (f *failing) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	before, after := f.fails("update")
	if before != nil {
		return 0, before
	}
	next, err := f.memory.Update(ctx, key, value, revision)
	if after != nil {
		return 0, after
	}
	return next, err
}

func (f *failing) UpdateAll(ctx context.Context, changes []bus.Change) error {
	before, after := f.fails("update all")
	if before != nil {
		return before
	}
	return errors.Join(f.memory.UpdateAll(ctx, changes), after)
}

// TestAnyCallMayFail: the job hears of it, and what it repeats ends as if nothing had failed: each
// record is there once. Only lists that are read to save calls, and batches, have a second way.
func TestAnyCallMayFail(t *testing.T) {
	t.Parallel()
	met := make(map[string]int)
	for _, chunk := range []int{6, 7, 100} { // hours that are written together in their second chunk, one by one, and together
		for _, after := range []bool{false, true} {
			letFail(t, chunk, after, met)
		}
	}
	if met["get"] == 0 || met["update"] == 0 || met["update all"] == 0 || met["select"] == 0 {
		t.Errorf("only these calls failed: %v", met)
	}
}

// letFail plays one job again and again, and lets another of its calls fail each time.
func letFail(t *testing.T, chunk int, after bool, met map[string]int) {
	t.Helper()
	before, rivals, added := 10, 2, 9
	if chunk == 6 {
		before, rivals, added = 7, 1, 2
	}
	for n := 1; ; n++ {
		m := &memory{values: map[string]bus.Entry{}}
		add := func(s *Sets, from, records int, want Verdict) (failures int) {
			for hour := range int64(4) {
				for i := from; i < from+records; i++ {
					v, err := s.Add(t.Context(), feed.ClicksBlocked, hour*3_600_000, uint64(i+1)<<40, 1<<60)
					if err != nil {
						failures++
						v, err = s.Add(t.Context(), feed.ClicksBlocked, hour*3_600_000, uint64(i+1)<<40, 1<<60)
					}
					if err != nil || v != want {
						t.Fatalf("call %d: record %d of hour %d: verdict %d, %v; want %d", n, i, hour, v, err, want)
					}
				}
			}
			return failures
		}
		job := func(store store) *Sets {
			s := Open(store, "main", &Prefetch{}, "live")
			s.chunk = chunk
			return s
		}
		commit := func(s *Sets) (failures int) {
			for ; s.Commit(t.Context()) != nil; failures++ {
				if failures == 3 {
					t.Fatalf("call %d: cannot be written", n)
				}
			}
			return failures
		}
		first := job(m)
		add(first, 0, before, New)
		commit(first)
		f := &failing{memory: m, n: n, after: after}
		s := job(f)
		failures := add(s, 0, before, Duplicate) + add(s, before, added, New)
		raced := false
		m.before = func() { // another job is faster once
			if !raced {
				raced = true
				rival := job(m)
				add(rival, before+added, rivals, New)
				commit(rival)
			}
		}
		failures += commit(s)
		m.before = nil
		if last := job(m); true {
			total := before + added
			if raced {
				total += rivals
			}
			add(last, 0, total, Duplicate)
			for key, h := range last.hours {
				size := 0
				for _, l := range h.chunks {
					size += l.len()
				}
				if size != total {
					t.Errorf("call %d: hour %d has %d entries, want %d", n, key.hour, size, total)
				}
			}
		}
		if f.met == "" {
			break
		}
		met[f.met]++
		if second := f.met == "select" || f.met == "update all"; failures != 1 && !second {
			t.Errorf("call %d, %s, failed, and the job heard of %d failures", n, f.met, failures)
		}
	}
}

// TestAHalfReadListIsNone: what was read of an hour before an error is not taken for all of it.
func TestAHalfReadListIsNone(t *testing.T) {
	t.Parallel()
	m := &memory{values: map[string]bus.Entry{}}
	const chunk, records = 4, 10
	fill := Open(m, "main", &Prefetch{}, "live")
	fill.chunk = chunk
	for id := range uint64(records) {
		if _, err := fill.Add(t.Context(), feed.ClicksBlocked, 1, (id+1)<<40, 1<<60); err != nil {
			t.Fatal(err)
		}
	}
	if err := fill.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	key := hourKey{feed.ClicksBlocked, 0}
	for n := 1; n <= 3; n++ { // each of the chunks
		f := &failing{memory: m, n: n}
		s := Open(f, "main", &Prefetch{}, "live")
		s.chunk = chunk
		h := newHour()
		s.hours[key] = h
		if err := s.read(t.Context(), key, h); !errors.Is(err, errRefused) || h.chunks != nil || h.rev != 0 {
			t.Errorf("chunk %d fails: %d chunks, revision %d, %v", n, len(h.chunks), h.rev, err)
		}
		for id := range uint64(records) {
			if v, err := s.Add(t.Context(), feed.ClicksBlocked, 1, (id+1)<<40, 1<<60); err != nil || v != Duplicate {
				t.Errorf("chunk %d failed: record %d: verdict %d, %v", n, id, v, err)
			}
		}
	}
}

// TestSlowRacesGiveUp: a writer that is to stop while others are faster does.
func TestSlowRacesGiveUp(t *testing.T) {
	t.Parallel()
	for _, records := range []int{1, 3} { // written alone, and in a batch
		m := &memory{values: map[string]bus.Entry{}}
		s := Open(m, "main", &Prefetch{}, "live")
		for hour := range int64(records) {
			if _, err := s.Add(t.Context(), feed.ClicksBlocked, hour*3_600_000, 1<<40, 1); err != nil {
				t.Fatal(err)
			}
			m.put(s.key(hourKey{feed.ClicksBlocked, hour}, 0), nil)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Commit(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%d records: %v", records, err)
		}
		if err := s.Commit(t.Context()); err != nil {
			t.Errorf("%d records, once more: %v", records, err)
		}
	}
}

// TestUndatedRecordsAreKnownNearby: from the hour before and the one after, and from no other.
func TestUndatedRecordsAreKnownNearby(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 11, 8, 59, 0, 0, time.UTC)
	for away := -3; away <= 3; away++ {
		m := &memory{values: map[string]bus.Entry{}}
		first := Open(m, "main", &Prefetch{}, "live")
		if v, err := first.AddUndated(t.Context(), feed.ClicksBlocked, start, 1<<40, 1<<60); err != nil || v != New {
			t.Fatal(v, err)
		}
		if err := first.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		near := away >= -1 && away <= 1
		want := [2]Verdict{New, New}
		if near {
			want = [2]Verdict{Duplicate, Revision}
		}
		for i, hash := range []uint64{1 << 60, 2 << 60} {
			s := Open(m, "main", &Prefetch{}, "live")
			at := start.Add(time.Duration(away) * time.Hour)
			if v, err := s.AddUndated(t.Context(), feed.ClicksBlocked, at, 1<<40, hash); err != nil || v != want[i] {
				t.Errorf("%d hours away: verdict %d, %v; want %d", away, v, err, want[i])
			}
			if v, err := s.AddUndated(t.Context(), feed.ClicksBlocked, at, 1<<40, hash); err != nil || v != Duplicate {
				t.Errorf("%d hours away, twice: verdict %d, %v", away, v, err)
			}
		}
		for n := 1; n <= 3; n++ { // each of three hours is read
			f := &failing{memory: m, n: n}
			if _, err := Open(f, "main", &Prefetch{}, "live").AddUndated(t.Context(), feed.ClicksBlocked, start.Add(10*time.Hour), 1<<40, 1); !errors.Is(err, errRefused) {
				t.Errorf("read %d fails: %v", n, err)
			}
		}
	}
}

// TestTheRealBucketMayFail: as it is in service.
func TestTheRealBucketMayFail(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	bucket, err := b.Bucket(t.Context(), bus.BucketSeen)
	if err != nil {
		t.Fatal(err)
	}
	s := Open(bucket, "main", &Prefetch{}, "live")
	for _, call := range []bustest.Call{bustest.Read(bus.BucketSeen)} {
		faults.Fail(call, bustest.Fault{})
		if _, err := s.Add(t.Context(), feed.ClicksBlocked, 1, 1<<40, 1<<60); err == nil {
			t.Error("a read that failed is no error")
		}
		if _, err := s.Former(t.Context(), feed.ClicksBlocked, 1, 1<<40, 1<<60); err != nil {
			t.Error(err)
		}
	}
	touch(t, s, 2, New)
	for _, after := range []bool{false, true} {
		faults.Fail(bustest.Write(bus.BucketSeen), bustest.Fault{Times: 2, After: after}) // the batch, and then the first alone
		if err := s.Commit(t.Context()); err == nil {
			t.Errorf("after its effect %t: a write that failed is no error", after)
		}
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := Open(bucket, "main", &Prefetch{}, "live")
	touch(t, again, 2, Duplicate)
	for key, h := range again.hours {
		if h.tail().len() != 1 {
			t.Error(fmt.Sprint("hour ", key.hour, " has ", h.tail().len(), " entries"))
		}
	}
}
