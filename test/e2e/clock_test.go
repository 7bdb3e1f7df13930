package e2e_test

import (
	"net/http"
	"sync"
	"time"
)

// patientClock stands still while the simulator has a call in hand. Where a simulated hour passes
// in a second, a call that a busy machine delays would otherwise take hours, for which no limit is
// made.
type patientClock struct {
	mu      sync.Mutex
	calls   int       // in hand
	held    time.Time // since when the clock stands still; zero while it runs
	stopped time.Duration
}

// now is the real time less the time for which calls were in hand.
func (c *patientClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held.IsZero() {
		return c.held.Add(-c.stopped)
	}
	return time.Now().Add(-c.stopped)
}

// before stops the clock for each call.
func (c *patientClock) before(sim http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.begin()
		defer c.end()
		sim.ServeHTTP(w, r)
	})
}

func (c *patientClock) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls++; c.calls == 1 {
		c.held = time.Now()
	}
}

func (c *patientClock) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls--; c.calls == 0 {
		c.stopped += time.Since(c.held)
		c.held = time.Time{}
	}
}
