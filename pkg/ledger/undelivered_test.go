package ledger_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// stored is a batch of the job in EVENTS.
func stored(event uint64, b *taplinev1.BatchRecord) *taplinev1.BatchRecord {
	b = proto.CloneOf(b)
	b.EventSequence = event
	return b
}

// TestWhatLeftAStream: lost is what is neither in its stream nor at the sink nor in DEAD, and each
// batch once. The job's batch is RAW 1, its marker RAW 2, and its ten rows are EVENTS 5.
func TestWhatLeftAStream(t *testing.T) {
	t.Parallel()
	all := ledger.Kept{First: 1, Last: 9}
	made, permitted := stored(5, rows(0, 10, 0)), stored(5, rows(0, 10, 0))
	permitted.Feed = string(feed.ClicksPermitted)
	unproven := entry(0)
	unproven.State = taplinev1.WindowState_WINDOW_STATE_SPLIT
	inRaw := rows(0, 10, 0)
	for name, c := range map[string]struct {
		page        *taplinev1.LedgerPage
		raw, events ledger.Kept
		want        string
	}{
		"nothing left":            {&taplinev1.LedgerPage{Made: list(made)}, all, all, ""},
		"the first that is kept":  {&taplinev1.LedgerPage{Made: list(made)}, all, ledger.Kept{First: 5, Last: 9}, ""},
		"the last that is kept":   {&taplinev1.LedgerPage{Made: list(made)}, all, ledger.Kept{First: 1, Last: 5}, ""},
		"below what is kept":      {&taplinev1.LedgerPage{Made: list(made)}, all, ledger.Kept{First: 6, Last: 9}, "10 of clicksBlocked for 2026-03-11T08:00:00Z/2026-03-11T08:01:00Z (EVENTS 5)"},
		"above what is kept":      {&taplinev1.LedgerPage{Made: list(made)}, all, ledger.Kept{First: 1, Last: 4}, "EVENTS 5"},
		"rows that were not told": {&taplinev1.LedgerPage{Made: list(rows(0, 10, 0))}, all, ledger.Kept{First: 6, Last: 9}, ""},
		"rows of another feed":    {&taplinev1.LedgerPage{Made: list(permitted)}, all, ledger.Kept{First: 6, Last: 9}, ""},
		"delivered":               {&taplinev1.LedgerPage{Made: list(made), Sent: list(made)}, all, ledger.Kept{First: 6, Last: 9}, ""},
		"recorded":                {&taplinev1.LedgerPage{Made: list(made), Lost: list(made)}, all, ledger.Kept{First: 6, Last: 9}, ""},
		"no rows yet, kept":       {&taplinev1.LedgerPage{}, ledger.Kept{First: 2, Last: 9}, all, ""},
		"no rows yet, gone":       {&taplinev1.LedgerPage{}, ledger.Kept{First: 3, Last: 9}, all, "10 of clicksBlocked for 2026-03-11T08:00:00Z/2026-03-11T08:01:00Z (RAW 1)"},
		"no rows yet, recorded":   {&taplinev1.LedgerPage{Lost: list(inRaw)}, ledger.Kept{First: 3, Last: 9}, all, ""},
		"some in DEAD":            {&taplinev1.LedgerPage{Made: list(rows(0, 0, 4)), Windows: []*taplinev1.JobRecord{twoBatches()}}, ledger.Kept{First: 4, Last: 9}, all, "6 of clicksBlocked"},
		"all in DEAD":             {&taplinev1.LedgerPage{Made: list(rows(0, 0, 10)), Windows: []*taplinev1.JobRecord{twoBatches()}}, ledger.Kept{First: 4, Last: 9}, all, ""},
		"not read":                {&taplinev1.LedgerPage{Windows: []*taplinev1.JobRecord{unproven}}, ledger.Kept{First: 3, Last: 9}, all, ""},
	} {
		if len(c.page.GetWindows()) == 0 {
			c.page.Windows = []*taplinev1.JobRecord{entry(0)}
		}
		report, err := ledger.Join(c.page)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, l := range report.Losses(c.raw, c.events) {
			found = append(found, l.String())
		}
		if text := strings.Join(found, "; "); !strings.Contains(text, c.want) || (c.want == "") != (text == "") || len(found) > 1 {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
}

func list(b ...*taplinev1.BatchRecord) []*taplinev1.BatchRecord { return b }

// twoBatches is a job whose second batch is not made into rows yet.
func twoBatches() *taplinev1.JobRecord {
	w := entry(0)
	w.MarkerSequence, w.Batches = 3, 2
	return w
}

// TestLossesAreRecordedOnce: with the time of the first record; what reaches the sink all the same
// is not lost.
func TestLossesAreRecordedOnce(t *testing.T) {
	t.Parallel()
	l := open(t, bustest.Start(t))
	ctx := t.Context()
	made := stored(5, rows(0, 10, 0))
	if err := l.RecordJob(ctx, entry(0)); err != nil {
		t.Fatal(err)
	}
	if err := l.RecordJob(ctx, entry(1)); err != nil {
		t.Fatal(err)
	}
	if err := l.RecordRows(ctx, minute(0), made); err != nil {
		t.Fatal(err)
	}
	gone := ledger.Kept{First: 50, Last: 60}
	losses := load(t, l).Losses(gone, gone)
	if len(losses) != 2 { // of EVENTS the first job's, of RAW the second's
		t.Fatalf("%v", losses)
	}
	for _, at := range []time.Time{hour.Add(time.Hour), hour.Add(2 * time.Hour)} {
		if err := l.RecordLosses(ctx, at, losses...); err != nil {
			t.Fatal(err)
		}
	}
	report := load(t, l)
	lost := report.Lost(feed.ClicksBlocked)
	if len(lost) != 2 || !lost[0].Undelivered || !strings.Contains(lost[0].Reason, "10 rows left EVENTS") || !strings.Contains(lost[1].Reason, "10 rows left RAW") ||
		!lost[0].At.Equal(hour.Add(time.Hour)) || len(report.Losses(gone, gone)) > 0 {
		t.Errorf("%+v, and once more %v", lost, report.Losses(gone, gone))
	}
	if r := report.Rows[0]; r.Lost != 10 || r.Pending() != 0 || len(report.Lost(feed.ClicksPermitted)) > 0 {
		t.Errorf("%+v", r)
	}
	if losses[0].Batch.GetAtMs() != made.GetAtMs() {
		t.Error("the caller's record was changed")
	}
	// The rows of the second job are made all the same, and those of the first are made anew and
	// delivered.
	again := by("r", 7, made)
	again.Remade = true
	for _, err := range []error{
		l.RecordRows(ctx, minute(1), stored(6, rows(1, 10, 0))), l.RecordRemade(ctx, minute(0), again), l.RecordDelivery(ctx, ledger.Delivery{JobID: minute(0), Batch: again, Remaker: "r"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if lost := load(t, l).Lost(feed.ClicksBlocked); len(lost) > 0 {
		t.Errorf("lost although made or delivered: %+v", lost)
	}
}

// TestOnlyItsOwnRowsAreReplaced: those of another table, or only sent once more, bring nothing
// back.
func TestOnlyItsOwnRowsAreReplaced(t *testing.T) {
	t.Parallel()
	made := stored(5, rows(0, 10, 0))
	for name, c := range map[string]struct {
		change func(*taplinev1.BatchRecord)
		lost   int
	}{
		"its own":      {func(b *taplinev1.BatchRecord) { b.Remade = true }, 0},
		"only resent":  {func(*taplinev1.BatchRecord) {}, 1},
		"other table":  {func(b *taplinev1.BatchRecord) { b.Remade, b.Table = true, "other" }, 1},
		"other batch":  {func(b *taplinev1.BatchRecord) { b.Remade, b.RawSequence = true, 2 }, 1},
		"batch before": {func(b *taplinev1.BatchRecord) { b.Remade, b.RawSequence = true, 0 }, 1},
	} {
		again := by("r", 7, made)
		c.change(again)
		report, err := ledger.Join(&taplinev1.LedgerPage{Windows: []*taplinev1.JobRecord{entry(0)}, Made: list(made), Lost: list(made), Resent: list(again)})
		if err != nil || len(report.Lost(feed.ClicksBlocked)) != c.lost {
			t.Errorf("%s: %+v, %v", name, report.Lost(feed.ClicksBlocked), err)
		}
	}
}

// TestUndelivered: the lowest sequence of EVENTS that waits for the sink.
func TestUndelivered(t *testing.T) {
	t.Parallel()
	first, second, third := stored(5, rows(0, 10, 0)), stored(4, rows(1, 10, 0)), stored(9, rows(2, 10, 0))
	report, err := ledger.Join(&taplinev1.LedgerPage{Made: list(first, second, third, rows(3, 10, 0)), Sent: list(second)})
	if err != nil {
		t.Fatal(err)
	}
	for from, want := range map[uint64]uint64{0: 5, 5: 5, 6: 9, 9: 9, 10: 0} {
		if at := report.Undelivered(from); at != want {
			t.Errorf("from %d: %d, want %d", from, at, want)
		}
	}
}

// TestWhichMessageIsConfirmed: this very one, whole, by the shipper itself, and not before it was
// stored.
func TestWhichMessageIsConfirmed(t *testing.T) {
	t.Parallel()
	l := open(t, bustest.Start(t))
	ctx := t.Context()
	at := hour.Add(time.Minute)
	sent := stored(5, rows(0, 1, 1)) // one confirmed, one in DEAD
	sent.AtMs = at.UnixMilli()
	replayed := stored(6, rows(1, 2, 0))
	replayed.AtMs, replayed.ReplayId = at.UnixMilli(), "r"
	if err := l.RecordDelivery(ctx, ledger.Delivery{JobID: minute(0), Batch: sent}, ledger.Delivery{JobID: minute(1), Batch: replayed}); err != nil {
		t.Fatal(err)
	}
	two := make([]batch.Event, 2)
	events := func(i, n int) *batch.Events {
		return &batch.Events{JobID: minute(i), Table: table, SourceSequence: uint64(10*i + 1), Events: two[:n]}
	}
	d := l.Deliveries()
	for name, c := range map[string]struct {
		e        *batch.Events
		sequence uint64
		stored   time.Time
		want     bool
	}{
		"itself":                {events(0, 2), 5, hour, true},
		"stored at that moment": {events(0, 2), 5, at, true},
		"stored afterwards":     {events(0, 2), 5, at.Add(time.Millisecond), false},
		"another message":       {events(0, 2), 4, hour, false},
		"another number":        {events(0, 1), 5, hour, false},
		"by a replay":           {events(1, 2), 6, hour, false},
		"not at all":            {events(2, 2), 7, hour, false},
		"of no job":             {&batch.Events{JobID: "x", Events: two}, 5, hour, false},
	} {
		confirmed, err := d.Confirmed(ctx, c.e, c.sequence, c.stored)
		if err != nil || confirmed.IsZero() == c.want || c.want && !confirmed.Equal(at) {
			t.Errorf("%s: %s, %v", name, confirmed, err)
		}
	}
	if has, err := d.Has(ctx, events(1, 2)); !has || err != nil {
		t.Errorf("what a replay has delivered is delivered: %t, %v", has, err)
	}
}
