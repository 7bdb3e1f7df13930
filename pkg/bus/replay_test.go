package bus_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// rows stores messages of two tables in turn and returns when the server stored each.
func rows(t *testing.T, b *bus.Bus, n int) (at []time.Time) {
	t.Helper()
	for i := range n {
		table := []string{"a.one", "a.two"}[i%2]
		sequence, err := b.PublishEvents(t.Context(), []byte("x"), bus.EventMeta{Tenant: "main", Table: table, MsgID: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		m, err := b.Message(t.Context(), bus.StreamEvents, sequence)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, m.Time)
	}
	return at
}

// TestExtent measures parts of a stream by time and by sequence.
func TestExtent(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	if e, err := b.Extent(t.Context(), bus.Events("main"), time.Now().Add(-time.Hour), time.Time{}); err != nil || !e.Empty() {
		t.Errorf("of an empty stream: %+v, %v", e, err)
	}
	at := rows(t, b, 10)
	if err := b.Delete(t.Context(), bus.StreamEvents, 1); err != nil {
		t.Fatal(err)
	}
	none := time.Time{}
	all := bus.Events("main")
	for name, c := range map[string]struct {
		selection bus.Selection
		from, to  time.Time
		want      bus.Extent
	}{
		"everything":        {all, none, none, bus.Extent{First: 2, Last: 10, Messages: 9}},
		"from before it":    {all, at[0].Add(-time.Hour), none, bus.Extent{First: 2, Last: 10, Messages: 9}},
		"from the fifth":    {all, at[4], none, bus.Extent{First: 5, Last: 10, Messages: 6}},
		"after the fifth":   {all, at[4].Add(1), none, bus.Extent{First: 6, Last: 10, Messages: 5}},
		"before the fifth":  {all, none, at[4], bus.Extent{First: 2, Last: 4, Messages: 3}},
		"between":           {all, at[4], at[6], bus.Extent{First: 5, Last: 6, Messages: 2}},
		"after it all":      {all, at[9].Add(1), none, bus.Extent{First: 11, Last: 10}},
		"a table":           {bus.Events("main", "a.one"), at[4], none, bus.Extent{First: 5, Last: 10, Messages: 3}},
		"two tables":        {bus.Events("main", "a.one", "a.two"), at[4], none, bus.Extent{First: 5, Last: 10, Messages: 6}},
		"another table":     {bus.Events("main", "a.three"), none, none, bus.Extent{First: 2, Last: 10}},
		"another tenant":    {bus.Events("other"), none, none, bus.Extent{First: 2, Last: 10}},
		"by sequence":       {all.Between(3, 7), none, none, bus.Extent{First: 3, Last: 7, Messages: 5}},
		"by both":           {all.Between(3, 7), at[4], at[9], bus.Extent{First: 5, Last: 7, Messages: 3}},
		"by both, nothing":  {all.Between(3, 4), at[6], none, bus.Extent{First: 7, Last: 4}},
		"a table, sequence": {bus.Events("main", "a.two").Between(3, 7), none, none, bus.Extent{First: 3, Last: 7, Messages: 2}},
	} {
		if got, err := b.Extent(t.Context(), c.selection, c.from, c.to); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
	seen := []uint64{}
	err := b.Scan(t.Context(), bus.Events("main", "a.two").Between(3, 7), func(m bus.Stored) (bool, error) {
		seen = append(seen, m.Sequence)
		return true, nil
	})
	if err != nil || fmt.Sprint(seen) != "[4 6]" {
		t.Errorf("scan: %v, %v", seen, err)
	}
}

// TestReplayConsumer is made once, reads what it is to read, and goes when it is ordered to.
func TestReplayConsumer(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	rows(t, b, 10)
	c := bus.ReplayConsumer("x")
	for _, first := range []uint64{5, 9} { // the second finds it there
		if err := b.MakeReplay(t.Context(), c, bus.Events("main", "a.one"), first); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := b.Backlog(t.Context(), c); err != nil || left.Waiting != 3 || left.Delivered != 4 || left.Done != 4 {
		t.Errorf("%+v, %v", left, err)
	}
	sub, err := b.Subscribe(t.Context(), c, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	for _, want := range []uint64{5, 7, 9} {
		d, err := sub.Next(t.Context())
		if err != nil || d.Sequence() != want || d.Subject() != "event.main.a.one" {
			t.Fatalf("%v, %v, want %d", d, err, want)
		}
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second finds nothing
		if err := b.RemoveReplay(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Backlog(t.Context(), c); !errors.Is(err, bus.ErrNotSetUp) {
		t.Errorf("it is still there: %v", err)
	}
}
