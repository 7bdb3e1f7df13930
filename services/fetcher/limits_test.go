package fetcher

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
	"github.com/tapline/tapline/services/fetcher/internal/spool"
)

// TestHowOftenAnIDIsAskedFor: an odd answer of few calls only twice, hours apart.
func TestHowOftenAnIDIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		attempts int
		limit    int
		err      error
		want     int
		delay    time.Duration
	}{
		{8, 50, api(proofpoint.NotFound), 2, 4 * time.Hour},
		{1, 50, api(proofpoint.NotFound), 1, 4 * time.Hour},
		{8, 50, api(proofpoint.ServerError), 8, 40 * time.Second},
		{8, 50, errBusy, 8, 40 * time.Second},
		{8, 1800, api(proofpoint.NotFound), 8, 40 * time.Second},
	} {
		f := &Fetcher{scale: func(d time.Duration) time.Duration { return d }}
		f.cfg.Expand.Attempts, f.cfg.Expand.Delay = c.attempts, 10*time.Second
		f.cfg.Quota.ForensicsThreat = c.limit
		w := windowOf(time.Hour, taplinev1.Lane_LANE_LIVE, 0, feed.ClicksBlocked)
		w.endpoint.Pool = feed.CallThreatForensics.Pool()
		if got, delay := f.attempts(w, c.err), f.delay(w, c.err, 3); got != c.want || delay != c.delay {
			t.Errorf("%v with %d calls: %d times, then after %s", c.err, c.limit, got, delay)
		}
	}
}

// TestRoomForAnAnswer: nothing is fetched while RAW is full, or half a minute after it refused
// something.
func TestRoomForAnAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		share int
		full  time.Duration // ago
		ok    bool
	}{"room": {97, time.Hour, true}, "full": {98, time.Hour, false}, "it refused": {0, time.Second, false}} {
		f := &Fetcher{}
		f.raw = backpressure{looked: time.Now().Add(time.Hour), full: time.Now().Add(-c.full), share: c.share}
		if err := f.checkRoom(t.Context()); (err == nil) != c.ok || err != nil && !errors.Is(err, errNoRoom) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := &Fetcher{}
	f.raw.looked = time.Now().Add(time.Hour)
	if f.raw.refused(); !errors.Is(f.checkRoom(t.Context()), errNoRoom) {
		t.Error("what RAW refuses is forgotten")
	}
}

// TestJobsThatAreRefused: what this fetcher cannot run.
func TestJobsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		span time.Duration
		pass uint32
		id   string
		ok   bool
	}{
		"an hour":              {time.Hour, 0, "", true},
		"more than an hour":    {time.Hour + time.Second, 0, "", false},
		"half a minute":        {30 * time.Second, 0, "", true},
		"less":                 {29 * time.Second, 0, "", false},
		"the oldest pass":      {time.Hour, 10_080, "", true},
		"an older one":         {time.Hour, 10_081, "", false},
		"an id of another job": {time.Hour, 0, windowOf(time.Minute, taplinev1.Lane_LANE_LIVE, 0, feed.ClicksBlocked).job.GetId(), false},
		"no id":                {time.Hour, 0, "nonsense", false},
	} {
		f := &Fetcher{}
		f.cfg.Tenant.Name = "main"
		order := windowOf(c.span, taplinev1.Lane_LANE_SWEEP, c.pass, feed.ClicksBlocked).job
		if c.id != "" {
			order.Id = c.id
		}
		w, err := f.decode(encoded(t, order))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, errBadJob) {
			t.Errorf("%s: %v", name, err)
		}
		if c.ok && (w.endpoint.Path != feed.SIEMClicksBlocked.Path || w.window.Span() != c.span) {
			t.Errorf("%s: %+v", name, w)
		}
	}
}

// TestLimitsOfPools are those of the configuration.
func TestLimitsOfPools(t *testing.T) {
	t.Parallel()
	f := &Fetcher{cfg: Config{Quota: quota.Config{ForensicsThreat: 479}}}
	pool := feed.CallThreatForensics.Pool()
	if !f.scarce(pool) {
		t.Error("479 calls are many")
	}
	if f.cfg.Quota.ForensicsThreat = 480; f.scarce(pool) {
		t.Error("480 calls are few")
	}
	if at := (&reading{}); at.readAt() != nil || at.upTo() != nil {
		t.Error("a job about ids was read at no time")
	}
	if at := (&reading{at: noon, readEnd: noon}); !at.readAt().AsTime().Equal(noon) || !at.upTo().AsTime().Equal(timestamppb.New(noon).AsTime()) {
		t.Errorf("%v", at)
	}
}

// TestWhatIsCountedOfAWindow: each record by what became of it, and of a sweep how late it was.
func TestWhatIsCountedOfAWindow(t *testing.T) {
	t.Parallel()
	for _, lane := range []taplinev1.Lane{taplinev1.Lane_LANE_LIVE, taplinev1.Lane_LANE_SWEEP} {
		registry := prometheus.NewRegistry()
		f := &Fetcher{metrics: newMetrics(registry), log: slog.New(slog.DiscardHandler)}
		order := windowOf(time.Hour, lane, 35, feed.ClicksBlocked).job
		f.countOutcomes(order, &taplinev1.JobResult{ReadAt: timestamppb.New(noon.Add(40 * time.Minute)), Feeds: []*taplinev1.FeedResult{
			{Feed: "clicksBlocked", Received: 20, Published: 7, Revision: 2, Duplicate: 10, Dead: 3}, {Feed: "clicksPermitted"},
		}})
		got := make(map[string]float64)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				name := family.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				if got[name] = m.GetCounter().GetValue(); m.GetHistogram() != nil {
					got[name] = m.GetHistogram().GetSampleSum()
				}
			}
		}
		want := map[string]float64{
			"tapline_fetcher_records_total new clicksBlocked":      5,
			"tapline_fetcher_records_total revision clicksBlocked": 2, "tapline_fetcher_records_total duplicate clicksBlocked": 10,
			"tapline_fetcher_records_total dead clicksBlocked": 3, "tapline_fetcher_late_records_total clicksBlocked": 5,
			"tapline_fetcher_lateness_seconds clicksBlocked": 5 * 2400,
		}
		for name, n := range want {
			if lane == taplinev1.Lane_LANE_LIVE && strings.Contains(name, "late") {
				n = 0
			}
			if got[name] != n {
				t.Errorf("%s: %s is %f, want %f", lane, name, got[name], n)
			}
		}
	}
}

// TestBatchesAreBounded: by records and by bytes, and a record above that has a batch of its own.
func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sizes []int
		want  []int // records of each batch
	}{
		"none":             {nil, nil},
		"by records":       {[]int{10, 10, 10, 10, 10}, []int{3, 2}},
		"exactly full":     {[]int{10, 10, 10}, []int{3}},
		"by bytes":         {[]int{600, 600, 10}, []int{1, 2}},
		"a large one":      {[]int{10, 5000, 10}, []int{1, 1, 1}},
		"a large one only": {[]int{5000}, []int{1}},
	} {
		c0 := &collector{cfg: &Config{BatchRecords: 3, BatchBytes: 1000}, spool: spool.Open(t.TempDir(), 1<<20), head: batch.Raw{Tenant: "main", JobID: "j", PullID: "1", FetchedAt: noon}}
		fc := &feedCollector{feed: feed.ClicksBlocked}
		for i, size := range c.sizes {
			rec := &batch.Record{ID: uint64(i + 1), Hash: uint64(i + 100), JSON: []byte(`"` + strings.Repeat("x", size) + `"`)}
			if err := c0.pack(fc, rec); err != nil {
				t.Fatal(err)
			}
		}
		if err := c0.flush(fc); err != nil {
			t.Fatal(err)
		}
		var got []int
		var raw batch.Raw
		if err := c0.spool.Each(func(_ string, data []byte) bool {
			if err := batch.DecodeRaw(data, &raw); err != nil {
				t.Fatal(err)
			}
			got = append(got, len(raw.Records))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if err := c0.spool.Close(); err != nil {
			t.Fatal(err)
		}
		last := uint64(len(c.sizes))
		if !slices.Equal(got, c.want) || fc.result.GetPublished() != int64(last) || last > 0 && (fc.result.GetFirstHash() != 100 || fc.result.GetLastHash() != 99+last) {
			t.Errorf("%s: batches of %v, want %v; %v", name, got, c.want, &fc.result)
		}
	}
}

// TestFetchersLearnTheSamePieceOnce of what answers have.
func TestFetchersLearnTheSamePieceOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	bucket, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	first, second := newShapes(bucket, "main", nil), newShapes(bucket, "main", nil)
	for _, s := range []*shapes{first, second, second} {
		if err := s.saw(t.Context(), proofpoint.Evidence{Present: []feed.Feed{feed.ClicksBlocked}, QueryEnd: noon}); err != nil {
			t.Fatal(err)
		}
	}
	known, _, err := second.read(t.Context())
	if want := []string{"clicksBlocked", queryEnd}; err != nil || !slices.Equal(known.GetSeen(), want) || !slices.Equal(second.seen, want) {
		t.Errorf("%v %v, want %v", err, known, want)
	}
}
