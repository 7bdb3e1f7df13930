package fetcher

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/step"
)

const (
	firstRest = 2 * time.Second
	maxRest   = 5 * time.Minute
)

// gate keeps this process from calling an API that fails: after each failure in
// a row it rests longer, so that an outage of hours costs a dozen units an hour and
// not a unit for every job. It is safe for concurrent use.
type gate struct {
	now func() time.Time

	mu       sync.Mutex
	failures int
	until    time.Time
}

func newGate(now func() time.Time) *gate { return &gate{now: now} }

// rest is how long no call should be made; zero means go on.
func (g *gate) rest() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return step.Wait(max(g.until.Sub(g.now()), 0))
}

// success ends the rest. It reports whether there was one.
func (g *gate) success() (recovered bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	recovered = g.failures > 0
	g.failures, g.until = 0, time.Time{}
	return recovered
}

// alone reports whether the last failure came right after a success.
func (g *gate) alone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures == 1
}

// failure makes the rest longer, at least as long as asked. It reports whether
// this is the first failure in a row.
func (g *gate) failure(least time.Duration) (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures++
	rest := maxRest
	if g.failures < 9 {
		rest = min(maxRest, firstRest<<(g.failures-1))
	}
	rest -= rand.N(rest / 4) //nolint:gosec // jitter needs no secrecy
	g.until = g.now().Add(max(rest, least))
	return g.failures == 1
}
