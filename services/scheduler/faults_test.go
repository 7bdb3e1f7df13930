package scheduler_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/scheduler"
)

// words is what a scheduler logs.
type words struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes what is logged.
func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *words) say(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.text.String(), text)
}

// heard runs a scheduler until the test ends or stop is called, and keeps what it logs.
func heard(t *testing.T, b *bus.Bus, now func() time.Time, environ ...string) (w *words, stop func()) {
	t.Helper()
	var c scheduler.Config
	if err := config.Load(&c, append([]string{"SCHEDULER_TICK=5ms"}, environ...)); err != nil {
		t.Fatal(err)
	}
	w = &words{}
	s, err := scheduler.New(c, scheduler.Deps{Bus: b, Log: slog.New(slog.NewTextHandler(w, nil)), Metrics: prometheus.NewRegistry(), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return w, stop
}

// counted is a clock that counts how often it is looked at, so that a test knows that time has
// passed for a scheduler.
func counted(at time.Time) (now func() time.Time, wait func(t *testing.T)) {
	var looks atomic.Int64
	return func() time.Time { looks.Add(1); return at }, func(t *testing.T) {
		t.Helper()
		until := looks.Load() + 50
		poll(t, func() bool { return looks.Load() > until })
	}
}

func bucket(t *testing.T, b *bus.Bus, name string) *bus.Bucket {
	t.Helper()
	k, err := b.Bucket(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// revision of a key of STATE.
func revision(t *testing.T, b *bus.Bus, key string) uint64 {
	t.Helper()
	entry, err := bucket(t, b, bus.BucketState).Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return entry.Revision
}

// TestALossIsNotedBeforeThePlanForgetsIt: while the ledger takes nothing the plan stays as it is.
func TestALossIsNotedBeforeThePlanForgetsIt(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t, quota.Seeds("main")...)
	stop := start(t, b, still, "TAP_START_TIME=0s")
	planOf(t, b, "main.all")
	stop()
	before := revision(t, b, "main.all")
	fault := faults.Fail(bustest.Write(bus.BucketLedger), bustest.Fault{Times: -1})
	now, wait := counted(epoch.Add(9 * 24 * time.Hour))
	log, _ := heard(t, b, now, "TAP_START_TIME=0s")
	poll(t, func() bool { return log.say("cannot plan") })
	wait(t)
	if revision(t, b, "main.all") != before {
		t.Error("the plan went on, and the ledger does not say what is lost")
	}
	fault.End()
	poll(t, func() bool { return log.say("planning works again") })
	poll(t, func() bool { return revision(t, b, "main.all") != before })
	sums, err := ledger.New(bucket(t, b, bus.BucketLedger)).Load(t.Context(), "main", epoch.Add(-time.Hour), epoch.Add(10*24*time.Hour))
	if err != nil || len(sums.Ranges) == 0 {
		t.Errorf("ranges %v, %v", sums.Ranges, err)
	}
}

// TestNoJobBeforeThePlan: what the plan does not list is not on the bus.
func TestNoJobBeforeThePlan(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t, quota.Seeds("main")...)
	fault := faults.Fail(bustest.Write(bus.BucketState), bustest.Fault{Times: -1})
	now, wait := counted(epoch)
	log, _ := heard(t, b, now, "TAP_START_TIME=3h", "TAP_FEEDS=clicksBlocked")
	poll(t, func() bool { return log.say("cannot plan") && log.say("write the plan") })
	wait(t)
	if jobs, err := b.Usage(t.Context(), bus.StreamJobs); err != nil || jobs.Messages > 0 {
		t.Errorf("%d jobs of no plan, %v", jobs.Messages, err)
	}
	fault.End()
	newWorker(t, b, bus.ConsumerFetcherBackfill).do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
}

// TestAJobIsOfferedUntilItIsDone: after a publish that failed, and when a fetcher forgot it.
func TestAJobIsOfferedUntilItIsDone(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t, quota.Seeds("main")...)
	failed := faults.Fail(bustest.Store(bus.StreamJobs), bustest.Fault{Times: 3})
	log, _ := heard(t, b, still, "TAP_START_TIME=20m", "TAP_FEEDS=clicksBlocked")
	poll(t, func() bool { return log.say("cannot plan") })
	w := newWorker(t, b, bus.ConsumerFetcherBackfill)
	first, job := w.next()
	if err := first.Ack(); err != nil { // and no word about it
		t.Fatal(err)
	}
	again, same := w.next()
	if same.GetId() != job.GetId() {
		t.Errorf("after %s comes %s", job.GetId(), same.GetId())
	}
	if err := again.Ack(); err != nil {
		t.Fatal(err)
	}
	failed.End()
}

// TestAPlanThatIsNotReadable is left as it is: no scheduler begins anew over it.
func TestAPlanThatIsNotReadable(t *testing.T) {
	t.Parallel()
	for key, said := range map[string]string{
		"main.all": "not readable", "list.main.campaign-ids": "not readable", "memory.main.parts": "what was remembered of the streams",
	} {
		b := bustest.Start(t, quota.Seeds("main")...)
		state := bucket(t, b, bus.BucketState)
		if err := state.Put(t.Context(), key, []byte{0xff, 0xff}); err != nil {
			t.Fatal(err)
		}
		before := revision(t, b, key)
		log, _ := heard(t, b, still)
		poll(t, func() bool { return log.say("cannot plan") && log.say(said) })
		if revision(t, b, key) != before {
			t.Errorf("%s was written over", key)
		}
	}
}

// TestListsAreRead page by page, and each list is.
func TestListsAreRead(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	start(t, b, still, "TAP_START_TIME=1h", "TAP_FEEDS=campaigns,people_vap,people_topclicks", "TAP_PEOPLE_WINDOWS=14,90")
	w := newWorker(t, b, bus.ConsumerFetcherList)
	var lists []string
	for range 5 {
		d, job := w.next()
		name := job.GetCall()
		for _, target := range job.GetTargets() {
			name += "-" + target.GetId()
		}
		lists = append(lists, name)
		record := &taplinev1.JobRecord{JobId: job.GetId(), State: taplinev1.WindowState_WINDOW_STATE_FETCHED, SkewMs: 1500}
		if err := w.ledger.RecordJob(t.Context(), record); err != nil {
			t.Fatal(err)
		}
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
		w.ids = append(w.ids, job.GetId())
	}
	poll(t, func() bool { // the answer's clock is the list's from then on
		entry, err := bucket(t, b, bus.BucketState).Get(t.Context(), plan.ListKey("main", "campaign-ids"))
		if err != nil {
			t.Fatal(err)
		}
		state := &taplinev1.ListState{}
		if err := proto.Unmarshal(entry.Value, state); err != nil {
			t.Fatal(err)
		}
		return state.GetSkewMs() == 1500
	})
	slices.Sort(lists)
	if got := strings.Join(lists, " "); got != "campaign-ids top-clickers-14 top-clickers-90 vap-14 vap-90" {
		t.Errorf("read: %s", got)
	}
}

// TestChangedFeedsReplaceThePlan: whatever fails in between, there is one plan in the end, of the
// feeds that are on; the jobs of the one before are wanted no more, and lists that are off are
// ended.
func TestChangedFeedsReplaceThePlan(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t, quota.Seeds("main")...)
	stop := start(t, b, still, "TAP_START_TIME=6h", "TAP_FEEDS=clicksBlocked,messagesBlocked,campaigns")
	old := newWorker(t, b, bus.ConsumerFetcherBackfill)
	d, job := old.next()
	page, list := newWorker(t, b, bus.ConsumerFetcherList).next()
	stop()
	state := bucket(t, b, bus.BucketState)
	for _, j := range []*taplinev1.Job{job, list} {
		if wanted, err := plan.Wanted(t.Context(), state, j); err != nil || !wanted {
			t.Errorf("%s before the change: wanted %t, %v", j.GetId(), wanted, err)
		}
	}
	faults.Fail(bustest.Write(bus.BucketState), bustest.Fault{Skip: 2}) // after the list and the new plan: the end of the old one
	log, stop := heard(t, b, still, "TAP_START_TIME=6h", "TAP_FEEDS=clicksBlocked")
	poll(t, func() bool { return log.say("planning works again") })
	s := planOf(t, b, "main.clicksBlocked")
	keys, err := state.Keys(t.Context(), "main.*")
	if err != nil || len(keys) != 1 || s.GetGeneration() != 1 || len(s.GetOffs()) == 0 {
		t.Errorf("plans %v, %v; generation %d, off %v", keys, err, s.GetGeneration(), s.GetOffs())
	}
	for _, j := range []*taplinev1.Job{job, list} {
		if wanted, err := plan.Wanted(t.Context(), state, j); err != nil || wanted {
			t.Errorf("%s after the change: wanted %t, %v", j.GetId(), wanted, err)
		}
	}
	for _, d := range []*bus.Delivery{d, page} {
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	old.ids = append(old.ids, job.GetId())
	poll(t, func() bool {
		d, next := old.next()
		old.ids = append(old.ids, next.GetId())
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
		return slices.Equal(next.GetFeeds(), []string{"clicksBlocked"})
	})
	late, _ := heard(t, b, still, "TAP_START_TIME=6h", "TAP_FEEDS=clicksBlocked,messagesBlocked")
	poll(t, func() bool { return late.say("the feeds are others than before") && log.say("with other TAP_FEEDS") })
	stop()
}

// TestAnOrderIsTakenUp: what an operator wants read once more is read under new ids, and the order
// goes.
func TestAnOrderIsTakenUp(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	start(t, b, still, "TAP_START_TIME=3h", "TAP_FEEDS=clicksBlocked", "TAP_SWEEPS=24h")
	w := newWorker(t, b, bus.ConsumerFetcherBackfill)
	for range 4 {
		w.do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
	}
	poll(t, func() bool { return len(planOf(t, b, "main.clicksBlocked").GetOutstanding()) == 0 })
	state := bucket(t, b, bus.BucketState)
	span := window.New(epoch.Add(-2*time.Hour).Truncate(time.Hour), epoch.Add(-time.Hour).Truncate(time.Hour))
	if err := plan.RequestRetry(t.Context(), state, "main", epoch, &taplinev1.Retry{Window: span.Proto()}); err != nil {
		t.Fatal(err)
	}
	poll(t, func() bool {
		keys, err := state.Keys(t.Context(), plan.RetryKeys("main"))
		return err == nil && len(keys) == 0
	})
	d, job := w.next()
	if err := d.Ack(); err != nil {
		t.Fatal(err)
	}
	if got, err := window.FromProto(job.GetWindow()); err != nil || got != span || job.GetPass() != 90 {
		t.Errorf("read once more is %s", job.GetId())
	}
	err := plan.RequestRetry(t.Context(), state, "main", epoch, &taplinev1.Retry{Window: window.New(epoch.Add(-9*24*time.Hour), epoch.Add(-8*24*time.Hour)).Proto()})
	if err == nil {
		t.Error("an order for what is not served was taken")
	}
}

// TestAWrongClockLosesNothing: neither one that is days ahead nor one that is days behind, as an
// answer may have it.
func TestAWrongClockLosesNothing(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-10 * 24 * time.Hour, 25 * time.Hour} {
		b := bustest.Start(t, quota.Seeds("main")...)
		now, wait := counted(epoch)
		start(t, b, now, "TAP_START_TIME=7d", "TAP_FEEDS=clicksBlocked")
		w := newWorker(t, b, bus.ConsumerFetcherBackfill)
		for range 8 {
			d, job := w.next()
			record := &taplinev1.JobRecord{JobId: job.GetId(), State: taplinev1.WindowState_WINDOW_STATE_FETCHED, SkewMs: skew.Milliseconds()}
			if err := w.ledger.RecordJob(t.Context(), record); err != nil {
				t.Fatal(err)
			}
			if err := d.Ack(); err != nil {
				t.Fatal(err)
			}
			w.ids = append(w.ids, job.GetId())
		}
		poll(t, func() bool { return planOf(t, b, "main.clicksBlocked").GetSkewMs() == skew.Milliseconds() })
		wait(t)
		s := planOf(t, b, "main.clicksBlocked")
		if head := s.GetLiveHead().AsTime(); head.After(epoch) {
			t.Errorf("skew %s: the head is at %s, and it is %s", skew, head, epoch)
		}
		sums, err := ledger.New(bucket(t, b, bus.BucketLedger)).Load(t.Context(), "main", epoch.Add(-8*24*time.Hour), epoch)
		if err != nil {
			t.Fatal(err)
		}
		if lost := sums.Lost("clicksBlocked"); len(lost) > 0 {
			t.Errorf("skew %s: lost %v", skew, lost)
		}
		if !proto.Equal(s.GetStart(), planOf(t, b, "main.clicksBlocked").GetStart()) || s.GetStart().AsTime().After(epoch.Add(-6*24*time.Hour)) {
			t.Errorf("skew %s: collection begins at %s", skew, s.GetStart().AsTime())
		}
	}
}
