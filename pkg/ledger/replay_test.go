package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// by is the entry of an order.
func by(order string, event uint64, b *taplinev1.BatchRecord) *taplinev1.BatchRecord {
	b = proto.CloneOf(b)
	b.ReplayId, b.EventSequence = order, event
	return b
}

// TestWhatReplaysNote: each record may be repeated, and the sums hold.
func TestWhatReplaysNote(t *testing.T) {
	t.Parallel()
	lane, first := rows(0, 10, 0), rows(0, 10, 0)
	lane.EventSequence = 1
	for name, c := range map[string]struct {
		notes                                    []ledger.Delivery
		confirmed, resent, redelivered, delivers int64
	}{
		"the lane alone":              {[]ledger.Delivery{{Batch: lane}}, 10, 0, 0, 1},
		"a replay alone":              {[]ledger.Delivery{{Batch: by("a", 1, first)}}, 10, 0, 0, 1},
		"lane, then replay":           {[]ledger.Delivery{{Batch: lane}, {Batch: by("a", 1, first)}}, 10, 10, 0, 1},
		"replay, then lane":           {[]ledger.Delivery{{Batch: by("a", 1, first)}, {Batch: lane}}, 10, 10, 0, 1},
		"two replays":                 {[]ledger.Delivery{{Batch: by("a", 1, first)}, {Batch: by("b", 1, first)}}, 10, 10, 0, 1},
		"lane and two replays":        {[]ledger.Delivery{{Batch: by("a", 1, first)}, {Batch: by("b", 1, first)}, {Batch: lane}}, 10, 20, 0, 1},
		"a copy elsewhere":            {[]ledger.Delivery{{Batch: by("a", 1, first), Part: true}}, 0, 10, 0, 0},
		"one row":                     {[]ledger.Delivery{{Batch: by("a", 1, rows(0, 1, 0)), Part: true}}, 0, 1, 0, 0},
		"made again":                  {[]ledger.Delivery{{Batch: lane}, {Batch: by("", 7, first), Remaker: "r"}}, 10, 0, 10, 2},
		"made again, sent by replay":  {[]ledger.Delivery{{Batch: lane}, {Batch: by("a", 7, first), Remaker: "r"}}, 10, 0, 10, 2},
		"made again, then sent again": {[]ledger.Delivery{{Batch: lane}, {Batch: by("", 7, first), Remaker: "r"}, {Batch: by("a", 7, first), Remaker: "r"}}, 10, 10, 10, 2},
	} {
		l := open(t, bustest.Start(t))
		for range 2 {
			if err := l.RecordJob(t.Context(), entry(0)); err != nil {
				t.Fatal(err)
			}
			if err := l.RecordRows(t.Context(), minute(0), rows(0, 10, 0)); err != nil {
				t.Fatal(err)
			}
			if c.redelivered > 0 {
				again := by("r", 7, first)
				again.Remade = true
				if err := l.RecordRemade(t.Context(), minute(0), again); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, n := range c.notes {
			n.JobID = minute(0)
			for range 2 {
				n.Batch = proto.CloneOf(n.Batch)
				if err := l.RecordDelivery(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
		}
		report, err := l.Load(t.Context(), "main", hour, hour.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		r := report.Rows[0]
		if r.Confirmed != c.confirmed || r.Redelivered != c.redelivered || r.Pending() != 10-c.confirmed || len(report.Violations()) > 0 {
			t.Errorf("%s: confirmed %d, redelivered %d, pending %d, %v", name, r.Confirmed, r.Redelivered, r.Pending(), report.Violations())
		}
		if r.Resent != c.resent {
			t.Errorf("%s: resent %d, want %d", name, r.Resent, c.resent)
		}
		d, has := l.Deliveries(), int64(0)
		for _, maker := range []string{"", "r", "nobody"} {
			e := &batch.Events{JobID: minute(0), Table: table, SourceSequence: 1, ReprocessID: maker}
			if ok, err := d.Has(t.Context(), e); err != nil {
				t.Fatal(err)
			} else if ok {
				has++
			}
		}
		if has != c.delivers {
			t.Errorf("%s: %d of the batches count as delivered, want %d", name, has, c.delivers)
		}
	}
}

// TestOldReplaysMakeRoom: one that is repeated for ever does not fill a page.
func TestOldReplaysMakeRoom(t *testing.T) {
	t.Parallel()
	l := open(t, bustest.Start(t))
	if err := l.RecordJob(t.Context(), entry(0)); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		for event := range uint64(3) {
			s := ledger.Delivery{JobID: minute(0), Batch: by(fmt.Sprintf("order-%02d", i), event+1, rows(0, 10, 0)), Part: true}
			if err := l.RecordDelivery(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	report, err := l.Load(t.Context(), "main", hour, hour.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	_, resent := report.Repeats(1)
	if len(resent) != 16*3 || resent[0].GetReplayId() != "order-24" || resent[47].GetReplayId() != "order-39" {
		t.Errorf("%d entries, from %v", len(resent), resent[0])
	}
	if f := report.Rows[0].Feed; f != feed.ClicksBlocked {
		t.Errorf("feed %s", f)
	}
}

// TestRowsMadeAgainThatDoNotAddUp are a violation.
func TestRowsMadeAgainThatDoNotAddUp(t *testing.T) {
	t.Parallel()
	made, sent := by("r", 7, rows(0, 10, 0)), by("r", 7, rows(0, 8, 1))
	made.Remade, sent.Remade = true, true
	for want, dead := range map[int]int64{1: 1, 0: 2} {
		sent.Dead = dead
		report, err := ledger.Join(&taplinev1.LedgerPage{Windows: []*taplinev1.JobRecord{entry(0)}, Remade: []*taplinev1.BatchRecord{made}, Resent: []*taplinev1.BatchRecord{sent}})
		if err != nil || len(report.Violations()) != want {
			t.Errorf("%v, %v", report.Violations(), err)
		}
	}
}
