package ledger_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestKnownIsNotConfirmed: rows that are on their way are not confirmed because the next windows,
// which reach back, or a sweep found their records known.
func TestKnownIsNotConfirmed(t *testing.T) {
	t.Parallel()
	set, f := feed.Set{feed.ClicksBlocked}, feed.ClicksBlocked
	at := func(minute int) time.Time { return hour.Add(time.Duration(minute) * time.Minute) }
	page := &taplinev1.LedgerPage{}
	sequence := uint64(0)
	read := func(from, to int, lane taplinev1.Lane, pass uint32, published int64) {
		sequence += 2
		r := &taplinev1.JobRecord{
			JobId: job.ID{Tenant: "main", Set: set, Window: window.New(at(from), at(to)), Lane: lane, Pass: pass}.String(), State: fetched, MarkerSequence: sequence,
			Feeds: []*taplinev1.FeedResult{{Feed: string(f), Received: 10, Published: published, Duplicate: 10 - published}},
		}
		if published > 0 {
			r.Batches = 1
		}
		page.Windows = append(page.Windows, r)
	}
	fresh := func() (int, int64) {
		t.Helper()
		report, err := ledger.Join(page)
		if err != nil {
			t.Fatal(err)
		}
		upTo, pending := report.Fresh(f, window.New(at(0), at(30)))
		return int(upTo.Sub(hour).Minutes()), pending
	}
	live := taplinev1.Lane_LANE_LIVE
	read(0, 10, live, 0, 0)
	read(5, 15, live, 0, 3) // no rows were made of these
	read(10, 20, live, 0, 0)
	read(15, 30, live, 0, 0)
	if upTo, pending := fresh(); upTo != 10 || pending != 3 {
		t.Errorf("confirmed up to minute %d with %d on their way, want 10 and 3", upTo, pending)
	}
	read(0, 30, taplinev1.Lane_LANE_SWEEP, 35, 0)
	if upTo, _ := fresh(); upTo != 10 {
		t.Errorf("after a sweep that found nothing: up to minute %d, want 10", upTo)
	}
	page.Made = []*taplinev1.BatchRecord{{RawSequence: 3, Feed: string(f), Table: f.Table(), Events: 3, EventSequence: 1}}
	page.Sent = []*taplinev1.BatchRecord{{RawSequence: 3, Feed: string(f), Table: f.Table(), Events: 3, EventSequence: 1}}
	if upTo, pending := fresh(); upTo != 30 || pending != 0 {
		t.Errorf("when they are confirmed: up to minute %d with %d on their way", upTo, pending)
	}
	if report, err := ledger.Join(&taplinev1.LedgerPage{Windows: page.Windows, Sent: []*taplinev1.BatchRecord{{RawSequence: 3, Feed: string(f), Table: f.Table(), Events: 9, EventSequence: 1}}}); err != nil || report.Rows[1].Pending() != 0 {
		t.Errorf("nine rows of three records, confirmed before the enricher's note: %+v, %v", report.Rows[1], err)
	}
	read(0, 29, taplinev1.Lane_LANE_SWEEP, 360, 1)
	if upTo, pending := fresh(); upTo != 30 || pending != 1 {
		t.Errorf("when a sweep found one that was late: up to minute %d with %d on their way", upTo, pending)
	}
}
