package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// scanned lists the sequences that a scan visits.
func scanned(ctx context.Context, b *bus.Bus, s bus.Selection) (sequences []uint64, err error) {
	err = b.Scan(ctx, s, func(m bus.Stored) (bool, error) { sequences = append(sequences, m.Sequence); return true, nil })
	return sequences, err
}

func reads(stream string) bustest.Call {
	return func(subject, _ string, _ []byte) bool { return subject == "$JS.API.DIRECT.GET."+stream }
}

// TestAScanIsWholeOrAnError: whatever part of whichever answer gets lost.
func TestAScanIsWholeOrAnError(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	const n = 5
	rows(t, b, n)
	for lose := 1; lose <= n; lose++ {
		fault := faults.Fail(reads(bus.StreamEvents), bustest.Fault{Lose: lose})
		got, err := scanned(t.Context(), b, bus.Events("main"))
		if err != nil || fmt.Sprint(got) != "[1 2 3 4 5]" {
			t.Errorf("message %d is lost once: %v, %v", lose, got, err)
		}
		fault.End()
	}
	fault := faults.Fail(reads(bus.StreamEvents), bustest.Fault{Lose: 1, Times: -1})
	defer fault.End()
	used, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if got, err := scanned(used, b, bus.Events("main")); err == nil || len(got) > 0 {
		t.Errorf("the first is lost each time: %v, %v", got, err)
	}
	fresh, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if _, err := b.Extent(fresh, bus.Events("main"), time.Time{}, time.Time{}); !errors.Is(err, bus.ErrIncomplete) || fresh.Err() != nil {
		t.Errorf("measured what does not come: %v", err)
	}
	fault.End()
	faults.Fail(reads(bus.StreamEvents), bustest.Fault{})
	if got, err := scanned(t.Context(), b, bus.Events("main")); err == nil || len(got) > 0 {
		t.Errorf("the server refuses: %v, %v", got, err)
	}
}

// TestAScanOfManyAnswers: more bytes than one holds, of one filter and of several, whose messages
// come in the order of the stream.
func TestAScanOfManyAnswers(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	const n, size = 40, 1 << 20
	for i := range n {
		meta := bus.EventMeta{Tenant: "main", Table: fmt.Sprintf("a.%d", i%3), MsgID: fmt.Sprint(i)}
		if _, err := b.PublishEvents(t.Context(), make([]byte, size), meta); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		selection bus.Selection
		want      int
	}{
		"all": {bus.Events("main"), n}, "three tables": {bus.Events("main", "a.2", "a.0", "a.1", "a.0"), n}, "two": {bus.Events("main", "a.0", "a.2"), 27},
		"one": {bus.Events("main", "a.1"), 13}, "from the middle": {bus.Events("main", "a.0", "a.1", "a.2").Between(11, 30), 20},
	} {
		got, err := scanned(t.Context(), b, c.selection)
		if err != nil || len(got) != c.want {
			t.Errorf("%s: %d of %d, %v", name, len(got), c.want, err)
		}
		for i := 1; i < len(got); i++ {
			if got[i] <= got[i-1] {
				t.Errorf("%s: %d comes after %d", name, got[i], got[i-1])
			}
		}
	}
}

// TestAScanWithoutTheStream is an error with a name.
func TestAScanWithoutTheStream(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t, bustest.Server(t))
	if _, err := scanned(t.Context(), b, bus.DeadLetters()); !errors.Is(err, bus.ErrNotSetUp) || !strings.Contains(err.Error(), bus.StreamDead) {
		t.Error(err)
	}
}
