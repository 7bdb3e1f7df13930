package ledger_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOutcomeIsKnownWhenEveryFeedHasOne(t *testing.T) {
	t.Parallel()
	bucket, err := bustest.Start(t).Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	l := ledger.New(bucket)
	w := ledger.Window{Window: window.New(time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC), time.Date(2026, 3, 11, 8, 1, 0, 0, time.UTC))}
	set := feed.Set{feed.ClicksBlocked, feed.MessagesBlocked}
	expect := func(want taplinev1.WindowState) {
		t.Helper()
		if out, err := l.Outcome(t.Context(), "main", set, w); err != nil || out.State != want {
			t.Errorf("%v, %v; want %s", out, err, want)
		}
	}
	put := func(f feed.Feed, state taplinev1.WindowState) {
		t.Helper()
		if err := l.Put(t.Context(), &taplinev1.WindowRecord{Tenant: "main", Feed: string(f), Window: w.Proto(), State: state, SkewMs: 1500}); err != nil {
			t.Fatal(err)
		}
	}
	expect(taplinev1.WindowState_WINDOW_STATE_UNSPECIFIED)
	put(feed.ClicksBlocked, taplinev1.WindowState_WINDOW_STATE_FETCHED)
	expect(taplinev1.WindowState_WINDOW_STATE_UNSPECIFIED)
	put(feed.MessagesBlocked, taplinev1.WindowState_WINDOW_STATE_FETCHED)
	expect(taplinev1.WindowState_WINDOW_STATE_FETCHED)
	if r, err := l.Get(t.Context(), "main", feed.ClicksBlocked, w); err != nil || r.GetSkewMs() != 1500 {
		t.Errorf("%v, %v", r, err)
	}
	if r, err := l.Get(t.Context(), "other", feed.ClicksBlocked, w); err != nil || r != nil {
		t.Errorf("another tenant sees %v, %v", r, err)
	}
	w.Pass = 1
	expect(taplinev1.WindowState_WINDOW_STATE_UNSPECIFIED) // a sweep has records of its own
	if l.Put(t.Context(), &taplinev1.WindowRecord{Tenant: "main", Feed: "clicksBlocked"}) == nil {
		t.Error("a record without a window was written")
	}
}
