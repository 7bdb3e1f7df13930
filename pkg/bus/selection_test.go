package bus_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// filled is a bus with something of two tenants in each stream. Of each tenant there are: in RAW a
// batch of feed one, one of feed two and a marker; in EVENTS a batch of table a.one and one of
// a.two; in DEAD a letter of two stages.
func filled(t *testing.T) *bus.Bus {
	t.Helper()
	b := bustest.Start(t)
	for _, tenant := range []string{"t1", "t2"} {
		w := bus.JobOutput{Tenant: tenant, JobID: "job-" + tenant, Marker: []byte("m"), Batches: func(yield func(bus.RawMessage, error) bool) {
			_ = yield(bus.RawMessage{Feed: "one", Data: []byte("1")}, nil) && yield(bus.RawMessage{Feed: "two", Data: []byte("2")}, nil)
		}}
		if _, err := b.StoreJob(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"one", "two"} {
			if _, err := b.PublishEvents(t.Context(), []byte(name), bus.EventMeta{Tenant: tenant, Table: "a." + name, MsgID: tenant + name}); err != nil {
				t.Fatal(err)
			}
			letter := &taplinev1.DeadLetter{Tenant: tenant, Stage: "stage " + name, Feed: "a.b>*", Payload: []byte(tenant)}
			if err := b.PublishDead(t.Context(), letter, tenant+name); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

// TestWhatIsSelected: by tenant, feed, table and stage, and by sequence or time.
func TestWhatIsSelected(t *testing.T) {
	t.Parallel()
	b := filled(t)
	scan := func(s bus.Selection) (found []uint64) {
		t.Helper()
		if err := b.Scan(t.Context(), s, func(m bus.Stored) (bool, error) { found = append(found, m.Sequence); return true, nil }); err != nil {
			t.Fatal(err)
		}
		return found
	}
	for name, c := range map[string]struct {
		selection bus.Selection
		want      string
	}{
		"markers":           {bus.Markers("t1"), "[3]"},
		"of another tenant": {bus.Markers("t2"), "[6]"},
		"of none":           {bus.Markers("t3"), "[]"},
		"of all":            {bus.AllMarkers(), "[3 6]"},
		"batches":           {bus.Raws("t2"), "[4 5]"},
		"of a feed":         {bus.Raws("t2", "two"), "[5]"},
		"of two feeds":      {bus.Raws("t1", "two", "one"), "[1 2]"},
		"rows":              {bus.Events("t1"), "[1 2]"},
		"of a table":        {bus.Events("t2", "a.one"), "[3]"},
		"letters":           {bus.Dead("t1", "stage one"), "[1]"},
		"all letters":       {bus.DeadLetters(), "[1 2 3 4]"},
		"behind the second": {bus.DeadLetters().After(2), "[3 4]"},
		"from the second":   {bus.DeadLetters().Between(2, 0), "[2 3 4]"},
		"up to the third":   {bus.DeadLetters().Between(0, 3), "[1 2 3]"},
		"the second":        {bus.DeadLetters().Between(2, 2), "[2]"},
		"since always":      {bus.DeadLetters().Since(time.Now().Add(-time.Hour)), "[1 2 3 4]"},
		"since the future":  {bus.DeadLetters().Since(time.Now().Add(time.Hour)), "[]"},
	} {
		if got := fmt.Sprint(scan(c.selection)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	visits := 0
	if err := b.Scan(t.Context(), bus.DeadLetters(), func(bus.Stored) (bool, error) { visits++; return visits < 2, nil }); err != nil || visits != 2 {
		t.Errorf("a visit that wants no more: %d visits, %v", visits, err)
	}
	failed := errors.New("failed")
	if err := b.Scan(t.Context(), bus.DeadLetters(), func(bus.Stored) (bool, error) { return true, failed }); !errors.Is(err, failed) {
		t.Errorf("a visit that fails: %v", err)
	}
}

// TestTheNextMessage of a selection.
func TestTheNextMessage(t *testing.T) {
	t.Parallel()
	b := filled(t)
	for from, want := range map[uint64]uint64{0: 3, 3: 3, 4: 6, 6: 6} {
		if m, err := b.Next(t.Context(), bus.AllMarkers(), from); err != nil || m.Sequence != want || string(m.Data) != "m" {
			t.Errorf("from %d: %d %q, %v; want %d", from, m.Sequence, m.Data, err, want)
		}
	}
	if _, err := b.Next(t.Context(), bus.AllMarkers(), 7); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("behind the last: %v", err)
	}
}

// TestABatchIsFoundByItsName: however many lie before it, of its table only, and no answer is an
// error.
func TestABatchIsFoundByItsName(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	const n = 130 // pages have 64
	began := time.Now().Add(-time.Minute)
	for i := range n {
		if _, err := b.PublishEvents(t.Context(), []byte("x"), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		meta  bus.EventMeta
		since time.Time
		want  uint64
	}{
		"the first":     {bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: "0"}, began, 1},
		"of page one":   {bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: "63"}, began, 64},
		"of page two":   {bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: "64"}, began, 65},
		"the last":      {bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: fmt.Sprint(n - 1)}, began, n},
		"no such name":  {bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: "none"}, began, 0},
		"no such table": {bus.EventMeta{Tenant: "main", Table: "a.c", MsgID: "0"}, began, 0},
		"too early":     {bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: "0"}, time.Now().Add(time.Hour), 0},
	} {
		if got, err := b.PublishedEvents(t.Context(), c.meta, c.since); err != nil || got != c.want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, c.want)
		}
	}
	read := func(subject, _ string, _ []byte) bool { return strings.HasPrefix(subject, "$JS.API.DIRECT.GET.EVENTS") }
	for _, skip := range []int{0, 1} {
		faults.Fail(read, bustest.Fault{Skip: skip})
		if got, err := b.PublishedEvents(t.Context(), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: fmt.Sprint(n - 1)}, began); err == nil || got != 0 {
			t.Errorf("page %d is not answered: %d, %v", skip, got, err)
		}
	}
}

// TestTake hands over one message, if one waits, and its outcome decides as everywhere.
func TestTake(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	handled := 0
	take := func(consumer bus.Consumer, outcome error) (bool, error) {
		c := bus.Consumption{Stage: "test", Tenant: "main", Consumer: consumer, Workers: 1, Log: slog.New(slog.DiscardHandler)}
		return b.Take(t.Context(), c, func(context.Context, *bus.Delivery) error { handled++; return outcome })
	}
	if taken, err := take(bus.ConsumerShipper, nil); taken || err != nil || handled != 0 {
		t.Errorf("of nothing: %t, %v", taken, err)
	}
	if _, err := take(bus.Consumer{Stream: bus.StreamEvents, Name: "none"}, nil); err == nil {
		t.Error("of a consumer that does not exist")
	}
	for i := range 3 {
		if _, err := b.PublishEvents(t.Context(), []byte("x"), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i, outcome := range []error{nil, bus.Permanent(errors.New("bad")), bus.RetryAfter(errors.New("busy"), time.Millisecond)} {
		if taken, err := take(bus.ConsumerShipper, outcome); !taken || err != nil || handled != i+1 {
			t.Fatalf("message %d: %t, %v", i, taken, err)
		}
	}
	dead, err := b.Usage(t.Context(), bus.StreamDead)
	if err != nil || dead.Messages != 1 {
		t.Errorf("%d letters, %v", dead.Messages, err)
	}
	until(t, func() error { // the third is redelivered
		if taken, err := take(bus.ConsumerShipper, nil); err != nil || !taken {
			return fmt.Errorf("taken %t, %w", taken, err)
		}
		return nil
	})
	until(t, func() error { // the server answers no acknowledgement
		if backlog, err := b.Backlog(t.Context(), bus.ConsumerShipper); err != nil || backlog.Done != 3 {
			return fmt.Errorf("%+v, %w", backlog, err)
		}
		return nil
	})
}

// broken fails after some bytes.
type broken struct{ left int }

var errBroken = errors.New("broken")

func (w *broken) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// TestASnapshotIsRestored: the messages, and what consumers have acknowledged; into nothing only,
// and only a whole one.
func TestASnapshotIsRestored(t *testing.T) {
	t.Parallel()
	b := filled(t)
	ctx := t.Context()
	c := bus.Consumption{Stage: "test", Tenant: "main", Consumer: bus.ConsumerShipper, Workers: 1, Log: slog.New(slog.DiscardHandler)}
	if _, err := b.Take(ctx, c, func(context.Context, *bus.Delivery) error { return nil }); err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	s, err := b.Snapshot(ctx, bus.StreamEvents, &data)
	if err != nil || s.Messages != 4 || s.Last != 4 {
		t.Fatalf("%d messages up to %d, %v", s.Messages, s.Last, err)
	}
	if _, err := b.Snapshot(ctx, bus.StreamEvents, &broken{}); !errors.Is(err, errBroken) {
		t.Errorf("a snapshot that cannot be written: %v", err)
	}
	if _, err := b.Snapshot(ctx, "NONE", io.Discard); err == nil {
		t.Error("a snapshot of no stream")
	}
	restoring := bus.Restoring{Limits: bustest.Limits}
	if err := b.Restore(ctx, s, restoring, bytes.NewReader(data.Bytes())); !errors.Is(err, bus.ErrExists) {
		t.Errorf("over a stream that is there: %v", err)
	}
	for range 2 { // none is none to remove
		if err := b.Remove(ctx, bus.StreamEvents); err != nil {
			t.Fatal(err)
		}
	}
	foreign := s
	foreign.Config = json.RawMessage(`{"name":"FOREIGN"}`)
	for name, c := range map[string]struct {
		snapshot bus.Snapshot
		data     []byte
	}{
		"of a stranger": {foreign, data.Bytes()}, "without a configuration": {bus.Snapshot{Config: json.RawMessage(`?`)}, nil}, "cut off": {s, data.Bytes()[:data.Len()/2]},
	} {
		if err := b.Restore(ctx, c.snapshot, restoring, bytes.NewReader(c.data)); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
	if err := b.Restore(ctx, s, restoring, bytes.NewReader(data.Bytes())); err != nil {
		t.Fatal(err)
	}
	u, err := b.Usage(ctx, bus.StreamEvents)
	backlog, err2 := b.Backlog(ctx, bus.ConsumerShipper)
	if err != nil || err2 != nil || u.Messages != 4 || u.Last != 4 || backlog.Done != 1 {
		t.Errorf("%+v, acknowledged up to %d; %v, %v", u, backlog.Done, err, err2)
	}
	floors, err := b.Floors(ctx)
	if err != nil || len(floors) != 2 || floors[0].Done != 0 {
		t.Fatalf("%v, %v", floors, err)
	}
	if err := b.Rewind(ctx, bus.Floor{Stream: bus.StreamEvents, Consumer: bus.ConsumerShipper.Name, Done: 2}); err != nil {
		t.Fatal(err)
	}
	got := uint64(0)
	if _, err := b.Take(ctx, c, func(_ context.Context, d *bus.Delivery) error { got = d.Sequence(); return nil }); err != nil || got != 3 {
		t.Errorf("behind a floor of 2 comes %d, %v", got, err)
	}
	if err := b.Rewind(ctx, bus.Floor{Stream: bus.StreamEvents, Consumer: "none"}); err == nil {
		t.Error("a consumer that does not exist went back")
	}
}
