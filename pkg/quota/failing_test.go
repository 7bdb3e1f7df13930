package quota_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/quota"
)

var share = quota.Share{Burst: 20, Every: 80 * time.Second}

// TestFailingCallsHaveAShare: a burst, then one each so often. What is overdrawn is paid back, but
// for a while only, and a success gives its charge back.
func TestFailingCallsHaveAShare(t *testing.T) {
	t.Parallel()
	s, now, calls := fresh(t), epoch, 0
	for range 3600 {
		charged, wait := s.Probe(now, share)
		if wait == 0 {
			calls++
		}
		if wait == 0 && !charged {
			s.Failed(now, share)
		}
		now = now.Add(time.Second)
	}
	if most := share.Burst + int((time.Hour-1)/share.Every); calls != most {
		t.Errorf("%d calls in the first hour, want %d", calls, most)
	}
	s.Recovered(now, share, false)
	if charged, wait := s.Probe(now, share); !charged || wait > 0 {
		t.Errorf("after a success: charged %t, wait %s", charged, wait)
	}
	for range 1000 {
		s.Failed(now, share)
	}
	debt := s.Debt(now, share)
	if wait := share.Wait(debt); wait != 21*share.Every || !share.Scant(debt) {
		t.Errorf("a thousand failures wait %s", wait)
	}
	if s.Recovered(now, share, true); s.Debt(now, share) != 0 {
		t.Error("a success that speaks for all left a debt")
	}
	none := quota.Share{}
	s.Failed(now, none)
	if charged, wait := s.Probe(now, none); charged || wait > 0 || none.Scant(s.Debt(now, none)) {
		t.Error("a pool without a limit has a share")
	}
}

// TestReplicasShareFailures: however many replicas probe at once, the share is that of one.
func TestReplicasShareFailures(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, quota.Seeds("main")...)
	if err := limiter(t, b, 1800).Failed(t.Context(), feed.PoolSIEM, share); err != nil {
		t.Fatal(err)
	}
	var probes atomic.Int64
	var wg sync.WaitGroup
	for range 3 {
		replica := limiter(t, b, 1800)
		wg.Go(func() {
			for {
				charged, wait, err := replica.ReserveProbe(t.Context(), feed.PoolSIEM, share)
				if err != nil || wait > 0 {
					if err != nil || !share.Scant(replica.Debt(feed.PoolSIEM, share)) {
						t.Errorf("%v, owed %s", err, replica.Debt(feed.PoolSIEM, share))
					}
					return
				}
				if !charged {
					t.Error("a probe was not charged")
				}
				probes.Add(1)
			}
		})
	}
	wg.Wait()
	if n := probes.Load(); n != int64(share.Burst)-1 {
		t.Errorf("%d probes after one failure, want %d", n, share.Burst-1)
	}
	l := limiter(t, b, 1800)
	if st, err := l.Look(t.Context(), feed.PoolSIEM); err != nil || st.Used != share.Burst-1 {
		t.Errorf("%+v, %v", st, err)
	}
	if err := l.Reserve(t.Context(), feed.PoolSIEM); err != nil {
		t.Errorf("a call that is not likely to fail: %v", err)
	}
}

// TestAProbeWithoutAUnitIsNotCharged: what the limit refuses is no failure.
func TestAProbeWithoutAUnitIsNotCharged(t *testing.T) {
	t.Parallel()
	l := limiter(t, bustest.Start(t, quota.Seeds("main")...), 1)
	for _, err := range []error{l.Failed(t.Context(), feed.PoolSIEM, share), l.Reserve(t.Context(), feed.PoolSIEM)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if charged, wait, err := l.ReserveProbe(t.Context(), feed.PoolSIEM, share); charged || wait > 0 || err == nil {
		t.Errorf("charged %t, wait %s, %v", charged, wait, err)
	}
	if debt := l.Debt(feed.PoolSIEM, share); debt != share.Every {
		t.Errorf("%s is owed", debt)
	}
}
