package pace

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Key names a breaker: what is asked for, and why.
type Key struct{ Lane, Endpoint string }

// String is the key for people.
func (k Key) String() string { return k.Endpoint + " (" + k.Lane + ")" }

// Failure is one call that failed.
type Failure struct {
	Curve Curve
	Odd   bool   // it was answered, but not in a way that proves anything
	Quiet bool   // it has an alarm of its own
	Words string // what happened, for people
}

// Trouble is a breaker that is not closed.
type Trouble struct {
	Key
	Failure
	Failures int           // in a row
	For      time.Duration // since the first of them
	Good     time.Time     // of the last success; zero if there was none
}

// Lasts reports whether calls fail for so long that an operator should know. A single failure, such
// as that of an id, is nothing that lasts.
func (t Trouble) Lasts(least time.Duration) bool {
	return t.For >= least && t.Failures > 1 && !t.Quiet
}

// Breakers are the breakers of one process. It is safe for concurrent use.
type Breakers struct {
	now   func() time.Time
	scale func(time.Duration) time.Duration // how long a wait takes by the clock now

	mu  sync.Mutex
	all map[Key]*breaker
}

type breaker struct {
	last     Failure
	failures int
	since    time.Time // of the first failure in a row
	until    time.Time // no call before
	probed   time.Time // no call before, since one probes
	good     time.Time
}

const (
	// probing is how long the others wait for what one call finds.
	probing = time.Minute
	// forgotten is how long after its time a breaker that no call asks for is closed.
	forgotten = 5 * time.Minute
)

// NewBreakers makes breakers that are all closed.
func NewBreakers(now func() time.Time, scale func(time.Duration) time.Duration) *Breakers {
	return &Breakers{now: now, scale: scale, all: make(map[Key]*breaker)}
}

func (b *Breakers) of(k Key) *breaker {
	br := b.all[k]
	if br == nil {
		br = &breaker{}
		b.all[k] = br
	}
	return br
}

// Wait is how long no call should be made; zero means none.
func (b *Breakers) Wait(k Key) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(k).wait(b.now())
}

func (br *breaker) wait(now time.Time) time.Duration {
	return max(br.until.Sub(now), br.probed.Sub(now), 0)
}

// Open reports whether the last call failed.
func (b *Breakers) Open(k Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(k).failures > 0
}

// Enter asks for a call: zero means that it may be made. Tell [Breakers.Served], [Breakers.Failed]
// or [Breakers.Leave] what became of it.
func (b *Breakers) Enter(k Key) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	br, now := b.of(k), b.now()
	wait := br.wait(now)
	if wait == 0 && br.failures > 0 {
		br.probed = now.Add(b.scale(probing))
	}
	return wait
}

// Leave says that the call that was entered was not made, or says nothing. What others found
// meanwhile counts on.
func (b *Breakers) Leave(k Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(k).probed = time.Time{}
}

// Defer has no call made for so long: others failed.
func (b *Breakers) Defer(k Key, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	br, until := b.of(k), b.now().Add(wait)
	if until.After(br.until) {
		br.until = until
	}
}

// Served closes the breaker. It reports whether it was open.
func (b *Breakers) Served(k Key) (recovered bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	br := b.of(k)
	recovered = br.failures > 0
	*br = breaker{good: b.now()}
	return recovered
}

// Failed opens the breaker for longer. It reports for how long, and whether this is the first
// failure in a row.
func (b *Breakers) Failed(k Key, f Failure) (wait time.Duration, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	br, now := b.of(k), b.now()
	br.failures++
	if br.failures == 1 {
		br.since = now
	}
	wait = b.scale(jitter(f.Curve.after(br.failures, f.Odd)))
	br.last, br.until, br.probed = f, now.Add(wait), time.Time{}
	return wait, br.failures == 1
}

// Troubles lists the breakers that are not closed. One that nothing asks for any more is closed
// before.
func (b *Breakers) Troubles() (list []Trouble) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	for k, br := range b.all {
		if br.failures > 0 && br.wait(now.Add(-b.scale(forgotten))) == 0 {
			*br = breaker{good: br.good}
		}
		if br.failures > 0 {
			list = append(list, Trouble{k, br.last, br.failures, now.Sub(br.since), br.good})
		}
	}
	slices.SortFunc(list, func(x, y Trouble) int {
		return cmp.Or(cmp.Compare(x.Endpoint, y.Endpoint), cmp.Compare(x.Lane, y.Lane))
	})
	return list
}

// jitter keeps many processes from calling at once.
func jitter(d time.Duration) time.Duration {
	return d + rand.N(max(d/8, 1)) //nolint:gosec // jitter needs no secrecy
}
