package fetcher_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher"
)

// faulty is a bench whose bus may fail.
func faulty(t *testing.T) (*bench, *bustest.Faults) {
	t.Helper()
	b := hasty(t)
	var faults *bustest.Faults
	b.bus, faults = bustest.StartFaulty(t, quota.Seeds("main")...)
	return b, faults
}

// TestWhatWasFetchedIsKept while it cannot be stored: one call for a window, and its records once,
// whether the store fails before or after its effect, says that it is full, or cannot take a dead
// letter.
func TestWhatWasFetchedIsKept(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]bustest.Fault{
		"refused":  {Times: 3},
		"full":     {Times: 3, Full: true},
		"answered": {Times: 1, After: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, faults := faulty(t)
			faults.Fail(bustest.Store(bus.StreamRaw), fault)
			b.start(t)
			job := b.job(b.window, 0)
			b.plan(t, job)
			r := b.record(t, job)
			if want := b.truth(b.window.Start, b.window.End); r.GetState() != fetched || received(r) != want || b.calls() != 1 {
				t.Errorf("%d calls, %d records wanted: %v", b.calls(), want, r)
			}
			again := b.sweep(b.window)
			b.plan(t, again)
			for _, f := range b.record(t, again).GetFeeds() {
				if f.GetPublished() > 0 {
					t.Errorf("SEEN does not know what is stored: %v", f)
				}
			}
		})
	}
}

// TestAnAnswerAboutIDsIsKept, too: such a job is not offered again.
func TestAnAnswerAboutIDsIsKept(t *testing.T) {
	t.Parallel()
	b, faults := faulty(t)
	faults.Fail(bustest.Store(bus.StreamRaw), bustest.Fault{Times: 2, Full: true})
	b.start(t, quick...)
	job := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 7, b.threats(t, 3)...)
	b.plan(t, job)
	r := b.record(t, job)
	if f := r.GetFeeds()[0]; f.GetPublished() != 3 || len(b.stored(t, r)) != 3 {
		t.Errorf("%v", f)
	}
}

// TestRoomFirst: what cannot be stored is not fetched.
func TestRoomFirst(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	b, faults := faulty(t)
	stop := b.start(t)
	first, second := b.job(b.window, 0), b.job(window.New(b.window.Start.Add(-time.Hour), b.window.Start), 0)
	b.plan(t, first)
	b.record(t, first)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	room := bustest.Fill(t, faults.Server, bus.StreamRaw)
	b.plan(t, second)
	b.start(t)
	poll(t, func() bool {
		backlog, err := b.bus.Backlog(t.Context(), bus.ConsumerFetcherBackfill)
		return err == nil && backlog.InWork == 1
	})
	read := faults.At(bustest.Read(bus.BucketLedger), func() {})
	poll(t, func() bool { return read.Met() > 1 }) // it is looked at again
	if b.calls() != 1 {
		t.Errorf("%d calls, and RAW is full", b.calls())
	}
	room()
	if b.record(t, second); b.calls() != 2 {
		t.Errorf("%d calls", b.calls())
	}
}

// TestEveryCallIsCounted: QUOTA cannot be written.
func TestEveryCallIsCounted(t *testing.T) {
	t.Parallel()
	b, faults := faulty(t)
	refused := faults.Fail(bustest.Write(bus.BucketQuota), bustest.Fault{Times: -1})
	b.start(t)
	job := b.job(b.window, 0)
	b.plan(t, job)
	poll(t, func() bool { return refused.Met() > 2 })
	if b.calls() > 0 {
		t.Errorf("%d calls", b.calls())
	}
	refused.End()
	b.record(t, job)
}

// TestANoteOfAnEarlierRun: the process ended between its record and its ack. To call now would read
// what the parts read.
func TestANoteOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	bucket, err := b.bus.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	var jobs []*taplinev1.Job
	for i, state := range []taplinev1.WindowState{split, lost, unproven} {
		job := b.job(window.New(b.window.Start, b.window.End.Add(-time.Duration(i)*time.Minute)), 0)
		if err := ledger.New(bucket).RecordJob(t.Context(), &taplinev1.JobRecord{JobId: job.GetId(), State: state, Failures: 3}); err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, job)
	}
	for _, job := range jobs {
		b.plan(t, job)
	}
	b.start(t)
	poll(t, func() bool {
		backlog, err := b.bus.Backlog(t.Context(), bus.ConsumerFetcherBackfill)
		return err == nil && backlog.Waiting == 0 && backlog.InWork == 0
	})
	if b.calls() > 0 {
		t.Errorf("%d calls", b.calls())
	}
}

// TestAFasterRun: another fetcher stores the job during the call. The account is that of what is
// stored.
func TestAFasterRun(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	job := b.job(b.window, 0)
	marker, err := proto.Marshal(&taplinev1.JobResult{
		JobId: job.GetId(), Tenant: "main", Window: job.GetWindow(), Lane: job.GetLane(), PullId: "1", Status: 200, Bytes: 42,
		Feeds: []*taplinev1.FeedResult{{Feed: "clicksBlocked", Received: 7, Duplicate: 7}},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == feed.SIEMAll.Path {
			none := func(func(bus.RawMessage, error) bool) {}
			if _, err := b.bus.StoreJob(r.Context(), bus.JobOutput{Tenant: "main", JobID: job.GetId(), Batches: none, Marker: marker}); err != nil {
				t.Error(err)
			}
		}
		b.sim.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	b.plan(t, job)
	b.start(t)
	if r := b.record(t, job); r.GetBytes() != 42 || received(r) != 7 {
		t.Errorf("%v", r)
	}
}

// TestABusThatIsNotSetUp ends the program, whichever bucket is missing.
func TestABusThatIsNotSetUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	var c fetcher.Config
	if err := config.Load(&c, []string{"TAP_URL=" + b.url, "TAP_INSECURE_HTTP=true", "TAP_PRINCIPAL=demo", "TAP_SECRET=demo"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{bus.BucketSeen, bus.BucketLedger, bus.BucketQuota, bus.BucketKnown, bus.BucketState} {
		bustest.Publish(t, b.server, "$JS.API.STREAM.DELETE.KV_"+name, nil)
		f, err := fetcher.New(c, fetcher.Deps{Bus: b.bus, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Run(t.Context()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
		if err := b.bus.Setup(t.Context(), bustest.Limits, quota.Seeds("main")); err != nil {
			t.Fatal(err)
		}
	}
}
