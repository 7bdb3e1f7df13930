package shipper_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/ledger"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/shipper"
)

const jobID = "main/clicksBlocked/20260311T080000Z/20260311T090000Z/live/0"

// fillJob publishes batches of rows that are of a job, numbered throughout from first on.
func fillJob(tb testing.TB, b *bus.Bus, first, batches, rows int) {
	tb.Helper()
	for i := range batches {
		publish(tb, b, jobBatch(first+i*rows, rows))
	}
}

func jobBatch(first, rows int) *batch.Events {
	e := &batch.Events{Tenant: "main", Table: table, Feed: "clicksBlocked", JobID: jobID, SourceSequence: uint64(first + 1)}
	for j := range rows {
		e.Events = append(e.Events, batch.Event{PullMS: pulled, JSON: []byte(row(first + j))})
	}
	return e
}

// alarms lists what the shipper has raised.
func alarms(tb testing.TB, b *bus.Bus) map[alarm.Name]string {
	tb.Helper()
	state, err := b.Bucket(tb.Context(), bus.BucketState)
	if err != nil {
		tb.Fatal(err)
	}
	list, err := alarm.Read(tb.Context(), state, "main", time.Now())
	if err != nil {
		tb.Fatal(err)
	}
	raised := make(map[alarm.Name]string)
	for _, a := range list {
		raised[alarm.Name(a.GetName())] = a.GetDetail()
	}
	return raised
}

// book is the ledger.
func book(tb testing.TB, b *bus.Bus) *ledger.Ledger {
	tb.Helper()
	pages, err := b.Bucket(tb.Context(), bus.BucketLedger)
	if err != nil {
		tb.Fatal(err)
	}
	return ledger.New(pages)
}

// TestALostPlaceIsRebuilt from the ledger: the consumer of EVENTS is made anew, and what the ledger
// shows as confirmed is not resent, while what is not is. That is logged.
func TestALostPlaceIsRebuilt(t *testing.T) {
	t.Parallel()
	for name, runs := range map[string]bool{"while nothing runs": false, "while it runs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := bustest.Server(t)
			b := bustest.Connect(t, server)
			if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
				t.Fatal(err)
			}
			sink, environ := endpoint(t, devosink.Full)
			fillJob(t, b, 0, 120, 10)
			r := begin(t, b, nil, environ)
			settled(t, b)
			if got := alarms(t, b); len(got) > 0 {
				t.Errorf("alarms of a healthy shipper: %v", got)
			}
			if !runs {
				r.stop()
			}
			bustest.Forget(t, server, bus.ConsumerShipper)
			if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
				t.Fatal(err)
			}
			fillJob(t, b, 1200, 5, 10)
			if !runs {
				r = begin(t, b, nil, environ)
			}
			settled(t, b)
			if got := sink.Snapshot(); got.Events != 1250 || got.Duplicates != 0 {
				t.Errorf("the sink has %d rows, %d of them twice; want 1250 once", got.Events, got.Duplicates)
			}
			if n := r.value(t, "tapline_shipper_events_recalled_total"); n != 1200 {
				t.Errorf("%v rows were recognized, want 1200", n)
			}
			if got := alarms(t, b); got[alarm.MemoryLost] == "" {
				t.Errorf("alarms %v do not say that the place is lost", got)
			}
		})
	}
}

// TestOnlyProofKeepsARowBack: the ledger's entry must be about this very message and older than
// nothing but its confirmation, or the rows are sent.
func TestOnlyProofKeepsARowBack(t *testing.T) {
	t.Parallel()
	for name, trial := range map[string]struct {
		change func(*ledger.Delivery)
		rows   int64 // that the sink gets
	}{
		"it is shown":            {func(*ledger.Delivery) {}, 0},
		"with a dead row":        {func(s *ledger.Delivery) { s.Batch.Events, s.Batch.Dead = 2, 1 }, 0},
		"of another message":     {func(s *ledger.Delivery) { s.Batch.EventSequence = 2 }, 3},
		"before it was stored":   {func(s *ledger.Delivery) { s.Batch.AtMs -= time.Hour.Milliseconds() }, 3},
		"other rows":             {func(s *ledger.Delivery) { s.Batch.Events = 4 }, 3},
		"by a replay":            {func(s *ledger.Delivery) { s.Batch.ReplayId = "r" }, 3},
		"of another part":        {func(s *ledger.Delivery) { s.Batch.Part = 1 }, 3},
		"of rows made again":     {func(s *ledger.Delivery) { s.Remaker = "m" }, 3},
		"to another sink":        {func(s *ledger.Delivery) { s.Part, s.Batch.ReplayId, s.Batch.Sink = true, "r", "file" }, 3},
		"of another hour":        {func(s *ledger.Delivery) { s.JobID = "main/clicksBlocked/20260311T090000Z/20260311T100000Z/live/0" }, 3},
		"of another RAW message": {func(s *ledger.Delivery) { s.Batch.RawSequence++ }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bustest.Start(t)
			publish(t, b, jobBatch(0, 3))
			note := ledger.Delivery{JobID: jobID, Batch: &taplinev1.BatchRecord{
				RawSequence: 1, Feed: "clicksBlocked", Table: table, Events: 3, EventSequence: 1, AtMs: time.Now().Add(time.Second).UnixMilli(),
			}}
			trial.change(&note)
			if err := book(t, b).RecordDelivery(t.Context(), note); err != nil {
				t.Fatal(err)
			}
			sink, environ := relay(t, devosink.Full)
			r := begin(t, b, nil, environ)
			settled(t, b)
			if n := sink.Snapshot().Events; n != trial.rows {
				t.Errorf("the sink gets %d rows, want %d", n, trial.rows)
			}
			if n := r.value(t, "tapline_shipper_events_recalled_total"); n != float64(3-trial.rows) {
				t.Errorf("%v rows were recognized, want %d", n, 3-trial.rows)
			}
		})
	}
}

// TestSeveralSlipsAreNoLoss: a server that is killed now and then falls back a little each time.
// Only one far step back is a lost place.
func TestSeveralSlipsAreNoLoss(t *testing.T) {
	t.Parallel()
	var s shipper.Slips
	began, next := time.Now(), uint64(1)
	at := func(sequence uint64) time.Time { return began.Add(time.Duration(sequence) * time.Minute) }
	step := func(back uint64) (lost bool) {
		for sequence := next - back; sequence < next; sequence++ {
			if !s.Given(sequence) {
				t.Fatalf("%d was given before", sequence)
			}
			lost = lost || s.Confirmed(at(sequence))
		}
		for range 10 {
			if s.Given(next) {
				t.Fatalf("%d was not given before", next)
			}
			next++
		}
		return lost
	}
	for n := range 100 {
		if step(min(uint64(n), 3)) {
			t.Fatalf("the place is lost after %d slips", n)
		}
	}
	if !step(30) {
		t.Error("half an hour that is given once more is no lost place")
	}
}
