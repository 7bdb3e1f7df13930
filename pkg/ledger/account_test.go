package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func load(t *testing.T, l *ledger.Ledger) *ledger.Report {
	t.Helper()
	report, err := l.Load(t.Context(), "main", hour, hour.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestAWritingThatFails: no caller learns that a record is durable when its write failed, applied
// or not, and the next record neither forgets nor doubles it.
func TestAWritingThatFails(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		b, faults := bustest.StartFaulty(t)
		l := open(t, b)
		if err := l.RecordJob(t.Context(), entry(0)); err != nil {
			t.Fatal(err)
		}
		faults.Fail(bustest.Write(bus.BucketLedger), bustest.Fault{After: after})
		if err := l.RecordJob(t.Context(), entry(1)); err == nil || errors.Is(err, bus.ErrConflict) {
			t.Errorf("applied %t: a writing that failed gives %v", after, err)
		}
		if err := l.RecordJob(t.Context(), entry(2)); err != nil {
			t.Errorf("applied %t: the next: %v", after, err)
		}
		want := map[bool]int{false: 2, true: 3}[after]
		if rows := len(load(t, l).Rows); rows != want {
			t.Errorf("applied %t: %d entries, want %d", after, rows, want)
		}
		faults.Fail(bustest.Read(bus.BucketLedger), bustest.Fault{})
		if _, err := l.Outcomes(t.Context(), minute(0)); err == nil {
			t.Errorf("an outcome although the ledger could not be read")
		}
	}
}

// TestTheLastWordAboutAJob: what is stored stays stored whatever a straggler says; anything else is
// replaced by what comes later, with its attempts when the later does not know them.
func TestTheLastWordAboutAJob(t *testing.T) {
	t.Parallel()
	l := open(t, bustest.Start(t))
	note := func(state taplinev1.WindowState, attempts uint32) {
		t.Helper()
		w := entry(0)
		w.State, w.Attempts = state, attempts
		if err := l.RecordJob(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		state, want taplinev1.WindowState
		attempts    uint32
		calls       uint32
	}{
		{taplinev1.WindowState_WINDOW_STATE_UNPROVEN, taplinev1.WindowState_WINDOW_STATE_UNPROVEN, 3, 3},
		{fetched, fetched, 4, 4},
		{taplinev1.WindowState_WINDOW_STATE_UNPROVEN, fetched, 5, 4},
		{taplinev1.WindowState_WINDOW_STATE_SPLIT, fetched, 6, 4},
		{taplinev1.WindowState_WINDOW_STATE_LOST, fetched, 7, 4},
		{fetched, fetched, 0, 4},
	} {
		note(c.state, c.attempts)
		report := load(t, l)
		if len(report.Rows) != 1 || report.Rows[0].State != c.want || report.Rows[0].Calls != c.calls {
			t.Errorf("after %s: %+v", c.state, report.Rows)
		}
	}
}

// TestARepetitionReplaces: counts are never added up, the time of the first record stays, and what
// is corrected is corrected.
func TestARepetitionReplaces(t *testing.T) {
	t.Parallel()
	l := open(t, bustest.Start(t))
	if err := l.RecordJob(t.Context(), entry(0)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{7, 10} { // first with three in DEAD, then all
		made, sent := rows(0, n, 10-n), rows(0, n, 0)
		made.AtMs, sent.AtMs = hour.UnixMilli()+n, hour.UnixMilli()+n
		again := proto.CloneOf(made)
		again.ReplayId, again.EventSequence, again.Remade = "r1", 5, true
		if err := errors.Join(l.RecordRows(t.Context(), minute(0), made), l.RecordDelivery(t.Context(), ledger.Delivery{JobID: minute(0), Batch: sent}),
			l.RecordRemade(t.Context(), minute(0), again), l.RecordLookups(t.Context(), minute(0), &taplinev1.LookupRecord{RawSequence: 1, Named: 4, Ordered: 3, Known: 1})); err != nil {
			t.Fatal(err)
		}
	}
	report := load(t, l)
	r := report.Rows[0]
	if r.Events != 10 || r.MadeDead != 0 || r.Confirmed != 10 || r.Remade != 10 || r.Pending() != 0 || !r.Delivered.Equal(hour.Add(7*time.Millisecond)) {
		t.Errorf("%+v", r)
	}
	if w := report.Lookups(); w.GetNamed() != 4 || w.GetOrdered() != 3 || w.GetKnown() != 1 {
		t.Errorf("wants %+v", w)
	}
	if len(report.Violations()) != 0 {
		t.Error(report.Violations())
	}
}

// TestNeighboursInRAW: what became of a batch counts for the job it belongs to, not for the one
// whose marker lies beside.
func TestNeighboursInRAW(t *testing.T) {
	t.Parallel()
	first, second := entry(0), entry(1)
	second.MarkerSequence, second.Batches = 4, 2 // batches 2 and 3, right behind the marker... of batch 1
	first.MarkerSequence, first.Batches = 2, 1
	page := &taplinev1.LedgerPage{Windows: []*taplinev1.JobRecord{first, second}}
	for sequence, n := range map[uint64]int64{1: 10, 2: 4, 3: 6} {
		b := rows(0, n, 0)
		b.RawSequence = sequence
		again := proto.CloneOf(b)
		again.ReplayId, again.Remade = "r1", true
		page.Made, page.Sent, page.Remade = append(page.Made, b), append(page.Sent, proto.CloneOf(b)), append(page.Remade, again)
	}
	report, err := ledger.Join(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Rows {
		if r.Events != 10 || r.Confirmed != 10 || r.Remade != 10 || !r.Made {
			t.Errorf("%+v", r)
		}
	}
	if made, sent := report.Batch(2); len(made) != 1 || len(sent) != 1 || made[0].GetEvents() != 4 {
		t.Errorf("batch 2: %v, %v", made, sent)
	}
	if len(report.Violations()) != 0 {
		t.Error(report.Violations())
	}
}

// TestRebuildWithABacklog: what waits for the shipper is not confirmed, what it has acknowledged
// is, and what went to DEAD is neither.
func TestRebuildWithABacklog(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	ctx := t.Context()
	const jobs, confirmed, dead = 5, 3, 1
	for i := range jobs {
		store(t, b, i)
	}
	letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "shipper", Feed: string(feed.ClicksBlocked), Source: "EVENTS/2", Payload: []byte("{}"), DiedAt: timestamppb.New(hour)}
	for range dead {
		if err := b.PublishDead(ctx, letter, "one"); err != nil {
			t.Fatal(err)
		}
	}
	for range confirmed {
		taken, err := b.Take(ctx, bus.Consumption{Stage: "shipper", Tenant: "main", Consumer: bus.ConsumerShipper, Workers: 1, Log: slog.New(slog.DiscardHandler)}, func(context.Context, *bus.Delivery) error {
			return nil
		})
		if err != nil || !taken {
			t.Fatal(taken, err)
		}
	}
	l := open(t, b)
	found, err := l.Rebuild(ctx, b, "main")
	if err != nil || found.Jobs != jobs || found.Made != jobs || found.Confirmed != confirmed || found.Unknown != 0 {
		t.Fatalf("%+v, %v", found, err)
	}
	var pending, sent, letters int64
	report := load(t, l)
	for _, r := range report.Rows {
		pending, sent, letters = pending+r.Pending(), sent+r.Confirmed, letters+r.SentDead
	}
	if pending != 2*(jobs-confirmed) || sent != 2*confirmed-dead || letters != dead || len(report.Violations()) != 0 {
		t.Errorf("%d pending, %d confirmed, %d dead, %v", pending, sent, letters, report.Violations())
	}
}

// store puts a job of one batch with two records into RAW, and its rows into EVENTS.
func store(t *testing.T, b *bus.Bus, i int) {
	t.Helper()
	start := hour.Add(time.Duration(i) * time.Minute)
	head := batch.Raw{Tenant: "main", Feed: string(feed.ClicksBlocked), JobID: minute(i), Window: window.New(start, start.Add(time.Minute)), PullID: "1", FetchedAt: start}
	raw := batch.AppendRawHeader(nil, &head)
	events := &batch.Events{Tenant: "main", Table: table, Feed: head.Feed, JobID: head.JobID, SourceSequence: uint64(2*i + 1), Generation: 1}
	for n := range uint64(2) {
		raw = batch.AppendRecord(raw, &batch.Record{ID: n, Hash: n, TimeMS: start.UnixMilli(), JSON: []byte("{}")})
		events.Events = append(events.Events, batch.Event{ID: []byte("x"), JSON: []byte("{}")})
	}
	marker, err := proto.Marshal(&taplinev1.JobResult{
		JobId: minute(i), Tenant: "main", Batches: 1, FetchedAt: timestamppb.New(start), Status: 200,
		Feeds: []*taplinev1.FeedResult{{Feed: head.Feed, Received: 2, Published: 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.StoreJob(t.Context(), bus.JobOutput{Tenant: "main", JobID: minute(i), Marker: marker, Batches: func(yield func(bus.RawMessage, error) bool) {
		yield(bus.RawMessage{Feed: head.Feed, Data: batch.Pack(nil, raw)}, nil)
	}}); err != nil {
		t.Fatal(err)
	}
	meta := bus.EventMeta{Tenant: "main", Table: table, MsgID: fmt.Sprint(i)}
	if _, err := b.PublishEvents(t.Context(), batch.AppendEvents(nil, events), meta); err != nil {
		t.Fatal(err)
	}
}

// TestCallsOfVainTriesAreKept: each record of a window that was asked for in vain counts the calls
// since the one before, and a record that is repeated counts once. Calls by single feeds may have
// been of the pool of permitted clicks.
func TestCallsOfVainTriesAreKept(t *testing.T) {
	t.Parallel()
	l := open(t, bustest.Start(t))
	all := job.ID{Tenant: "main", Set: feed.SIEMAll.Feeds, Window: window.New(hour, hour.Add(time.Minute)), Lane: taplinev1.Lane_LANE_LIVE}.String()
	note := func(id string, state taplinev1.WindowState, failures, calls uint32) {
		t.Helper()
		at := timestamppb.New(hour.Add(time.Duration(failures) * time.Minute))
		if err := l.RecordJob(t.Context(), &taplinev1.JobRecord{JobId: id, State: state, Failures: failures, Calls: calls, NotedAt: at}); err != nil {
			t.Fatal(err)
		}
	}
	for i, calls := range []uint32{3, 1, 1, 1, 1} {
		note(minute(0), taplinev1.WindowState_WINDOW_STATE_UNPROVEN, uint32(3+i), calls)
		note(minute(0), taplinev1.WindowState_WINDOW_STATE_UNPROVEN, uint32(3+i), calls)
	}
	for range 2 {
		note(minute(0), fetched, 0, 2)
	}
	note(all, taplinev1.WindowState_WINDOW_STATE_UNPROVEN, 3, 6)
	for pool, want := range map[feed.Pool]int{feed.PoolSIEM: 7 + 2 + 6, feed.PoolSIEMPermitted: 5} {
		calls, err := l.Calls(t.Context(), "main", pool, hour.Add(-24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, c := range calls {
			sum += c.Units
		}
		if sum != want {
			t.Errorf("%s: %d calls are known, want %d", pool, sum, want)
		}
	}
}
