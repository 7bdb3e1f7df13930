package pace

import (
	"time"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/quota"
)

// Curve is how long a breaker stays open.
type Curve struct {
	First, Most time.Duration
	// Least is how long it stays open at least, whatever else.
	Least time.Duration
	// Free is for endpoints without a limit, where an odd answer costs nothing.
	Free bool
	// Scarce is for pools of so few calls that a second try has to wait for an hour.
	Scarce bool
}

// scarce is the limit in 24 hours below which a pool has so few calls.
const scarce = 480

// CurveOf is the curve for a lane and a pool's limit; no limit is 0. What is live is probed most
// often.
func CurveOf(lane string, limit int) Curve {
	switch {
	case limit > 0 && limit < scarce:
		return Curve{First: time.Minute, Most: 6 * time.Hour, Scarce: true}
	case limit == 0:
		return Curve{First: 2 * time.Second, Most: 5 * time.Minute, Free: true}
	case lane == "live":
		return Curve{First: 2 * time.Second, Most: 5 * time.Minute}
	case lane == "aside":
		return Curve{First: 2 * time.Minute, Most: 15 * time.Minute}
	}
	return Curve{First: 2 * time.Second, Most: 15 * time.Minute}
}

// Brief is the curve for failures that are not the endpoint's. Only when none of the lane is served
// meanwhile it grows, to the time that the share of windows that fail wants, and not over what is
// usual.
func (c Curve) Brief(spent time.Duration) Curve {
	c.First = min(c.First, 2*time.Second)
	c.Most = min(c.Most, max(spent, 2*time.Second))
	return c
}

// after is how long the breaker stays open after so many failures in a row. An odd answer is rarely
// a matter of seconds, and each costs a unit.
func (c Curve) after(failures int, odd bool) time.Duration {
	return max(c.grown(failures, odd), c.Least)
}

func (c Curve) grown(failures int, odd bool) time.Duration {
	if c.Scarce {
		if failures == 1 {
			return c.First
		}
		return backoff.Doubling{Min: time.Hour, Max: c.Most}.After(failures - 1)
	}
	factor := 1
	if odd && !c.Free {
		factor = 2
	}
	return backoff.Doubling{Min: c.First, Max: c.Most}.After(factor*(failures-1) + 1)
}

// Shared is what failing calls of all replicas may cost a pool with this limit in 24 hours: less
// than a twentieth in an hour. No limit is 0.
func Shared(limit int) quota.Share {
	switch {
	case limit == 0:
		return quota.Share{}
	case limit < scarce:
		return quota.Share{Burst: max(limit/25, 1), Every: time.Hour}
	}
	return quota.Share{Burst: limit / 90, Every: 40 * time.Hour / time.Duration(limit)}
}
