package enricher_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/replay"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// reprocess gives an order about everything in RAW, as tapctl does, and waits for its end.
func reprocess(t *testing.T, b *bus.Bus, o *taplinev1.ReplayOrder) *taplinev1.Replay {
	t.Helper()
	o.Id, o.Tenant, o.Reprocess = replay.NewID(time.Now()), "main", true
	extent, err := b.Extent(t.Context(), replay.Selection(o), time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	o.FirstSequence, o.LastSequence, o.Messages = extent.First, extent.Last, extent.Messages
	if err := b.MakeReplay(t.Context(), replay.Consumer(o), replay.Selection(o), o.GetFirstSequence()); err != nil {
		t.Fatal(err)
	}
	bucket, err := b.Bucket(t.Context(), bus.BucketReplay)
	if err != nil {
		t.Fatal(err)
	}
	report := replay.NewStore(bucket, "main")
	if _, err := report.Give(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for range 6000 {
		r, err := report.Get(t.Context(), o.GetId())
		if err != nil {
			t.Fatal(err)
		}
		if replay.Over(r) {
			return r
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatal("the order does not end")
	return nil
}

// TestReportsMadeAgain: the same rows with the same ids, marked, and only for the tables that are
// wanted; what went to DEAD does not go there twice.
func TestReportsMadeAgain(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	var evidence []string
	for i := range 703 {
		evidence = append(evidence, fmt.Sprintf(`{"type":"url","what":{"n":%d}}`, i))
	}
	evidence[5] = `{"type":"url","what":"` + strings.Repeat("x", 3000) + `"}` // larger than a row may be
	report := `{"generated":"2026-03-11T12:30:44.917Z","reports":[{"scope":"CAMPAIGN","id":"c1","forensics":[` + strings.Join(evidence, ",") + `]}]}`
	message := bus.RawMessage{Feed: string(feed.Campaigns), Data: answer(t, about{reportJob, feed.Campaigns, &taplinev1.Target{Id: "c1"}, ""}, report)}
	if _, err := b.StoreJob(t.Context(), bus.JobOutput{
		Tenant: "main", JobID: reportJob, Marker: []byte("m"), Batches: func(yield func(bus.RawMessage, error) bool) { yield(message, nil) },
	}); err != nil {
		t.Fatal(err)
	}
	run(t, b, "FLATTEN_MAX_ROW=2048", "TAP_FORENSICS=true", "TAP_CAMPAIGN_FORENSICS=true")
	first := byID(t, events(t, b, 4), "")
	letters := func() uint64 {
		usage, err := b.Usage(t.Context(), bus.StreamDead)
		if err != nil {
			t.Fatal(err)
		}
		return usage.Messages
	}
	if len(first) != 2*702 || letters() != 1 {
		t.Fatalf("%d rows, %d letters", len(first), letters())
	}
	r := reprocess(t, b, &taplinev1.ReplayOrder{Tables: []string{feed.Threats.Table()}})
	if p := r.GetProgress(); replay.StateName(r) != "done" || p.GetRows() != 702 || p.GetMessages() != 1 {
		t.Fatalf("%v", r)
	}
	id := r.GetOrder().GetId()
	again := byID(t, events(t, b, 2), id)
	if len(again) != 702 || letters() != 1 {
		t.Errorf("%d rows again, %d letters", len(again), letters())
	}
	pages, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC)
	if err := ledger.New(pages).RecordJob(t.Context(), &taplinev1.JobRecord{
		JobId: reportJob, State: taplinev1.WindowState_WINDOW_STATE_FETCHED, Batches: 1, MarkerSequence: 2,
		Feeds: []*taplinev1.FeedResult{{Feed: string(feed.Campaigns), Received: 1, Published: 1}},
	}); err != nil {
		t.Fatal(err)
	}
	account, err := ledger.New(pages).Load(t.Context(), "main", day, day.AddDate(0, 0, 1))
	if err != nil || len(account.Rows) == 0 || account.Rows[0].Remade != 702 {
		t.Errorf("the ledger has %+v, %v", account, err)
	}
	mark := `,"@tapline_reprocess_id":"` + id + `"`
	for name, row := range again {
		if !strings.HasPrefix(name, feed.Threats.Table()+" ") || strings.Count(row, mark) != 1 || strings.Replace(row, mark, "", 1) != first[name] {
			t.Fatalf("%s: %s, at first %s", name, row, first[name])
		}
	}
}

// byID are rows by table and id; all are of one order, or of none.
func byID(t *testing.T, messages []batch.Events, order string) map[string]string {
	t.Helper()
	rows := make(map[string]string)
	for _, m := range messages {
		if m.ReprocessID != order {
			t.Errorf("rows of order %q, want %q", m.ReprocessID, order)
		}
		for _, e := range m.Events {
			rows[m.Table+" "+string(e.ID)] = string(e.JSON)
		}
	}
	return rows
}

// TestMarksCanBeSwitchedOff with the other keys, and what is malformed is counted and stays where
// it is.
func TestMarksCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	publish(t, b, "job", raw("main", "clicksBlocked", `{"id":"x"}`, `not an object`), []byte("\xff garbage"), raw("stranger", "clicksBlocked", `{}`),
		answer(t, about{vapJob, feed.PeopleVAP, nil, "no envelope"}, `{"identity":{}}`))
	run(t, b, "EVENT_TAPLINE_ID=false")
	first := string(events(t, b, 1)[0].Events[0].JSON)
	r := reprocess(t, b, &taplinev1.ReplayOrder{})
	if p := r.GetProgress(); p.GetRows() != 1 || p.GetDead() != 4 || p.GetMessages() != 4 {
		t.Errorf("%v", r)
	}
	if row := string(events(t, b, 1)[0].Events[0].JSON); row != first || strings.Contains(row, "tapline") {
		t.Errorf("row %s, at first %s", row, first)
	}
	if usage, err := b.Usage(t.Context(), bus.StreamDead); err != nil || usage.Messages != 4 {
		t.Errorf("%+v, %v", usage, err)
	}
}
