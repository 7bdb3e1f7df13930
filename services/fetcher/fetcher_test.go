package fetcher_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher"
	"github.com/tapline/tapline/services/tapsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a fetcher's surroundings.
type bench struct {
	ahead   atomic.Int64 // nanoseconds, of the fetcher's clock
	later   atomic.Int64 // nanoseconds that have passed at once, for the fetcher and the simulator
	sim     *tapsim.Sim
	server  *embedded.Server
	bus     *bus.Bus
	url     string
	window  window.Window        // an hour in the past
	done    chan struct{}        // closed when the fetcher started last has ended
	metrics *prometheus.Registry // of that fetcher
	haste   time.Duration        // how much shorter waits after failures are; 0 is as long as they are
	planned []*taplinev1.Job
}

func newBench(t *testing.T, change func(*tapsim.Config), seeds ...bus.Seed) *bench {
	t.Helper()
	c := tapsim.Default()
	b := &bench{}
	c.Rate, c.Age, c.Clock = 0.1, 3*time.Hour, func() time.Time { return time.Now().Add(time.Duration(b.later.Load())) }
	if change != nil {
		change(&c)
	}
	sim, err := tapsim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	if seeds == nil {
		seeds = quota.Seeds("main")
	}
	end := sim.Now().Add(-time.Hour).Truncate(time.Minute)
	b.server = bustest.Server(t)
	b.sim, b.bus, b.url, b.window = sim, bustest.Connect(t, b.server), server.URL, window.New(end.Add(-time.Hour), end)
	if err := b.bus.Setup(t.Context(), bustest.Limits, seeds); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) now() time.Time { return b.sim.Now().Add(time.Duration(b.ahead.Load())) }

// start runs a fetcher until the test ends or the returned function is called,
// which gives what Run returned.
func (b *bench) start(t *testing.T, environ ...string) (stop func() error) {
	t.Helper()
	var c fetcher.Config
	environ = append([]string{"TAP_URL=" + b.url, "TAP_INSECURE_HTTP=true", "TAP_PRINCIPAL=demo", "TAP_SECRET=demo"}, environ...)
	if err := config.Load(&c, environ); err != nil {
		t.Fatal(err)
	}
	b.metrics = prometheus.NewRegistry()
	f, err := fetcher.New(c, fetcher.Deps{Bus: b.bus, Log: slog.New(slog.DiscardHandler), Metrics: b.metrics, Now: b.now})
	if err != nil {
		t.Fatal(err)
	}
	if b.haste > 0 {
		f.Hasten(b.haste)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	over := make(chan struct{})
	b.done = over
	go func() {
		defer close(over)
		done <- f.Run(ctx)
	}()
	var result error
	ended := false
	stop = func() error {
		cancel()
		if !ended {
			result, ended = <-done, true
		}
		return result
	}
	t.Cleanup(func() {
		if err := stop(); err != nil && !errors.Is(err, config.ErrInvalid) {
			t.Error(err)
		}
	})
	return stop
}

// ended waits until Run has returned by itself.
func (b *bench) ended(t *testing.T, stop func() error) error {
	t.Helper()
	select {
	case <-b.done:
	case <-time.After(2 * time.Minute):
		t.Error("Run did not end by itself")
	}
	return stop()
}

func (b *bench) job(w window.Window, pass uint32) *taplinev1.Job {
	return &taplinev1.Job{
		Id: "main/all/" + w.Compact("/") + "/backfill/" + strconv.Itoa(int(pass)), Tenant: "main", Feeds: feed.Names(feed.SIEM()),
		Window: w.Proto(), Lane: taplinev1.Lane_LANE_BACKFILL, Pass: pass, PlannedAt: timestamppb.Now(),
	}
}

// plan offers a job, as a scheduler does that has entered it in its plan.
func (b *bench) plan(t *testing.T, job *taplinev1.Job) {
	t.Helper()
	b.want(t, job)
	poll(t, func() bool { return b.bus.PublishJob(t.Context(), job) == nil })
}

// want enters a job in a plan.
func (b *bench) want(t *testing.T, job *taplinev1.Job) {
	t.Helper()
	b.planned = append(b.planned, job)
	var state proto.Message = &taplinev1.PlanState{Outstanding: b.planned}
	key := plan.Key("main", feed.SIEM())
	if job.GetCall() != "" {
		state, key = &taplinev1.ListState{Outstanding: job}, plan.ListKey("main", job.GetCall()+job.GetId()[strings.LastIndex(job.GetId(), "/")+1:])
	}
	data, err := proto.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := b.bus.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Put(t.Context(), key, data); err != nil {
		t.Fatal(err)
	}
}

// record waits for the ledger to know what became of a job.
func (b *bench) record(t *testing.T, job *taplinev1.Job) (r *taplinev1.JobRecord) {
	t.Helper()
	poll(t, func() bool {
		r = b.outcome(t, job)
		return r != nil
	})
	return r
}

// outcome is what the ledger knows of a job; nil for nothing.
func (b *bench) outcome(t *testing.T, job *taplinev1.Job) *taplinev1.JobRecord {
	t.Helper()
	bucket, err := b.bus.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	known, err := ledger.New(bucket).Outcomes(t.Context(), job.GetId())
	if err != nil {
		t.Fatal(err)
	}
	return known[job.GetId()]
}

// marker reads the account of a job.
func (b *bench) marker(t *testing.T, jobID string) (uint64, *taplinev1.JobResult) {
	t.Helper()
	sequence, data, err := b.bus.Marker(t.Context(), "main", jobID)
	if err != nil {
		t.Fatal(err)
	}
	var r taplinev1.JobResult
	if err := proto.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return sequence, &r
}

// TestJobBecomesBatchesAndAnAccount compares what is in RAW with the truth.
func TestJobBecomesBatchesAndAnAccount(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *tapsim.Config) { c.MalformedFraction = 0.05 })
	job := b.job(b.window, 0)
	b.plan(t, job)
	b.start(t, "BATCH_RECORDS=50")
	b.record(t, job)
	sequence, result := b.marker(t, job.GetId())
	want := map[feed.Feed]int64{}
	for truth := range b.sim.Truth(b.window.Start, b.window.End) {
		want[truth.Feed]++
	}
	var dead, published int64
	for _, r := range result.GetFeeds() {
		if r.GetReceived() != want[feed.Feed(r.GetFeed())] || r.GetReceived() != r.GetDuplicate()+r.GetPublished()+r.GetDead() {
			t.Errorf("account %v, want %d received", r, want[feed.Feed(r.GetFeed())])
		}
		dead += r.GetDead()
		published += r.GetPublished()
	}
	usage, err := b.bus.Usage(t.Context(), bus.StreamDead)
	if err != nil || dead == 0 || usage.Messages != uint64(dead) {
		t.Errorf("%d dead letters for %d dead records, %v", usage.Messages, dead, err)
	}
	var stored int64
	for i := range uint64(result.GetBatches()) {
		m, err := b.bus.Message(t.Context(), bus.StreamRaw, sequence-1-i)
		if err != nil {
			t.Fatal(err)
		}
		var raw batch.Raw
		if err := batch.DecodeRaw(m.Data, &raw); err != nil {
			t.Fatal(err)
		}
		if len(raw.Records) > 50 || raw.JobID != job.GetId() || raw.Window != b.window {
			t.Errorf("batch of %d records, job %s, window %s", len(raw.Records), raw.JobID, raw.Window)
		}
		stored += int64(len(raw.Records))
	}
	if stored != published {
		t.Errorf("%d records stored, %d in the account", stored, published)
	}
	if calls := b.sim.Status().Quota[feed.PoolSIEM].Used; calls != 1 {
		t.Errorf("%d calls for one job", calls)
	}
	families, err := b.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "tapline_fetcher_call_duration_seconds" && family.GetMetric()[0].GetHistogram().GetSampleCount() == 0 {
			t.Error("no call took any time")
		}
	}
}

// TestSecondReadBringsNothingNew reads a window again, as a sweep does, with
// its parts in another order.
func TestSecondReadBringsNothingNew(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.start(t)
	for pass := range uint32(3) {
		job := b.job(b.window, pass)
		b.plan(t, job)
		b.record(t, job)
		_, result := b.marker(t, job.GetId())
		for _, r := range result.GetFeeds() {
			if pass > 0 && (r.GetPublished() != 0 || r.GetDuplicate() != r.GetReceived()) {
				t.Errorf("pass %d: %v", pass, r)
			}
		}
	}
}

func TestWindowThatFailsIsCut(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	if err := b.sim.Inject(tapsim.Fault{Kind: tapsim.FaultSlow, Delay: 20 * time.Second, Count: 1, Path: "/v2/siem/all"}); err != nil {
		t.Fatal(err)
	}
	job := b.job(b.window, 0)
	b.plan(t, job)
	b.start(t, "TAP_TIMEOUT=1s")
	if r := b.record(t, job); r.GetState() != taplinev1.WindowState_WINDOW_STATE_SPLIT || !strings.Contains(r.GetReason(), "timeout") {
		t.Errorf("%v", r)
	}
}

// closed are pools without a call.
func closed(t *testing.T) (seeds []bus.Seed) {
	t.Helper()
	state, err := proto.Marshal(&taplinev1.QuotaState{BlockedUntil: timestamppb.New(time.Now().Add(24 * time.Hour)), BlockedReason: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, seed := range quota.Seeds("main") {
		seed.Value = state
		seeds = append(seeds, seed)
	}
	return seeds
}

func TestNoCallWithoutAUnit(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil, closed(t)...)
	b.plan(t, b.job(b.window, 0))
	b.start(t)
	poll(t, func() bool {
		backlog, err := b.bus.Backlog(t.Context(), bus.ConsumerFetcherBackfill)
		return err == nil && backlog.InWork == 1
	})
	if calls := b.sim.Status().Quota[feed.PoolSIEM].Used; calls != 0 {
		t.Errorf("%d calls with a closed pool", calls)
	}
}

func TestWrongSecretEndsTheStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	stop := b.start(t, "TAP_SECRET=wrong")
	err := b.ended(t, stop)
	if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "error 100") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("%v", err)
	}
}

// TestUnusableJobsGoToDead: the stage lives on.
func TestUnusableJobsGoToDead(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	stranger := b.job(b.window, 0)
	stranger.Tenant = "stranger"
	long := b.job(window.New(b.window.Start, b.window.End.Add(time.Hour)), 0)
	odd := b.job(window.New(b.window.Start, b.window.End.Add(-time.Minute)), 0)
	odd.Feeds = []string{"nonsense"}
	old := b.job(window.New(b.window.Start, b.window.End.Add(-2*time.Minute)), 7*24*60+1)
	for _, job := range []*taplinev1.Job{stranger, long, odd, old} {
		b.plan(t, job)
	}
	good := b.job(b.window, 0)
	b.plan(t, good)
	b.start(t)
	b.record(t, good)
	poll(t, func() bool {
		usage, err := b.bus.Usage(t.Context(), bus.StreamDead)
		return err == nil && usage.Messages == 3 // that of a stranger is none
	})
}

// TestRefusedCredentialRaisesItsAlarm: 401 and 403 are distinguished, and one call is made, not a
// storm.
func TestRefusedCredentialRaisesItsAlarm(t *testing.T) {
	t.Parallel()
	for status, name := range map[int]alarm.Name{401: alarm.Refused, 403: alarm.Forbidden} {
		b := newBench(t, nil)
		b.start(t)
		if err := b.sim.Inject(tapsim.Fault{Kind: tapsim.FaultStatus, Status: status, Count: 100, Path: "/v2/siem/all"}); err != nil {
			t.Fatal(err)
		}
		b.plan(t, b.job(b.window, 0))
		b.plan(t, b.job(window.New(b.window.Start, b.window.End.Add(-time.Minute)), 0))
		state, err := b.bus.Bucket(t.Context(), bus.BucketState)
		if err != nil {
			t.Fatal(err)
		}
		var raised []*taplinev1.Alarm
		poll(t, func() bool {
			raised, err = alarm.Read(t.Context(), state, "main", time.Now())
			return err == nil && len(raised) > 0
		})
		if len(raised) != 1 || raised[0].GetName() != string(name) || !strings.Contains(raised[0].GetDetail(), fmt.Sprint(status)) {
			t.Errorf("status %d raised %v", status, raised)
		}
		poll(t, func() bool { // both jobs have been looked at
			backlog, err := b.bus.Backlog(t.Context(), bus.ConsumerFetcherBackfill)
			return err == nil && backlog.Waiting == 0
		})
		if n := b.sim.Status().Requests["/v2/siem/all"][status]; n != 1 {
			t.Errorf("%d calls with a credential that was answered with %d", n, status)
		}
	}
}
