package bustest_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var rows = bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.tap.clicksblocked"}

// TestCallsFail: the n-th call fails, before or after its effect, and no other.
func TestCallsFail(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	store := func(id string) error {
		m := rows
		m.MsgID = id
		_, err := b.PublishEvents(t.Context(), []byte("rows"), m)
		return err
	}
	count := func(want int) {
		t.Helper()
		if n := len(bustest.Messages(t, faults.Server, bus.StreamEvents)); n != want {
			t.Fatalf("%d messages, want %d", n, want)
		}
	}
	before := faults.Fail(bustest.Store(bus.StreamEvents), bustest.Fault{Skip: 1, Times: 2})
	for i, want := range []bool{true, false, false, true} {
		if err := store(string(rune('a' + i))); (err == nil) != want {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	before.Await(t, 2)
	count(2)
	faults.Fail(bustest.Store(bus.StreamEvents), bustest.Fault{After: true})
	if err := store("e"); err == nil || errors.Is(err, bus.ErrFull) {
		t.Fatal(err)
	}
	count(3)
	faults.Fail(bustest.Store(bus.StreamEvents), bustest.Fault{Full: true})
	if err := store("f"); !errors.Is(err, bus.ErrFull) {
		t.Fatal(err)
	}
	count(3)
	seen := faults.At(bustest.Store(bus.StreamEvents), func() { count(3) })
	if err := store("g"); err != nil || seen.Met() != 1 {
		t.Fatal(err, seen.Met())
	}
	count(4)
}

// TestJobsAreStoredInOneCall, and not at all when it fails before.
func TestJobsAreStoredInOneCall(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	store := func() error {
		_, err := b.StoreJob(t.Context(), bus.JobOutput{
			Tenant: "main", JobID: "job", Marker: []byte("m"), Batches: func(yield func(bus.RawMessage, error) bool) {
				for range 40 {
					if !yield(bus.RawMessage{Feed: "clicksBlocked", Data: []byte("records")}, nil) {
						return
					}
				}
			},
		})
		return err
	}
	faults.Fail(bustest.Store(bus.StreamRaw), bustest.Fault{})
	if err := store(); err == nil {
		t.Fatal("stored")
	}
	if n := len(bustest.Messages(t, faults.Server, bus.StreamRaw)); n != 0 {
		t.Fatalf("%d messages", n)
	}
	faults.Fail(bustest.Store(bus.StreamRaw), bustest.Fault{After: true})
	if err := store(); err == nil || errors.Is(err, bus.ErrAlreadyStored) {
		t.Fatal(err)
	}
	if err := store(); !errors.Is(err, bus.ErrAlreadyStored) {
		t.Fatal(err)
	}
}

// TestKeysFail: reads and writes of a bucket, one by one and together.
func TestKeysFail(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	bucket, err := b.Bucket(t.Context(), bus.BucketSeen)
	if err != nil {
		t.Fatal(err)
	}
	write, read := bustest.Write(bus.BucketSeen), bustest.Read(bus.BucketSeen)
	faults.Fail(write, bustest.Fault{After: true})
	if _, err := bucket.Create(t.Context(), "a", []byte("1")); err == nil || errors.Is(err, bus.ErrConflict) {
		t.Fatal(err)
	}
	if _, err := bucket.Create(t.Context(), "a", []byte("1")); !errors.Is(err, bus.ErrConflict) {
		t.Fatal(err)
	}
	changes := []bus.Change{{Key: "b", Value: []byte("2")}, {Key: "c", Value: []byte("3")}}
	faults.Fail(write, bustest.Fault{})
	if err := bucket.UpdateAll(t.Context(), changes); err == nil || errors.Is(err, bus.ErrConflict) {
		t.Fatal(err)
	}
	failing := faults.Fail(read, bustest.Fault{Times: -1})
	if _, err := bucket.Get(t.Context(), "b"); err == nil || errors.Is(err, bus.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := bucket.Select(t.Context(), "b", "c"); err == nil {
		t.Fatal("read")
	}
	if failing.End(); failing.Met() != 2 {
		t.Fatal(failing.Met())
	}
	if _, err := bucket.Get(t.Context(), "b"); !errors.Is(err, bus.ErrNotFound) {
		t.Fatal(err)
	}
	if err := bucket.UpdateAll(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
}

// TestAFullStream takes nothing until there is room, and what it has can be read.
func TestAFullStream(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	for i, full := range []bool{false, true} { // an empty one, and one that has something
		if full {
			if _, err := b.PublishEvents(t.Context(), []byte("rows"), rows); err != nil {
				t.Fatal(err)
			}
		}
		room := bustest.Fill(t, server, bus.StreamEvents)
		if _, err := b.PublishEvents(t.Context(), []byte("rows"), bus.EventMeta{Tenant: "main", Table: rows.Table, MsgID: "x"}); !errors.Is(err, bus.ErrFull) {
			t.Fatalf("%d: %v", i, err)
		}
		room()
	}
	if _, err := b.PublishEvents(t.Context(), []byte("rows"), bus.EventMeta{Tenant: "main", Table: rows.Table, MsgID: "x"}); err != nil {
		t.Fatal(err)
	}
	if err := b.PublishDead(t.Context(), &taplinev1.DeadLetter{Tenant: "main"}, "1"); err != nil {
		t.Fatal(err)
	}
}
