package fetcher_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
)

// TestUnreadableShapesProveNothing: what answers had once may have been there. So a missing array
// is not learned to be normal, and an alarm reports what was lost.
func TestUnreadableShapesProveNothing(t *testing.T) {
	t.Parallel()
	b := hasty(t)
	state, err := b.bus.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	if err := state.Put(t.Context(), "shape.main", []byte("\xff\xff")); err != nil {
		t.Fatal(err)
	}
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultNoArray, Array: "messagesDelivered"})
	b.start(t)
	var r *taplinev1.JobRecord
	for i := range 3 { // one of them is enough to learn from
		job := b.job(window.New(b.window.Start.Add(-time.Duration(i+1)*10*time.Minute), b.window.Start.Add(-time.Duration(i)*10*time.Minute)), 0)
		b.plan(t, job)
		r = b.record(t, job)
	}
	if r.GetState() != unproven {
		t.Errorf("the account says %v", r)
	}
	poll(t, func() bool { return strings.Contains(b.raised(t, alarm.MemoryLost), "cannot be read in STATE") })
}
