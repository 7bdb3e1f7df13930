package scheduler_test

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/replay"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	batchBytes = 16 << 10
	small      = 1 << 20 // what RAW and EVENTS may hold
)

var smallLimits = bus.Limits{RawMaxBytes: small, EventsMaxBytes: small, Replicas: 1, AckWait: 15 * time.Second}

// stages does what the other stages do, as far as streams and ledger see it.
type stages struct {
	t       *testing.T
	server  *embedded.Server
	b       *bus.Bus
	ledger  *ledger.Ledger
	jobs    int
	records []made
}

// made is a job with one batch of 100 records, and the rows of it.
type made struct {
	id     string
	record *taplinev1.BatchRecord
}

func smallStreams(t *testing.T) *stages {
	t.Helper()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), smallLimits, quota.Seeds("main")); err != nil {
		t.Fatal(err)
	}
	records, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	return &stages{t: t, server: server, b: b, ledger: ledger.New(records)}
}

// must ends the test for an error.
func (s *stages) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// fetch stores a job that ends before an instant, and records it unless asked not to. It returns
// false when RAW is full.
func (s *stages) fetch(end time.Time, recorded bool) bool {
	s.t.Helper()
	w := window.New(end.Add(-time.Duration(s.jobs+1)*time.Minute), end.Add(-time.Duration(s.jobs)*time.Minute))
	s.jobs++
	id := "main/clicksBlocked/" + w.Compact("/") + "/live/0"
	result := &taplinev1.JobResult{
		JobId: id, Batches: 1, FetchedAt: timestamppb.Now(),
		Feeds: []*taplinev1.FeedResult{{Feed: string(feed.ClicksBlocked), Received: 100, Published: 100}},
	}
	marker, err := proto.Marshal(result)
	s.must(err)
	sequence, err := s.b.StoreJob(s.t.Context(), bus.JobOutput{Tenant: "main", JobID: id, Marker: marker, Batches: one})
	if errors.Is(err, bus.ErrFull) {
		return false
	}
	s.must(err)
	if recorded {
		s.must(s.ledger.RecordJob(s.t.Context(), ledger.Fetched(result, sequence)))
	}
	s.records = append(s.records, made{id, &taplinev1.BatchRecord{
		RawSequence: sequence - 1, Feed: string(feed.ClicksBlocked), Table: feed.ClicksBlocked.Table(), Events: 100,
	}})
	return true
}

var one iter.Seq2[bus.RawMessage, error] = func(yield func(bus.RawMessage, error) bool) {
	yield(bus.RawMessage{Feed: string(feed.ClicksBlocked), Data: make([]byte, batchBytes)}, nil)
}

// enrich makes rows of all batches that have none, and acknowledges them.
func (s *stages) enrich() {
	s.t.Helper()
	for i := range s.records {
		m := &s.records[i]
		if m.record.GetEventSequence() > 0 {
			continue
		}
		sequence, err := s.b.PublishEvents(s.t.Context(), make([]byte, batchBytes), bus.EventMeta{Tenant: "main", Table: m.record.GetTable(), MsgID: m.id})
		s.must(err)
		m.record.EventSequence = sequence
		s.must(s.ledger.RecordRows(s.t.Context(), m.id, m.record))
	}
	s.ack(bus.ConsumerEnricher, len(s.records))
	s.ack(bus.ConsumerExpander, len(s.records))
}

// ship has the sink confirm n batches; those before not are recorded as confirmed.
func (s *stages) ship(n, not int) {
	s.t.Helper()
	for _, m := range s.records[:not] {
		s.must(s.ledger.RecordDelivery(s.t.Context(), ledger.Delivery{JobID: m.id, Batch: proto.CloneOf(m.record)}))
	}
	s.ack(bus.ConsumerShipper, n)
}

func (s *stages) ack(c bus.Consumer, n int) {
	s.t.Helper()
	sub, err := s.b.Subscribe(s.t.Context(), c, 10)
	s.must(err)
	defer sub.Stop()
	var last uint64
	for range n {
		d, err := sub.Next(s.t.Context())
		s.must(err)
		s.must(d.Ack())
		last = d.Sequence()
	}
	poll(s.t, func() bool {
		backlog, err := s.b.Backlog(s.t.Context(), c)
		return err == nil && backlog.Done >= last
	})
}

// full fills both streams up to nine tenths with what is delivered, of windows that end before an
// instant.
func (s *stages) full(end time.Time) {
	s.t.Helper()
	for s.share(bus.StreamRaw) < 0.97 && s.fetch(end, true) {
		continue
	}
	s.enrich()
}

func (s *stages) usage(stream string) bus.Usage {
	s.t.Helper()
	u, err := s.b.Usage(s.t.Context(), stream)
	s.must(err)
	return u
}

func (s *stages) share(stream string) float64 {
	s.t.Helper()
	u := s.usage(stream)
	return float64(u.Bytes) / float64(u.MaxBytes)
}

func (s *stages) alarm(name alarm.Name) string {
	s.t.Helper()
	state, err := s.b.Bucket(s.t.Context(), bus.BucketState)
	s.must(err)
	raised, err := alarm.Read(s.t.Context(), state, "main", time.Now())
	s.must(err)
	i := slices.IndexFunc(raised, func(a *taplinev1.Alarm) bool { return a.GetName() == string(name) })
	if i < 0 {
		return ""
	}
	return raised[i].GetDetail()
}

// TestDeliveredHistoryMakesRoom: streams that are full of delivered rows, swept or not, stop
// neither backfill nor live reading.
func TestDeliveredHistoryMakesRoom(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]time.Time{"past the last sweep": epoch.AddDate(0, 0, -2), "not swept": epoch} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := smallStreams(t)
			s.full(end)
			s.ship(len(s.records), len(s.records))
			stop := start(t, s.b, still, "TAP_START_TIME=1h")
			backfill := newWorker(t, s.b, bus.ConsumerFetcherBackfill)
			backfill.do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
			stop()
			for _, stream := range []string{bus.StreamRaw, bus.StreamEvents} {
				if u := s.usage(stream); u.First == 1 || s.share(stream) >= 0.80 || s.share(stream) < 0.4 {
					t.Errorf("%s: %.0f %%, from %d on", stream, s.share(stream)*100, u.First)
				}
			}
			for _, name := range []alarm.Name{alarm.StreamFull, alarm.Lost} {
				if got := s.alarm(name); got != "" {
					t.Errorf("alarm: %s", got)
				}
			}
		})
	}
}

// TestWhatIsNeededStays: nothing goes that is not delivered, not recorded, or read by a replay;
// then nothing is planned, and the alarm reports it.
func TestWhatIsNeededStays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stream  string
		prepare func(s *stages)
	}{
		"the sink took nothing":                {bus.StreamEvents, func(s *stages) { s.full(epoch); s.ship(0, 0) }},
		"acknowledged but not in the ledger":   {bus.StreamEvents, func(s *stages) { s.full(epoch); s.ship(len(s.records), 0) }},
		"in the ledger but not acknowledged":   {bus.StreamEvents, func(s *stages) { s.full(epoch); s.ship(0, len(s.records)) }},
		"a job that the ledger does not know":  {bus.StreamRaw, func(s *stages) { s.fetch(epoch, false); s.full(epoch); s.ship(len(s.records), len(s.records)) }},
		"records that no enricher has had yet": {bus.StreamRaw, func(s *stages) { s.fill() }},
		"rows that a replay still reads": {bus.StreamEvents, func(s *stages) {
			s.full(epoch)
			s.ship(len(s.records), len(s.records))
			orders, err := s.b.Bucket(s.t.Context(), bus.BucketReplay)
			s.must(err)
			last := s.usage(bus.StreamEvents).Last
			_, err = replay.NewStore(orders, "main").Give(s.t.Context(), &taplinev1.ReplayOrder{
				Id: replay.NewID(time.Now()), Tenant: "main", FirstSequence: 1, LastSequence: last, Messages: last, OrderedAt: timestamppb.Now(),
			})
			s.must(err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := smallStreams(t)
			c.prepare(s)
			stop := start(t, s.b, still, "TAP_START_TIME=1h")
			poll(t, func() bool { return strings.HasPrefix(s.alarm(alarm.StreamFull), c.stream+" holds 1 MiB of ") })
			state, err := s.b.Bucket(t.Context(), bus.BucketState)
			s.must(err)
			poll(t, func() bool { _, err := state.Get(t.Context(), "main.all"); return err == nil })
			stop()
			if u := s.usage(c.stream); u.First != 1 {
				t.Errorf("%s begins with %d", c.stream, u.First)
			}
			if u := s.usage(bus.StreamJobs); u.Last != 0 {
				t.Errorf("%d jobs are planned", u.Last)
			}
		})
	}
}

// fill fills RAW with what was not consumed.
func (s *stages) fill() {
	s.t.Helper()
	for s.share(bus.StreamRaw) < 0.97 && s.fetch(epoch, true) {
		continue
	}
}
