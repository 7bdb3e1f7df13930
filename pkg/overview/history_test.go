package overview_test

import (
	"testing"

	"github.com/tapline/tapline/pkg/heartbeat"
)

// TestHistoryBeforeTheFirstLiveWindow: what backfill has read and the sink has confirmed is read
// and confirmed, though live reading has not begun.
func TestHistoryBeforeTheFirstLiveWindow(t *testing.T) {
	t.Parallel()
	tt := newTenant(t)
	tt.beat(heartbeat.Stages()...)
	tt.plan.BackfillNext, tt.plan.BackfillEnd = at(10), at(10)
	for minute := range 10 {
		tt.read(minute)
		if minute != 4 {
			tt.deliver(minute)
		}
	}
	if f := tt.status().Feeds[0]; !f.Read.Equal(at(10).AsTime()) || !f.Confirmed.Equal(at(4).AsTime()) {
		t.Errorf("a minute is on its way: %+v", f)
	}
	tt.deliver(4)
	s := tt.status()
	if f := s.Feeds[0]; !f.Read.Equal(at(10).AsTime()) || !f.Confirmed.Equal(at(10).AsTime()) || !s.Verdict.OK {
		t.Errorf("all is confirmed: %+v, %+v", f, s.Verdict)
	}
}
