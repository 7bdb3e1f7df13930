package scheduler_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/quota"
)

// lostSeconds is what schedulers have counted as lost.
func lostSeconds(t *testing.T, registries ...*prometheus.Registry) (sum float64) {
	t.Helper()
	for _, r := range registries {
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "tapline_scheduler_lost_seconds_total" {
				sum += f.GetMetric()[0].GetCounter().GetValue()
			}
		}
	}
	return sum
}

// TestWhatIsLostIsCountedOnce: the plan cannot be written for a while, so that the same step is
// repeated, by several schedulers, of which one then writes it.
func TestWhatIsLostIsCountedOnce(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	setup := func() {
		if err := b.Setup(t.Context(), bustest.Limits, quota.Seeds("main")); err != nil {
			t.Fatal(err)
		}
	}
	setup()
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	environ := []string{"TAP_START_TIME=0s", "TAP_FEEDS=clicksBlocked"}
	stop := start(t, b, still, environ...)
	poll(t, func() bool { _, err := state.Get(t.Context(), "main.clicksBlocked"); return err == nil })
	stop()
	before, err := state.Get(t.Context(), "main.clicksBlocked")
	if err != nil {
		t.Fatal(err)
	}
	bustest.Refuse(t, server, "KV_"+bus.BucketState)
	var looks atomic.Int64
	later := func() time.Time {
		looks.Add(1)
		return epoch.Add(9 * 24 * time.Hour)
	}
	registries := []*prometheus.Registry{prometheus.NewRegistry(), prometheus.NewRegistry(), prometheus.NewRegistry()}
	for _, r := range registries {
		measured(t, b, r, later, environ...)
	}
	poll(t, func() bool { return looks.Load() > 100 })
	if n := lostSeconds(t, registries...); n != 0 {
		t.Errorf("%v seconds are counted as lost, and no plan says so", n)
	}
	setup()
	poll(t, func() bool { return lostSeconds(t, registries...) > 0 })
	after, err := state.Get(t.Context(), "main.clicksBlocked")
	if err != nil || after.Revision == before.Revision {
		t.Errorf("counted, and not written: %v", err)
	}
	seen := looks.Load()
	poll(t, func() bool { return looks.Load() > seen+100 })
	// From where reading ended nine days ago to where it begins again, which is a little less than
	// seven ago.
	if n := time.Duration(lostSeconds(t, registries...)) * time.Second; n.Round(24*time.Hour) != 2*24*time.Hour {
		t.Errorf("%s are counted as lost, of two days", n)
	}
}
