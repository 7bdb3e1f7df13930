package fetcher_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/known"
	"github.com/tapline/tapline/pkg/ledger"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestCrashAfterPublication: the marker is there, SEEN and LEDGER are not.
func TestCrashAfterPublication(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	job := b.job(b.window, 0)
	stop := b.start(t, "BATCH_RECORDS=20")
	b.plan(t, job)
	b.record(t, job)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// As if the crash had come before: forget what was written after RAW.
	forget(t, b.bus)
	b.plan(t, job)
	b.start(t, "BATCH_RECORDS=20")
	b.record(t, job)
	if calls := b.sim.Status().Quota[feed.PoolSIEM].Used; calls != 1 {
		t.Errorf("%d calls; the second run should have found the marker", calls)
	}
	again := b.job(b.window, 1)
	b.plan(t, again)
	b.record(t, again)
	for _, r := range func() []*taplinev1.FeedResult { _, r := b.marker(t, again.GetId()); return r.GetFeeds() }() {
		if r.GetPublished() != 0 {
			t.Errorf("SEEN was not completed: %v", r)
		}
	}
}

// TestCrashAfterAnAnswer: an answer that is in RAW is known, also when the end came before KNOWN
// was written.
func TestCrashAfterAnAnswer(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	id := b.threats(t, 1)[0]
	order := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 7, id)
	stop := b.start(t, quick...)
	b.plan(t, order)
	b.record(t, order)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	forget(t, b.bus)
	memory, err := b.bus.Bucket(t.Context(), bus.BucketKnown)
	if err != nil {
		t.Fatal(err)
	}
	if err := memory.Put(t.Context(), known.Key("main", feed.CallThreat, id), nil); err != nil {
		t.Fatal(err)
	}
	b.plan(t, order)
	b.start(t, quick...)
	b.record(t, order)
	again := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 8, id)
	b.plan(t, again)
	if f := b.record(t, again).GetFeeds()[0]; f.GetKnown() != 1 || f.GetReceived() != 0 {
		t.Errorf("KNOWN was not completed: %v", f)
	}
}

// forget empties the keys of SEEN and LEDGER.
func forget(t *testing.T, b *bus.Bus) {
	t.Helper()
	for _, name := range []string{bus.BucketSeen, bus.BucketLedger} {
		bucket, err := b.Bucket(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := bucket.Keys(t.Context(), ">")
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if err := bucket.Put(t.Context(), key, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAWindowThatWasCutDuringTheCall: this process stood still in the call, and another took the
// window for one that cannot be read. What the parts read, it must not bring once more.
func TestAWindowThatWasCutDuringTheCall(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	job := b.job(b.window, 0)
	bucket, err := b.bus.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == feed.SIEMAll.Path {
			split := &taplinev1.JobRecord{JobId: job.GetId(), State: taplinev1.WindowState_WINDOW_STATE_SPLIT}
			if err := ledger.New(bucket).RecordJob(r.Context(), split); err != nil {
				t.Error(err)
			}
		}
		b.sim.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	b.plan(t, job)
	b.start(t)
	poll(t, func() bool {
		backlog, err := b.bus.Backlog(t.Context(), bus.ConsumerFetcherBackfill)
		return err == nil && backlog.Waiting == 0 && backlog.InWork == 0 && b.sim.Status().Quota[feed.PoolSIEM].Used == 1
	})
	if _, _, err := b.bus.Marker(t.Context(), "main", job.GetId()); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("the window is stored (%v), and its parts are read", err)
	}
	if r := b.record(t, job); r.GetState() != taplinev1.WindowState_WINDOW_STATE_SPLIT {
		t.Errorf("%v", r)
	}
}
