package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/services/scheduler"
)

var errRefused = errors.New("refused by the test")

// refusing is a bus of which one kind of question is not answered while it is on.
type refusing struct {
	*bus.Bus
	call string
	on   atomic.Bool
}

func (r *refusing) refuse(call string) error {
	if r.on.Load() && call == r.call {
		return fmt.Errorf("%s: %w", call, errRefused)
	}
	return nil
}

func (r *refusing) Bucket(ctx context.Context, name string) (*bus.Bucket, error) {
	if err := r.refuse("bucket " + name); err != nil {
		return nil, err
	}
	return r.Bus.Bucket(ctx, name)
}

func (r *refusing) Usage(ctx context.Context, stream string) (bus.Usage, error) {
	if err := r.refuse("usage " + stream); err != nil {
		return bus.Usage{}, err
	}
	return r.Bus.Usage(ctx, stream)
}

func (r *refusing) Oldest(ctx context.Context, c bus.Consumer) (bus.Waiting, error) {
	if err := r.refuse("oldest " + c.Name); err != nil {
		return bus.Waiting{}, err
	}
	return r.Bus.Oldest(ctx, c)
}

func (r *refusing) Backlog(ctx context.Context, c bus.Consumer) (bus.Backlog, error) {
	if err := r.refuse("backlog " + c.Name); err != nil {
		return bus.Backlog{}, err
	}
	return r.Bus.Backlog(ctx, c)
}

func (r *refusing) Next(ctx context.Context, s bus.Selection, from uint64) (bus.Stored, error) {
	if err := r.refuse("next"); err != nil {
		return bus.Stored{}, err
	}
	return r.Bus.Next(ctx, s, from)
}

func (r *refusing) GiveUp(ctx context.Context, stream string, before uint64) (uint64, error) {
	if err := r.refuse("give up " + stream); err != nil {
		return 0, err
	}
	return r.Bus.GiveUp(ctx, stream, before)
}

// over runs a scheduler over a bus, and gives what it logs and how it ended.
func over(t *testing.T, r *refusing, environ ...string) (w *words, ended chan error) {
	t.Helper()
	var c scheduler.Config
	if err := config.Load(&c, append([]string{"SCHEDULER_TICK=5ms", "TAP_START_TIME=1h"}, environ...)); err != nil {
		t.Fatal(err)
	}
	w = &words{}
	s, err := scheduler.New(c, scheduler.Deps{Bus: r, Log: slog.New(slog.NewTextHandler(w, nil)), Metrics: prometheus.NewRegistry(), Now: still})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		ended <- s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w, ended
}

// TestAQuestionThatFailsIsReported: whatever the scheduler asks the bus, no answer is no "nothing
// there": it says that it cannot plan, and resumes afterwards.
func TestAQuestionThatFailsIsReported(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	if err := bustest.Connect(t, server).Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	for i, call := range []string{
		"usage RAW", "usage EVENTS", "usage DEAD", "usage KV_QUOTA", "usage KV_STATE", "oldest enricher", "oldest shipper", "backlog enricher", "backlog expander", "backlog shipper",
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			tenant := fmt.Sprintf("t%d", i)
			b := bustest.Connect(t, server)
			if err := b.Setup(t.Context(), bustest.Limits, quota.Seeds(tenant)); err != nil {
				t.Fatal(err)
			}
			r := &refusing{Bus: b, call: call}
			r.on.Store(true)
			log, _ := over(t, r, "TENANT="+tenant)
			poll(t, func() bool { return log.say("cannot plan") && log.say(call+": refused by the test") })
			r.on.Store(false)
			poll(t, func() bool { return log.say("planning works again") })
		})
	}
}

// TestABusThatIsNotSetUp ends the program with the name of what is missing.
func TestABusThatIsNotSetUp(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	for _, name := range []string{bus.BucketState, bus.BucketLedger, bus.BucketQuota} {
		r := &refusing{Bus: b, call: "bucket " + name}
		r.on.Store(true)
		_, ended := over(t, r)
		if err := <-ended; !errors.Is(err, errRefused) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		ended <- nil
	}
}

// TestABucketThatFailsIsReported: each of the buckets, to be read and to be written.
func TestABucketThatFailsIsReported(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]bustest.Call{
		"read STATE": bustest.Read(bus.BucketState), "read LEDGER": bustest.Read(bus.BucketLedger), "read QUOTA": bustest.Read(bus.BucketQuota), "write STATE": bustest.Write(bus.BucketState),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, faults := bustest.StartFaulty(t, quota.Seeds("main")...)
			stop := start(t, b, still, "TAP_START_TIME=1h")
			before := planOf(t, b, "main.all")
			stop()
			fault := faults.Fail(call, bustest.Fault{Times: -1})
			log, _ := heard(t, b, still, "TAP_START_TIME=1h")
			poll(t, func() bool { return log.say("cannot plan") })
			fault.End()
			poll(t, func() bool { return log.say("planning works again") })
			if after := planOf(t, b, "main.all"); !after.GetStart().AsTime().Equal(before.GetStart().AsTime()) || after.GetGeneration() != before.GetGeneration() {
				t.Errorf("the plan began anew: %v, before %v", after, before)
			}
		})
	}
}

// TestWithoutTheLedgerThePlanStays: what became of earlier jobs is not guessed, also when
// everything else works.
func TestWithoutTheLedgerThePlanStays(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t, quota.Seeds("main")...)
	stop := start(t, b, still, "TAP_START_TIME=1h")
	poll(t, func() bool { return len(planOf(t, b, "main.all").GetOutstanding()) > 0 })
	stop()
	before := revision(t, b, "main.all")
	fault := faults.Fail(bustest.Read(bus.BucketLedger), bustest.Fault{Times: -1})
	now, wait := counted(epoch.Add(10 * time.Minute))
	log, _ := heard(t, b, now, "TAP_START_TIME=1h")
	poll(t, func() bool { return log.say("cannot plan") })
	wait(t)
	if revision(t, b, "main.all") != before {
		t.Error("the plan went on, and the ledger does not say what became of its jobs")
	}
	fault.End()
	poll(t, func() bool { return revision(t, b, "main.all") != before })
}

// TestRoomThatCannotBeMadeIsReported, whatever of it fails, and nothing is given up meanwhile.
func TestRoomThatCannotBeMadeIsReported(t *testing.T) {
	t.Parallel()
	s := smallStreams(t)
	s.full(epoch.AddDate(0, 0, -2))
	s.ship(len(s.records), len(s.records))
	var last *refusing
	for _, call := range []string{"bucket " + bus.BucketReplay, "next", "give up " + bus.StreamRaw} {
		last = &refusing{Bus: s.b, call: call}
		last.on.Store(true)
		log, _ := over(t, last)
		poll(t, func() bool { return log.say("cannot plan") && log.say(call+": refused by the test") })
	}
	if u := s.usage(bus.StreamRaw); u.First != 1 {
		t.Errorf("RAW begins at %d", u.First)
	}
	last.on.Store(false)
	poll(t, func() bool { return s.usage(bus.StreamRaw).First > 1 })
}

// TestAnotherStartTimeIsTakenUp by a plan of the same feeds, which keeps its key.
func TestAnotherStartTimeIsTakenUp(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	stop := start(t, b, still, "TAP_START_TIME=1h")
	before := planOf(t, b, "main.all").GetStart().AsTime()
	stop()
	log, _ := heard(t, b, still, "TAP_START_TIME=3h")
	poll(t, func() bool { return planOf(t, b, "main.all").GetStartTime() == "3h" })
	if after := planOf(t, b, "main.all").GetStart().AsTime(); before.Sub(after) != 2*time.Hour || !log.say("the start time is another than before") {
		t.Errorf("collection begins at %s, before at %s", after, before)
	}
}

// TestALookThatFailsAtTheStartIsRepeated, whichever it is: no plan in sight is not no plan. What
// did not change goes on as it was.
func TestALookThatFailsAtTheStartIsRepeated(t *testing.T) {
	t.Parallel()
	for skip := range 2 { // the plans, the lists
		b, faults := bustest.StartFaulty(t, quota.Seeds("main")...)
		stop := start(t, b, still, "TAP_START_TIME=1h", "TAP_FEEDS=clicksBlocked,campaigns")
		planOf(t, b, "main.clicksBlocked")
		_, page := newWorker(t, b, bus.ConsumerFetcherList).next()
		stop()
		faults.Fail(bustest.Read(bus.BucketState), bustest.Fault{Skip: skip})
		log, _ := heard(t, b, still, "TAP_START_TIME=1h", "TAP_FEEDS=clicksPermitted,campaigns")
		poll(t, func() bool { return log.say("cannot plan") && log.say("planning works again") })
		planOf(t, b, "main.clicksPermitted")
		if !log.say("the feeds are others than before") || log.say("a list is switched off") {
			t.Errorf("look %d: the plan does not follow from the one before, or its list ended", skip)
		}
		if wanted, err := plan.Wanted(t.Context(), bucket(t, b, bus.BucketState), page); err != nil || !wanted {
			t.Errorf("look %d: the page of the list is wanted %t, %v", skip, wanted, err)
		}
	}
}
