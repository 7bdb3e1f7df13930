package scheduler_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/overview"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// purge removes everything from a stream, as an operator with too many rights would.
func (s *stages) purge(stream string) {
	s.t.Helper()
	bustest.Publish(s.t, s.server, "$JS.API.STREAM.PURGE."+stream, nil)
}

// TestWhatLeftUndeliveredIsLost: rows that are gone before the sink had them are no longer on their
// way. They are lost, also after a restart, and not those that were delivered before.
func TestWhatLeftUndeliveredIsLost(t *testing.T) {
	t.Parallel()
	for stream, c := range map[string]struct {
		leave func(s *stages)
		lost  int64
	}{
		bus.StreamEvents: {func(s *stages) { s.enrich(); s.ship(1, 1) }, 300},
		bus.StreamRaw:    {func(*stages) {}, 400},
	} {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			s := smallStreams(t)
			stop := start(t, s.b, still, "TAP_START_TIME=20m")
			newWorker(t, s.b, bus.ConsumerFetcherBackfill).do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
			stop()
			for range 4 {
				s.fetch(epoch, true)
			}
			c.leave(s)
			s.purge(stream)
			for range 2 {
				stop := start(t, s.b, still, "TAP_START_TIME=20m")
				poll(t, func() bool {
					return strings.Contains(s.alarm(alarm.Lost), "100 rows left "+stream+" before they were delivered")
				})
				stop()
			}
			r, err := overview.Open(t.Context(), s.b, "main", quota.Config{}, still)
			s.must(err)
			report, err := r.Verify(t.Context())
			s.must(err)
			lost := 0
			for _, g := range report.Gaps {
				if g.State == overview.Lost {
					lost++
				}
			}
			if report.Good() || lost == 0 || report.Pending != 0 || report.Records-report.Confirmed != c.lost {
				t.Errorf("%d gaps are lost, %d rows pending, %d of %d confirmed", lost, report.Pending, report.Confirmed, report.Records)
			}
			sums, err := s.ledger.Load(t.Context(), "main", epoch.AddDate(0, 0, -1), epoch)
			s.must(err)
			var sum int64
			for i := range sums.Rows {
				if sums.Rows[i].State == taplinev1.WindowState_WINDOW_STATE_FETCHED {
					sum += sums.Rows[i].Lost
				}
			}
			if sum != c.lost {
				t.Errorf("%d rows are lost, want %d", sum, c.lost)
			}
		})
	}
}

// TestWhatWaitsIsNotLost, however long it waits.
func TestWhatWaitsIsNotLost(t *testing.T) {
	t.Parallel()
	s := smallStreams(t)
	for range 3 {
		s.fetch(epoch, true)
	}
	s.enrich()
	s.fetch(epoch, true)
	stop := start(t, s.b, still, "TAP_START_TIME=1h")
	newWorker(t, s.b, bus.ConsumerFetcherBackfill).do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
	stop()
	if got := s.alarm(alarm.Lost); got != "" {
		t.Errorf("alarm: %s", got)
	}
}

// TestOnlyWhatIsOwedIsTold: the ledger may list as lost what is before the start, which the plan
// never owed. That is no alarm, other than what is lost.
func TestOnlyWhatIsOwedIsTold(t *testing.T) {
	t.Parallel()
	s := smallStreams(t)
	stop := start(t, s.b, still, "TAP_START_TIME=20m")
	newWorker(t, s.b, bus.ConsumerFetcherBackfill).do(taplinev1.WindowState_WINDOW_STATE_FETCHED)
	stop()
	minute := func(before time.Duration) *taplinev1.Window {
		at := epoch.Truncate(time.Minute).Add(-before)
		return window.New(at, at.Add(time.Minute)).Proto()
	}
	for reason, before := range map[string]time.Duration{"before the start": 3 * time.Hour, "truly": 15 * time.Minute} {
		s.must(s.ledger.RecordRange(t.Context(), "main", &taplinev1.RangeRecord{
			Window: minute(before), Feeds: []string{string(feed.ClicksBlocked)}, State: taplinev1.WindowState_WINDOW_STATE_LOST, Reason: reason,
			At: timestamppb.New(time.Now().Add(time.Hour)),
		}))
	}
	start(t, s.b, still, "TAP_START_TIME=20m")
	poll(t, func() bool { return strings.HasSuffix(s.alarm(alarm.Lost), ": truly") })
}
