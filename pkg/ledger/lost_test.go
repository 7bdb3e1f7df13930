package ledger_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestAVainTrySaysLeast: it takes the place of no other outcome, and of no later failure.
func TestAVainTrySaysLeast(t *testing.T) {
	t.Parallel()
	const (
		unproven = taplinev1.WindowState_WINDOW_STATE_UNPROVEN
		split    = taplinev1.WindowState_WINDOW_STATE_SPLIT
		lost     = taplinev1.WindowState_WINDOW_STATE_LOST
	)
	l := open(t, bustest.Start(t))
	for i, c := range []struct {
		notes    []taplinev1.WindowState
		failures []uint32
		want     taplinev1.WindowState
		vain     uint32
	}{
		{[]taplinev1.WindowState{unproven, unproven}, []uint32{3, 4}, unproven, 4},
		{[]taplinev1.WindowState{unproven, unproven}, []uint32{4, 3}, unproven, 4},
		{[]taplinev1.WindowState{unproven, split}, []uint32{4, 0}, split, 0},
		{[]taplinev1.WindowState{unproven, lost}, []uint32{4, 0}, lost, 0},
		{[]taplinev1.WindowState{split, unproven}, []uint32{0, 4}, split, 0},
		{[]taplinev1.WindowState{lost, unproven}, []uint32{0, 4}, lost, 0},
		{[]taplinev1.WindowState{lost, fetched}, []uint32{0, 0}, fetched, 0},
	} {
		for n, state := range c.notes {
			w := &taplinev1.JobRecord{JobId: minute(i), State: state, Failures: c.failures[n]}
			if err := l.RecordJob(t.Context(), w); err != nil {
				t.Fatal(err)
			}
		}
		known, err := l.Outcomes(t.Context(), minute(i))
		if err != nil {
			t.Fatal(err)
		}
		if have := known[minute(i)]; have.GetState() != c.want || have.GetFailures() != c.vain {
			t.Errorf("after %v: %s with %d failures", c.notes, have.GetState(), have.GetFailures())
		}
	}
}

// TestWhatIsReadAfterwardsIsNotLost: an operator has it read once more. What was read before it was
// given up is lost all the same, and so is what an answer did not prove read.
func TestWhatIsReadAfterwardsIsNotLost(t *testing.T) {
	t.Parallel()
	given := hour.Add(2 * time.Hour)
	read := func(i int, at time.Time) *taplinev1.JobRecord {
		w := entry(i)
		w.FetchedAt = timestamppb.New(at)
		return w
	}
	partly := read(12, given.Add(time.Hour))
	partly.ReadEnd = timestamppb.New(hour.Add(12*time.Minute + 20*time.Second))
	lost := taplinev1.WindowState_WINDOW_STATE_LOST
	report, err := ledger.Join(&taplinev1.LedgerPage{
		Windows: []*taplinev1.JobRecord{
			read(10, given.Add(-time.Hour)), read(11, given.Add(time.Hour)), partly,
			{JobId: minute(30), State: lost, Reason: "an answer"},
		},
		Ranges: []*taplinev1.RangeRecord{{
			Window: window.New(hour.Add(10*time.Minute), hour.Add(13*time.Minute)).Proto(), State: lost, Feeds: []string{"clicksBlocked"}, At: timestamppb.New(given), Reason: "late",
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []window.Window{
		window.New(hour.Add(30*time.Minute), hour.Add(31*time.Minute)),
		window.New(hour.Add(10*time.Minute), hour.Add(11*time.Minute)),
		window.New(hour.Add(12*time.Minute+20*time.Second), hour.Add(13*time.Minute)),
	}
	found := report.Lost(feed.ClicksBlocked)
	covered := report.Covered(feed.ClicksBlocked, lost)
	if len(found) != len(want) || len(covered) != len(want) {
		t.Fatalf("lost %+v, covered %s", found, covered)
	}
	for i, w := range want {
		if found[i].Window != w || covered[i] != w {
			t.Errorf("lost %+v, want %s", found[i], w)
		}
	}
	if none := report.Lost(feed.ClicksPermitted); len(none) > 0 {
		t.Errorf("of another feed: %+v", none)
	}
}

// TestALossIsRenewed: what was read between the first time and the last is lost all the same.
func TestALossIsRenewed(t *testing.T) {
	t.Parallel()
	l := open(t, bustest.Start(t))
	w := entry(0)
	w.FetchedAt = timestamppb.New(hour.Add(time.Hour))
	if err := l.RecordJob(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{hour, hour.Add(2 * time.Hour)} {
		err := l.RecordRange(t.Context(), "main", &taplinev1.RangeRecord{
			Window: window.New(hour, hour.Add(time.Minute)).Proto(), State: taplinev1.WindowState_WINDOW_STATE_LOST,
			Feeds: []string{"clicksBlocked"}, At: timestamppb.New(at), Reason: at.String(),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if lost := load(t, l).Lost(feed.ClicksBlocked); len(lost) != 1 || lost[0].Reason != hour.Add(2*time.Hour).String() {
		t.Errorf("%+v", lost)
	}
}
