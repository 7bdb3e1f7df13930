package pace_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
)

// TestWindowsThatFailHoldUpNoLane: however many calls failed, the debt is bounded, and a lane of
// which others are served waits some seconds after one that fails.
func TestWindowsThatFailHoldUpNoLane(t *testing.T) {
	t.Parallel()
	var now time.Time
	b, key := at(&now), pace.Key{Lane: "live", Endpoint: "/v2/siem/all"}
	share := pace.Shared(1800)
	pool, err := quota.Decode(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		pool.Failed(now, share)
	}
	spent := share.Wait(pool.Debt(now, share))
	if spent < time.Minute || spent > 30*time.Minute {
		t.Errorf("a window that fails waits %s", spent)
	}
	curve := pace.CurveOf(key.Lane, 1800)
	fail := func() time.Duration {
		wait, _ := b.Failed(key, pace.Failure{Curve: curve.Brief(spent), Odd: true})
		now = now.Add(wait)
		return wait
	}
	for range 10 {
		if wait := fail(); wait > 3*time.Second {
			t.Errorf("the lane waits %s", wait)
		}
		b.Served(key)
	}
	var longest time.Duration
	for range 10 { // nothing of the lane is served
		longest = max(longest, fail())
	}
	if longest < 5*time.Minute || longest > 6*time.Minute {
		t.Errorf("a lane that only fails waits %s", longest)
	}
}
