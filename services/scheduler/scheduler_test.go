package scheduler_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/scheduler"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a scheduler until the test ends or stop is called.
func start(t *testing.T, b *bus.Bus, now func() time.Time, environ ...string) (stop func()) {
	t.Helper()
	return measured(t, b, prometheus.NewRegistry(), now, environ...)
}

// measured is start with metrics that the test reads.
func measured(t *testing.T, b *bus.Bus, r *prometheus.Registry, now func() time.Time, environ ...string) (stop func()) {
	t.Helper()
	var c scheduler.Config
	if err := config.Load(&c, append([]string{"SCHEDULER_TICK=5ms"}, environ...)); err != nil {
		t.Fatal(err)
	}
	s, err := scheduler.New(c, scheduler.Deps{Bus: b, Log: slog.New(slog.DiscardHandler), Metrics: r, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ended := false
	stop = func() {
		cancel()
		if !ended {
			ended = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// worker does jobs of one lane, as a fetcher would, and records their windows.
type worker struct {
	t       *testing.T
	sub     *bus.Subscription
	ledger  *ledger.Ledger
	windows []window.Window
	ids     []string
}

func newWorker(t *testing.T, b *bus.Bus, c bus.Consumer) *worker {
	t.Helper()
	sub, err := b.Subscribe(t.Context(), c, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Stop)
	bucket, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	return &worker{t: t, sub: sub, ledger: ledger.New(bucket)}
}

// next takes the next job that it has not had yet. A scheduler that read the plan
// just before the job was done may offer it again: the fetcher knows such a job
// by its marker, this worker by its id.
func (w *worker) next() (*bus.Delivery, *taplinev1.Job) {
	w.t.Helper()
	for {
		d, err := w.sub.Next(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		job := &taplinev1.Job{}
		if err := proto.Unmarshal(d.Data(), job); err != nil {
			w.t.Fatal(err)
		}
		if !slices.Contains(w.ids, job.GetId()) {
			return d, job
		}
		if err := d.Ack(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// do takes one job and concludes it with a state.
func (w *worker) do(state taplinev1.WindowState) window.Window {
	w.t.Helper()
	d, job := w.next()
	span, err := window.FromProto(job.GetWindow())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.ledger.RecordJob(w.t.Context(), &taplinev1.JobRecord{JobId: job.GetId(), State: state}); err != nil {
		w.t.Fatal(err)
	}
	if err := d.Ack(); err != nil {
		w.t.Fatal(err)
	}
	w.windows, w.ids = append(w.windows, span), append(w.ids, job.GetId())
	return span
}

var epoch = time.Date(2026, 3, 11, 8, 30, 20, 0, time.UTC)

func still() time.Time { return epoch }

func TestSchedulersAgreeOnTheBackfill(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	for range 3 {
		start(t, b, still, "TAP_START_TIME=12h")
	}
	w := newWorker(t, b, bus.ConsumerFetcherBackfill)
	for range 13 {
		w.do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
	}
	slices.SortFunc(w.windows, func(a, b window.Window) int { return a.Start.Compare(b.Start) })
	at := epoch.Add(-12 * time.Hour).Truncate(time.Minute)
	for _, span := range w.windows {
		if !span.Start.Equal(at) {
			t.Fatalf("after %s comes %s", at, span)
		}
		at = span.End
	}
	if want := epoch.Truncate(time.Minute); !at.Equal(want) {
		t.Errorf("backfill ends at %s, want %s", at, want)
	}
}

func TestSplitWindowComesBackInHalves(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	start(t, b, still, "TAP_START_TIME=20m")
	w := newWorker(t, b, bus.ConsumerFetcherBackfill)
	whole := w.do(taplinev1.WindowState_WINDOW_STATE_SPLIT)
	first, second := w.do(taplinev1.WindowState_WINDOW_STATE_FETCHED), w.do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
	if first.Start != whole.Start || first.End != second.Start || second.End != whole.End {
		t.Errorf("%s became %s and %s", whole, first, second)
	}
}

func TestRestartContinuesWhereItStopped(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	w := newWorker(t, b, bus.ConsumerFetcherBackfill)
	for range 4 {
		stop := start(t, b, still, "TAP_START_TIME=6h")
		w.do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
		stop()
	}
	start(t, b, still, "TAP_START_TIME=6h")
	for range 3 {
		w.do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
	}
	slices.Sort(w.ids)
	if distinct := len(slices.Compact(slices.Clone(w.ids))); distinct != 7 || len(w.ids) != 7 {
		t.Errorf("7 windows became jobs %v", w.ids)
	}
}

func TestLiveFollowsTheServersClock(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	now := make(chan time.Time, 1)
	now <- epoch
	clock := func() time.Time { at := <-now; now <- at; return at }
	start(t, b, clock, "TAP_START_TIME=0s")
	live := newWorker(t, b, bus.ConsumerFetcherLive)
	bucket, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	poll(t, func() bool { _, err := bucket.Get(t.Context(), "main.all"); return err == nil })
	<-now
	now <- epoch.Add(time.Minute)
	if span := live.do(taplinev1.WindowState_WINDOW_STATE_FETCHED); span.Interval() != "2026-03-11T08:30:00Z/2026-03-11T08:31:00Z" {
		t.Errorf("live window %s", span)
	}
}

// TestLongAbsenceIsWrittenDown: what fell off the edge is lost, and says so.
func TestLongAbsenceIsWrittenDown(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	bucket, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	stop := start(t, b, still, "TAP_START_TIME=0s")
	poll(t, func() bool { _, err := bucket.Get(t.Context(), "main.all"); return err == nil })
	stop()
	start(t, b, func() time.Time { return epoch.Add(9 * 24 * time.Hour) }, "TAP_START_TIME=0s")
	records, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	poll(t, func() bool {
		keys, err := records.Keys(t.Context(), ">")
		return err == nil && slices.ContainsFunc(keys, func(key string) bool { return strings.HasPrefix(key, "plan.main.") })
	})
	poll(t, func() bool {
		raised, err := alarm.Read(t.Context(), bucket, "main", time.Now())
		return err == nil && slices.ContainsFunc(raised, func(a *taplinev1.Alarm) bool { return a.GetName() == string(alarm.Lost) })
	})
}

func poll(t *testing.T, check func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			t.Fatal("waited in vain")
		case <-tick.C:
		}
	}
}

func TestStartTimes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"7d": epoch.Add(-7 * 24 * time.Hour), "12h": epoch.Add(-12 * time.Hour), "168h": epoch.Add(-7 * 24 * time.Hour),
		"2026-03-10T00:00:00Z": time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC), "0.5d": epoch.Add(-12 * time.Hour),
	} {
		var s scheduler.StartTime
		if err := s.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Instant(epoch); err != nil || !got.Equal(want) {
			t.Errorf("%s is %s, %v; want %s", text, got, err, want)
		}
	}
	var future scheduler.StartTime
	if err := future.UnmarshalText([]byte("2026-03-12T00:00:00Z")); err != nil {
		t.Fatal(err)
	}
	if _, err := future.Instant(epoch); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "error 101") {
		t.Errorf("start in the future: %v", err)
	}
	for _, text := range []string{"yesterday", "-1h", "7", "2026-03-12", "d", "30d", "169h", "7.1d"} {
		if err := new(scheduler.StartTime).UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "101") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
