package pace_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/services/fetcher/internal/pace"
)

// stand is breakers by a clock of the test's.
func stand() (*pace.Breakers, *time.Time) {
	now := time.Date(2026, 3, 11, 12, 0, 0, 0, time.UTC)
	return pace.NewBreakers(func() time.Time { return now }, func(d time.Duration) time.Duration { return d }), &now
}

var (
	live     = pace.Key{Lane: "live", Endpoint: "/v2/siem/all"}
	backfill = pace.Key{Lane: "backfill", Endpoint: "/v2/siem/all"}
)

// TestTroubleIsOneBreakers: others stay closed, and a success closes it.
func TestTroubleIsOneBreakers(t *testing.T) {
	t.Parallel()
	b, now := stand()
	curve := pace.CurveOf("backfill", 1800)
	if wait, first := b.Failed(backfill, pace.Failure{Curve: curve}); !first || wait < 2*time.Second || wait > 3*time.Second || b.Wait(backfill) != wait {
		t.Errorf("%s, %v, %s", wait, first, b.Wait(backfill))
	}
	if b.Wait(live) > 0 || b.Open(live) || !b.Open(backfill) {
		t.Error("the failure of one is another's")
	}
	*now = now.Add(3 * time.Second)
	if b.Enter(backfill) != 0 || b.Enter(backfill) == 0 {
		t.Error("not exactly one call probes")
	}
	b.Leave(backfill)
	if b.Enter(backfill) != 0 {
		t.Error("a call that was not made still probes")
	}
	if !b.Served(backfill) || b.Wait(backfill) > 0 || b.Open(backfill) || b.Served(backfill) {
		t.Error("a success does not close the breaker")
	}
}

// TestHowManyCallsFail in an hour, and in a day where the pool has few calls.
func TestHowManyCallsFail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lane       string
		limit      int
		odd        bool
		hour, most int // in the first hour, and in the first day
	}{
		{"live", 1800, false, 21, 300},
		{"live", 1800, true, 17, 300},
		{"backfill", 1800, false, 14, 110},
		{"aside", 1800, true, 7, 110},
		{"list", 50, true, 2, 9},
		{"list", 50, false, 2, 9},
		{"forensics", 50, true, 2, 9},
	} {
		b, now := stand()
		begin, key, calls, hour := *now, pace.Key{Lane: c.lane}, 0, 0
		for now.Sub(begin) < 24*time.Hour {
			if b.Enter(key) == 0 {
				b.Failed(key, pace.Failure{Curve: pace.CurveOf(c.lane, c.limit), Odd: c.odd})
				calls++
				if now.Sub(begin) < time.Hour {
					hour++
				}
			}
			*now = now.Add(time.Second)
		}
		if hour > c.hour || calls > c.most || calls < 4 {
			t.Errorf("%+v: %d calls in the first hour, %d in a day", c, hour, calls)
		}
	}
}

// TestTroubles reports what is open, and forgets what nothing asks for any more.
func TestTroubles(t *testing.T) {
	t.Parallel()
	b, now := stand()
	b.Served(live)
	good := *now
	for range 2 {
		*now = now.Add(time.Minute)
		b.Failed(live, pace.Failure{Curve: pace.CurveOf("live", 1800), Words: "down"})
	}
	list := b.Troubles()
	if len(list) != 1 || list[0].Key != live || list[0].Failures != 2 || list[0].For != time.Minute || !list[0].Good.Equal(good) || list[0].Words != "down" {
		t.Errorf("%+v", list)
	}
	*now = now.Add(6 * time.Minute)
	if list := b.Troubles(); len(list) != 0 || b.Open(live) {
		t.Errorf("%+v", list)
	}
}

// TestSharedIsATwentieth: what all replicas may spend in an hour is at most a twentieth of the
// pool, and at least one call. No limit, no share.
func TestSharedIsATwentieth(t *testing.T) {
	t.Parallel()
	for limit := 20; limit <= 3600; limit++ {
		share := pace.Shared(limit)
		if calls := share.Burst + int((time.Hour-1)/share.Every); calls < 1 || calls > limit/20 {
			t.Fatalf("limit %d: %d calls in an hour", limit, calls)
		}
	}
	if share := pace.Shared(0); share.Burst != 0 || share.Every != 0 {
		t.Errorf("a pool without a limit has a share: %+v", share)
	}
}

// TestDeferredByOthers: a breaker that is told of failures elsewhere makes no call meanwhile, and
// is not in trouble itself.
func TestDeferredByOthers(t *testing.T) {
	t.Parallel()
	b, now := stand()
	b.Defer(live, time.Minute)
	b.Defer(live, time.Second) // shortens nothing
	if wait := b.Enter(live); wait != time.Minute || b.Open(live) || b.Wait(backfill) != 0 {
		t.Errorf("wait %s, open %t, the other lane %s", wait, b.Open(live), b.Wait(backfill))
	}
	*now = now.Add(time.Minute)
	if wait := b.Enter(live); wait != 0 {
		t.Errorf("a minute later: %s", wait)
	}
}
