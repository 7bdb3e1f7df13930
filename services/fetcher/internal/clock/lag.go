package clock

import (
	"math"
	"sync"
	"time"
)

const (
	// leastLag is the first guess when a window is refused as still current.
	leastLag = time.Minute
	// MostLag is the longest that is believed to be a lag, and not an odd answer.
	MostLag = time.Hour
	// halfway is how long a lag is relied on before less is tried.
	halfway = 30 * time.Minute
	// mostSteps is how many small steps of a lag are believed while no window is served whole.
	mostSteps = 6
)

// Lag is how far behind its own clock Proofpoint serves, as its answers teach. The zero value is
// none. It is safe for concurrent use.
type Lag struct {
	mu    sync.Mutex
	value time.Duration
	at    time.Time     // when it was learned
	cut   time.Duration // by how much the answer that showed it ended early
	// steps is how many answers in a row told a lag that grew, since one was whole.
	steps int
	// front is the latest end of a window that was served whole, as of frontAt. Who has served it
	// is not behind it.
	front, frontAt time.Time
}

// Now is the lag at an instant: a quarter less for each half an hour in which nothing was learned.
func (l *Lag) Now(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now(now)
}

func (l *Lag) now(now time.Time) time.Duration {
	periods := math.Floor(float64(now.Sub(l.at)) / float64(halfway))
	lag := time.Duration(float64(l.value) * math.Pow(0.75, max(periods, 0)))
	if lag < 5*time.Second {
		return 0
	}
	return lag.Round(time.Second)
}

// Refused says that a window was still current at this age of its end. It reports whether a lag can
// be the reason. Each refusal quadruples the guess, so a lag costs few of them.
func (l *Lag) Refused(now time.Time, age time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age >= MostLag || l.contradicted(now, age) {
		return false
	}
	l.value, l.at = min(max(l.now(now), 4*age, leastLag), MostLag), now
	return true
}

// contradicted reports whether a window was served lately that ends later than one whose end has
// this age.
func (l *Lag) contradicted(now time.Time, age time.Duration) bool {
	return now.Sub(l.frontAt).Abs() <= halfway && !now.Add(-age).After(l.front)
}

// Told says that a window whose end had this age was read only up to an instant of that age, the
// lag. It reports whether that can be a lag. An answer that ends early by the same time, whatever
// the age, is cut and not behind; a few small steps may be a lag that grows.
func (l *Lag) Told(now time.Time, age, lag time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	cut := lag - age
	if cut <= 0 || lag >= MostLag || l.contradicted(now, age) {
		return false
	}
	same := l.now(now) > 0 && (cut-l.cut).Abs() < 30*time.Second
	if same && l.steps > 0 && (cut > Near || l.steps >= mostSteps) {
		return false
	}
	if !same {
		l.steps = 0
	}
	l.steps++
	l.value, l.at, l.cut = lag, now, cut
	return true
}

// Served says that a window was read whose end had this age: the lag is no longer than that.
func (l *Lag) Served(now time.Time, age time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps = 0
	if end := now.Add(-age); end.After(l.front) || now.Sub(l.frontAt).Abs() > halfway {
		l.front, l.frontAt = end, now
	}
	if age >= 0 && age < l.now(now) {
		l.value, l.at = age, now
	}
}
