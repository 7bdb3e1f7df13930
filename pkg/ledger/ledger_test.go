package ledger_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var hour = time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC)

const (
	fetched = taplinev1.WindowState_WINDOW_STATE_FETCHED
	table   = "mail.proofpoint.tapsiem_v2.clicksblocked"
)

func open(tb testing.TB, b *bus.Bus) *ledger.Ledger {
	tb.Helper()
	bucket, err := b.Bucket(tb.Context(), bus.BucketLedger)
	if err != nil {
		tb.Fatal(err)
	}
	return ledger.New(bucket)
}

// minute is the job that reads one minute.
func minute(i int) string {
	start := hour.Add(time.Duration(i) * time.Minute)
	return job.ID{Tenant: "main", Set: feed.Set{feed.ClicksBlocked}, Window: window.New(start, start.Add(time.Minute)), Lane: taplinev1.Lane_LANE_LIVE}.String()
}

// entry is a job that brought one batch of ten records, whose RAW sequence is 10 i + 1.
func entry(i int) *taplinev1.JobRecord {
	return &taplinev1.JobRecord{
		JobId: minute(i), State: fetched, Batches: 1, MarkerSequence: uint64(10*i + 2),
		Feeds: []*taplinev1.FeedResult{{Feed: string(feed.ClicksBlocked), Received: 12, Duplicate: 2, Published: 10}},
	}
}

func rows(i int, n, dead int64) *taplinev1.BatchRecord {
	return &taplinev1.BatchRecord{RawSequence: uint64(10*i + 1), Feed: string(feed.ClicksBlocked), Table: table, Events: n, Dead: dead, AtMs: hour.UnixMilli()}
}

// TestManyWritersOfOnePage: replicas of every stage write at the same time, each
// entry twice, and nothing is lost or counted twice.
func TestManyWritersOfOnePage(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	const replicas, jobs = 3, 60
	var wg sync.WaitGroup
	for range replicas {
		l := open(t, b)
		for worker := range 4 {
			wg.Go(func() {
				for i := worker; i < jobs; i += 2 { // workers 0 and 2 write the same entries
					if err := l.RecordJob(t.Context(), entry(i)); err != nil {
						t.Error(err)
					}
					if err := l.RecordRows(t.Context(), minute(i), rows(i, 10, 0)); err != nil {
						t.Error(err)
					}
					if err := l.RecordDelivery(t.Context(), ledger.Delivery{JobID: minute(i), Batch: rows(i, 9, 1)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	report, err := open(t, b).Load(t.Context(), "main", hour, hour.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Rows) != jobs || len(report.Violations()) != 0 {
		t.Fatalf("%d rows, want %d; %v", len(report.Rows), jobs, report.Violations())
	}
	for _, r := range report.Rows {
		if r.Published != 10 || r.Events != 10 || r.Confirmed != 9 || r.SentDead != 1 || r.Pending() != 0 || !r.Made {
			t.Errorf("%+v", r)
		}
	}
	done, pending := report.Delivered(feed.ClicksBlocked)
	if missing := window.New(hour, hour.Add(time.Hour)).Missing(done); len(missing) != 0 || pending != 0 {
		t.Errorf("not settled: %v, %d", missing, pending)
	}
	if known, err := open(t, b).Outcomes(t.Context(), minute(3), minute(99)); err != nil || len(known) != 1 || known[minute(3)].GetState() != fetched {
		t.Errorf("outcomes %v, %v", known, err)
	}
}

// TestViolations breaks each rule once.
func TestViolations(t *testing.T) {
	t.Parallel()
	good := func() *taplinev1.LedgerPage {
		return &taplinev1.LedgerPage{
			Windows: []*taplinev1.JobRecord{entry(0)}, Made: []*taplinev1.BatchRecord{rows(0, 8, 2)}, Sent: []*taplinev1.BatchRecord{rows(0, 7, 1)},
		}
	}
	for name, c := range map[string]struct {
		change func(*taplinev1.LedgerPage)
		rule   string
	}{
		"good":                      {func(*taplinev1.LedgerPage) {}, ""},
		"not made yet":              {func(p *taplinev1.LedgerPage) { p.Made, p.Sent = nil, nil }, ""},
		"confirmed before the note": {func(p *taplinev1.LedgerPage) { p.Made = nil }, ""},
		"a record too many":         {func(p *taplinev1.LedgerPage) { p.Windows[0].Feeds[0].Received++ }, "received"},
		"more revisions than new":   {func(p *taplinev1.LedgerPage) { p.Windows[0].Feeds[0].Revision = 11 }, "received"},
		"not a job":                 {func(p *taplinev1.LedgerPage) { p.Windows[0].JobId = "x" }, "received"},
		"a row too few":             {func(p *taplinev1.LedgerPage) { p.Made[0].Dead--; p.Sent[0].Events-- }, "made"},
		"confirmed too few":         {func(p *taplinev1.LedgerPage) { p.Sent[0].Events-- }, "sent"},
	} {
		page := good()
		c.change(page)
		report, err := ledger.Join(page)
		if err != nil {
			t.Fatal(err)
		}
		var rules []string
		for _, v := range report.Violations() {
			rules = append(rules, v.Rule)
		}
		if got := strings.Join(rules, " "); !strings.Contains(got, c.rule) || (c.rule == "") != (got == "") {
			t.Errorf("%s: %v", name, report.Violations())
		}
	}
}

// TestRangesAreCutAtHours: no range leaves its page, and a repetition is no second record.
func TestRangesAreCutAtHours(t *testing.T) {
	t.Parallel()
	l := open(t, bustest.Start(t))
	w := window.New(hour.Add(-90*time.Minute), hour.Add(30*time.Minute))
	for range 2 {
		err := l.RecordRange(t.Context(), "main", &taplinev1.RangeRecord{
			Window: w.Proto(), State: taplinev1.WindowState_WINDOW_STATE_LOST, Feeds: []string{"clicksBlocked"}, Reason: "because",
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	report, err := l.Load(t.Context(), "main", w.Start, w.End)
	if err != nil {
		t.Fatal(err)
	}
	lost := report.Lost(feed.ClicksBlocked)
	if len(lost) != 3 || !lost[0].Start.Equal(w.Start) || !lost[2].End.Equal(w.End) || lost[1].Reason != "because" {
		t.Errorf("%+v", lost)
	}
	if span, err := l.Span(t.Context(), "main"); err != nil || span != window.New(w.Start.Truncate(time.Hour), hour.Add(time.Hour)) {
		t.Errorf("span %s, %v", span, err)
	}
}

// month fills the ledger as a month of live windows would: a window a minute of
// four feeds, each with a batch, and three sweeps an hour.
func month(tb testing.TB, b *bus.Bus, days int) (bytes int) {
	tb.Helper()
	bucket, err := b.Bucket(tb.Context(), bus.BucketLedger)
	if err != nil {
		tb.Fatal(err)
	}
	sequence := uint64(0)
	for h := range days * 24 {
		start := hour.Add(-time.Duration(days)*24*time.Hour + time.Duration(h)*time.Hour)
		for part, page := range syntheticHour(start, &sequence) {
			data, err := encode(page)
			if err != nil {
				tb.Fatal(err)
			}
			bytes += len(data)
			if err := bucket.Put(tb.Context(), ledger.Key(part, "main", start), data); err != nil {
				tb.Fatal(err)
			}
		}
	}
	return bytes
}

func BenchmarkLoad(b *testing.B) {
	bs := bustest.Start(b)
	bytes := month(b, bs, 30)
	usage, err := bs.Usage(b.Context(), "KV_"+bus.BucketLedger)
	if err != nil {
		b.Fatal(err)
	}
	l := open(b, bs)
	for name, days := range map[string]int{"days=1": 1, "days=9": 9, "days=30": 30} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				report, err := l.Load(b.Context(), "main", hour.Add(-time.Duration(days)*24*time.Hour), hour)
				if err != nil || len(report.Rows) < days*4*1440 || len(report.Violations()) > 0 {
					b.Fatal(len(report.Rows), err, report.Violations())
				}
			}
			b.ReportMetric(float64(bytes), "page-bytes/month")
			b.ReportMetric(float64(usage.Bytes), "disk-bytes/month")
		})
	}
}

func BenchmarkRecordRows(b *testing.B) {
	l := open(b, bustest.Start(b))
	i := 0
	for b.Loop() {
		if err := l.RecordJob(b.Context(), entry(i%60)); err != nil {
			b.Fatal(err)
		}
		i++
	}
	if i == 0 {
		b.Fatal(fmt.Errorf("nothing was noted"))
	}
}

// TestCallsThatTheLedgerKnows: each in its own pool, at its own time, and none that is older than a
// day.
func TestCallsThatTheLedgerKnows(t *testing.T) {
	t.Parallel()
	l := open(t, bustest.Start(t))
	at := func(age time.Duration) *timestamppb.Timestamp { return timestamppb.New(hour.Add(-age)) }
	permitted := job.ID{Tenant: "main", Set: feed.Set{feed.ClicksPermitted}, Window: window.New(hour, hour.Add(time.Minute)), Lane: taplinev1.Lane_LANE_LIVE}
	page := job.ID{Tenant: "main", Call: feed.CallCampaignIDs, Set: feed.Set{feed.Campaigns}, Window: permitted.Window, Lane: taplinev1.Lane_LANE_LIST, Pass: 1}
	other := permitted
	other.Tenant = "other"
	for _, w := range []*taplinev1.JobRecord{
		{JobId: minute(0), State: fetched, FetchedAt: at(time.Hour), Attempts: 3},
		{JobId: minute(1), State: fetched, FetchedAt: at(time.Hour), Attempts: 900}, // it waited
		{JobId: minute(2), State: fetched, FetchedAt: at(48 * time.Hour), NotedAt: at(48 * time.Hour), Calls: 7},
		{JobId: minute(3), State: taplinev1.WindowState_WINDOW_STATE_SPLIT},
		{JobId: permitted.String(), State: taplinev1.WindowState_WINDOW_STATE_UNPROVEN, NotedAt: at(2 * time.Hour), Calls: 5},
		{JobId: page.String(), State: fetched, NotedAt: at(3 * time.Hour), Calls: 1},
		{JobId: other.String(), State: fetched, NotedAt: at(3 * time.Hour), Calls: 99},
	} {
		if err := l.RecordJob(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	for pool, want := range map[feed.Pool]string{
		feed.PoolSIEM: "3 at -1h0m0s, 6 at -1h0m0s, 1 at 24h0m0s", feed.PoolSIEMPermitted: "5 at -2h0m0s", feed.PoolCampaignIDs: "1 at -3h0m0s", feed.PoolPeopleVAP: "",
	} {
		calls, err := l.Calls(t.Context(), "main", pool, hour.Add(-24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range calls {
			got = append(got, fmt.Sprintf("%d at %s", c.Units, c.At.Sub(hour)))
		}
		if list := strings.Join(got, ", "); list != want {
			t.Errorf("%s: %s, want %s", pool, list, want)
		}
	}
}
