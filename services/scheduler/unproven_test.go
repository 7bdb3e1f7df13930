package scheduler_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestUnprovenIsAnAlarmUntilItIsRead: whatever reads it, and in whatever sections.
func TestUnprovenIsAnAlarmUntilItIsRead(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	var passed atomic.Int64
	start(t, b, func() time.Time { return epoch.Add(time.Duration(passed.Load())) }, "TAP_START_TIME=20m")
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	raised := func() bool {
		list, err := alarm.Read(t.Context(), state, "main", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(list, func(a *taplinev1.Alarm) bool {
			return a.GetName() == string(alarm.Answer) && a.GetStage() == "scheduler"
		})
	}
	newWorker(t, b, bus.ConsumerFetcherBackfill).do(taplinev1.WindowState_WINDOW_STATE_UNPROVEN)
	poll(t, raised)
	passed.Store(int64(2 * time.Minute))
	aside := newWorker(t, b, bus.ConsumerFetcherAside)
	aside.do(taplinev1.WindowState_WINDOW_STATE_SPLIT)
	aside.do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
	aside.do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
	poll(t, func() bool { return !raised() })
}
