package scheduler_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/scheduler"
)

// refused starts a scheduler and gives the error that ends it.
func refused(t *testing.T, b *bus.Bus, now time.Time, environ ...string) error {
	t.Helper()
	var c scheduler.Config
	if err := config.Load(&c, append([]string{"SCHEDULER_TICK=5ms"}, environ...)); err != nil {
		return err
	}
	s, err := scheduler.New(c, scheduler.Deps{
		Bus: b, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Now: func() time.Time { return now },
	})
	if err != nil {
		return err
	}
	return s.Run(t.Context())
}

// planOf reads a plan from STATE.
func planOf(t *testing.T, b *bus.Bus, key string) *taplinev1.PlanState {
	t.Helper()
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	var s *taplinev1.PlanState
	poll(t, func() bool {
		entry, err := state.Get(t.Context(), key)
		if err != nil {
			return false
		}
		s = &taplinev1.PlanState{}
		if err := proto.Unmarshal(entry.Value, s); err != nil {
			t.Fatal(err)
		}
		return true
	})
	return s
}

// TestFirstStartLosesNothing: with the defaults, it begins inside what Proofpoint serves.
func TestFirstStartLosesNothing(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	r := prometheus.NewRegistry()
	measured(t, b, r, still)
	w := newWorker(t, b, bus.ConsumerFetcherBackfill)
	for range 10 {
		w.do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
	}
	if first := w.windows[0].Start; first.Before(epoch.Add(-7 * 24 * time.Hour)) {
		t.Errorf("the first window begins at %s", first)
	}
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	if raised, err := alarm.Read(t.Context(), state, "main", time.Now()); err != nil || len(raised) > 0 {
		t.Errorf("alarms %v, %v", raised, err)
	}
	records, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	sums, err := ledger.New(records).Load(t.Context(), "main", epoch.Add(-8*24*time.Hour), epoch)
	if err != nil {
		t.Fatal(err)
	}
	for _, lost := range sums.Ranges {
		if lost.State == taplinev1.WindowState_WINDOW_STATE_LOST {
			t.Errorf("%s is lost: %s", lost.Window, lost.Reason)
		}
	}
	if n := lostSeconds(t, r); n != 0 {
		t.Errorf("%v seconds are lost", n)
	}
}

// TestOnlyAFirstStartRefusesAnOldStart: what was configured once may become old.
func TestOnlyAFirstStartRefusesAnOldStart(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	const environ = "TAP_START_TIME=2026-03-10T00:00:00Z"
	late := epoch.Add(30 * 24 * time.Hour)
	err := refused(t, b, late, environ)
	if problem, ok := errors.AsType[*config.ProblemError](err); !ok || problem.ID != 101 || !strings.Contains(err.Error(), "2026-04-03T08:30:20Z") {
		t.Fatalf("a first start thirty days later ended with %v", err)
	}
	stop := start(t, b, still, environ)
	planOf(t, b, "main.all")
	stop()
	start(t, b, func() time.Time { return late }, environ)
	poll(t, func() bool {
		return planOf(t, b, "main.all").GetLiveHead().AsTime().After(epoch.Add(20 * 24 * time.Hour))
	})
}

// TestAStartBeforeWhatIsServedIsRefused at configuration, with what would be right.
func TestAStartBeforeWhatIsServedIsRefused(t *testing.T) {
	t.Parallel()
	for _, age := range []string{"8d", "169h"} {
		var c scheduler.Config
		err := config.Load(&c, []string{"TAP_START_TIME=" + age})
		if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "TAP_START_TIME") || !strings.Contains(err.Error(), "7d") {
			t.Errorf("%s: %v", age, err)
		}
	}
}

// TestASecondTenantBegins with pools of its own, although setup seeds the first tenant only:
// nothing is lost, and all calls are left.
func TestASecondTenantBegins(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	now, wait := counted(epoch)
	start(t, b, now, "TENANT=other", "TAP_START_TIME=1h")
	planOf(t, b, "other.all")
	units := bucket(t, b, bus.BucketQuota)
	for _, seed := range quota.Seeds("other") {
		entry, err := units.Get(t.Context(), seed.Key)
		if err != nil || len(entry.Value) > 0 {
			t.Errorf("%s: %q, %v", seed.Key, entry.Value, err)
		}
	}
	wait(t)
	poll(t, func() bool { // after the pools
		_, err := bucket(t, b, bus.BucketState).Get(t.Context(), "memory.other.parts")
		return err == nil
	})
	raised, err := alarm.Read(t.Context(), bucket(t, b, bus.BucketState), "other", time.Now())
	if err != nil || len(raised) > 0 {
		t.Errorf("alarms %v, %v", raised, err)
	}
}
