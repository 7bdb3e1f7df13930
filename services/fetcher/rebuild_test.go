package fetcher_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestSeenIsRebuiltFromRAW: a memory that was taken away, or emptied, is made again before anything
// is read, so that nothing is published twice; and it is reported. An empty RAW has nothing to
// rebuild from, and a restart nothing to do.
func TestSeenIsRebuiltFromRAW(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"DELETE", "PURGE"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, nil)
			job := b.job(b.window, 0)
			stop := b.start(t)
			b.plan(t, job)
			b.record(t, job)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			stop = b.start(t)
			b.plan(t, b.job(b.window, 1))
			b.record(t, b.job(b.window, 1))
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if got := told(t, b.bus); got != "" {
				t.Errorf("nothing is lost, and the alarm says %s", got)
			}
			bustest.Publish(t, b.server, "$JS.API.STREAM."+verb+".KV_SEEN", nil)
			if err := b.bus.Setup(t.Context(), bustest.Limits, nil); err != nil {
				t.Fatal(err)
			}
			b.start(t)
			again := b.job(b.window, 2)
			b.plan(t, again)
			b.record(t, again)
			received := int64(0)
			_, result := b.marker(t, again.GetId())
			for _, r := range result.GetFeeds() {
				received += r.GetReceived()
				if r.GetPublished() != 0 {
					t.Errorf("published twice: %v", r)
				}
			}
			if received == 0 {
				t.Error("nothing was received, so nothing is shown")
			}
			poll(t, func() bool { return strings.HasPrefix(told(t, b.bus), "SEEN was lost and has been rebuilt: RAW has ") })
		})
	}
}

// told is the detail of the alarm memory-lost.
func told(t *testing.T, b *bus.Bus) string {
	t.Helper()
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	raised, err := alarm.Read(t.Context(), state, "main", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(raised, func(a *taplinev1.Alarm) bool { return a.GetName() == string(alarm.MemoryLost) })
	if i < 0 {
		return ""
	}
	return raised[i].GetDetail()
}
