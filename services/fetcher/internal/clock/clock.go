package clock

import (
	"sync"
	"time"
)

const (
	// Near is how far the Date header may be off without being a jump: it has whole seconds, and it
	// is not known when in the course of an answer a server takes it.
	Near = time.Minute
	// Far is a skew that no good clocks have: nothing is given up because of it.
	Far = time.Hour
	// apart is how long after the first answer of a jump the second one confirms it, and agree how
	// well.
	apart, agree = 30 * time.Second, 5 * time.Second
	// holds is how long a measured clock is relied on. Then a call is made that measures it again.
	holds = 5 * time.Minute
)

// measured is how far the local clock was ahead of Proofpoint's, and when that was, by the local
// one.
type measured struct {
	skew time.Duration
	at   time.Time
}

// Clock is what is believed of Proofpoint's clock. The zero value believes that it shows what the
// local one does. It is safe for concurrent use. Local times have no monotonic reading: differences
// must show when the clock was set.
type Clock struct {
	mu       sync.Mutex
	known    bool
	believed measured
	jump     measured // seen once
}

// Observe takes the skew that an answer shows at a local time. It reports whether it is believed.
func (c *Clock) Observe(local time.Time, skew time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := measured{skew, local}
	since := local.Sub(c.jump.at)
	switch {
	case (skew - c.believed.skew).Abs() <= Near:
	case (skew-c.jump.skew).Abs() > agree || since < 0:
		c.jump = seen
		return false
	case since < apart:
		return false
	}
	c.known, c.believed, c.jump = true, seen, measured{}
	return true
}

// Skew is how far the local clock is ahead. What says nothing about the time is not the word that
// the clock is right: the last skew that was believed stays.
func (c *Clock) Skew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.believed.skew
}

// Theirs is the time by Proofpoint's clock. It is not known when none was measured lately, or the
// local one has jumped.
func (c *Clock) Theirs(local time.Time) (now time.Time, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since := local.Sub(c.believed.at)
	return local.Add(-c.believed.skew), c.known && since >= 0 && since <= holds
}

// Earliest is the present by the clock that shows less: nothing is too old before it is by both.
func (c *Clock) Earliest(local time.Time) time.Time { return local.Add(-max(c.Skew(), 0)) }
