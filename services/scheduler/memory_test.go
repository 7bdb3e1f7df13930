package scheduler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestForgettingIsTold: a stream, a bucket or a consumer that was made anew is an alarm that names
// it; a restart is none.
func TestForgettingIsTold(t *testing.T) {
	t.Parallel()
	for what, names := range map[string][]string{
		"STREAM.DELETE.EVENTS":           {"EVENTS was made anew", "EVENTS/shipper was made anew"},
		"STREAM.DELETE.KV_SEEN":          {"KV_SEEN was made anew"},
		"CONSUMER.DELETE.EVENTS.shipper": {"EVENTS/shipper was made anew"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := smallStreams(t)
			state, err := s.b.Bucket(t.Context(), bus.BucketState)
			s.must(err)
			for range 2 {
				stop := start(t, s.b, still, "TAP_START_TIME=1h")
				poll(t, func() bool { _, err := state.Get(t.Context(), "memory.main.parts"); return err == nil })
				newWorker(t, s.b, bus.ConsumerFetcherBackfill).do(taplinev1.WindowState_WINDOW_STATE_SPLIT)
				stop()
				if got := s.alarm(alarm.MemoryLost); got != "" {
					t.Errorf("nothing is lost, and the alarm says %s", got)
				}
			}
			bustest.Publish(t, s.server, "$JS.API."+what, nil)
			s.must(s.b.Setup(t.Context(), smallLimits, nil))
			start(t, s.b, still, "TAP_START_TIME=1h")
			for _, name := range names {
				poll(t, func() bool { return strings.Contains(s.alarm(alarm.MemoryLost), name) })
			}
		})
	}
}

// TestALostPoolIsTold: one key of QUOTA that is gone, or not readable, is an alarm that names it.
// Its calls are those of LEDGER.
func TestALostPoolIsTold(t *testing.T) {
	t.Parallel()
	s := smallStreams(t)
	stop := start(t, s.b, still, "TAP_START_TIME=1h")
	planOf(t, s.b, "main.all") // a tenant without a plan gets its pools
	stop()
	units, err := s.b.Bucket(t.Context(), bus.BucketQuota)
	s.must(err)
	s.must(units.Put(t.Context(), quota.Key("main", feed.PoolPeopleVAP), []byte("\xff")))
	siem, err := units.Get(t.Context(), quota.Key("main", feed.PoolSIEM))
	s.must(err)
	s.must(units.Delete(t.Context(), quota.Key("main", feed.PoolSIEM), siem.Revision))
	start(t, s.b, still, "TAP_START_TIME=1h")
	for _, pool := range []string{"main.siem", "main.people-vap"} {
		poll(t, func() bool {
			return strings.Contains(s.alarm(alarm.MemoryLost), "the calls in "+pool+" of QUOTA were lost and rebuilt")
		})
	}
	if detail := s.alarm(alarm.MemoryLost); strings.Contains(detail, string(feed.PoolCampaignIDs)) {
		t.Error(detail)
	}
	q := quota.NewLimiter(units, "main", quota.Config{Margin: 2 * time.Minute}, func() time.Time { return epoch.Add(25 * time.Hour) })
	for _, pool := range []feed.Pool{feed.PoolSIEM, feed.PoolPeopleVAP} { // no process calls them
		if st, err := q.Look(t.Context(), pool); err != nil || !st.Rebuilt.Equal(epoch) {
			t.Errorf("a day later %s was rebuilt at %s, %v", pool, st.Rebuilt, err)
		}
	}
}

// TestDeadLettersAreAnAlarm: by reason, those of this tenant, until they are gone.
func TestDeadLettersAreAnAlarm(t *testing.T) {
	t.Parallel()
	s := smallStreams(t)
	for i := range 5 {
		letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "enricher", Feed: "clicksBlocked", Reason: fmt.Sprintf("not an object: byte %d", i), Payload: []byte{byte(i)}}
		switch i {
		case 3:
			letter.Reason, letter.Part = "too large", 1
		case 4:
			letter.Tenant = "other"
		}
		s.must(s.b.PublishDead(t.Context(), letter, fmt.Sprint(i)))
	}
	more := &taplinev1.DeadLetter{Tenant: "main", Stage: "enricher", Feed: "clicksBlocked", Reason: "too large", Part: 2} // of the same record
	s.must(s.b.PublishDead(t.Context(), more, "more"))
	start(t, s.b, still, "TAP_START_TIME=1h")
	poll(t, func() bool {
		return strings.HasPrefix(s.alarm(alarm.Dead), "4 dead letters in the last day: 3 enricher: not an object, 1 enricher: too large;")
	})
	for sequence := range uint64(4) {
		s.must(s.b.Delete(t.Context(), bus.StreamDead, sequence+1))
	}
	poll(t, func() bool { return s.alarm(alarm.Dead) == "" })
}
