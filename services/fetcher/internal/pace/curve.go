package pace

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tapline/tapline/pkg/backoff"
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

// Share is what windows that fail may spend of each pool: a fortieth of the limit in an hour, and
// some at once. It may be overdrawn by calls that were not known to fail; then those that are known
// to wait. It is safe for concurrent use.
type Share struct {
	limit func(pool string) int

	mu    sync.Mutex
	pools map[string]*rate.Limiter
}

// NewShare makes a share of pools with these limits in 24 hours; 0 is no limit.
func NewShare(limit func(pool string) int) *Share {
	return &Share{limit: limit, pools: make(map[string]*rate.Limiter)}
}

func (s *Share) of(pool string) *rate.Limiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.pools[pool]
	if l == nil {
		limit := s.limit(pool)
		l = rate.NewLimiter(rate.Limit(float64(limit)/40/3600), max(limit/90, 1))
		if limit == 0 {
			l = rate.NewLimiter(rate.Inf, 1)
		}
		s.pools[pool] = l
	}
	return l
}

// Spent records a call that failed. The debt is bounded: it is paid off in half an hour.
func (s *Share) Spent(pool string, now time.Time) {
	if l := s.of(pool); l.TokensAt(now) > -float64(l.Burst()) {
		l.ReserveN(now, 1)
	}
}

// Scant reports whether another failure uses the share up: then nothing that costs more calls
// should begin.
func (s *Share) Scant(pool string, now time.Time) bool {
	l := s.of(pool)
	return l.Limit() != rate.Inf && l.TokensAt(now) < 2
}

// Wait is how long a call that is likely to fail should wait; zero means that it may be made.
func (s *Share) Wait(pool string, now time.Time) time.Duration {
	l := s.of(pool)
	missing := 1 - l.TokensAt(now)
	if missing <= 0 || l.Limit() == rate.Inf {
		return 0
	}
	return time.Duration(missing / float64(l.Limit()) * float64(time.Second))
}
