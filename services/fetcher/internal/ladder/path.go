package ladder

import (
	"time"

	"github.com/tapline/tapline/pkg/window"
)

// path is what an endpoint does in this process.
type path struct {
	served   uint64 // windows
	servedAt time.Time
	failing  bool // its last answer served none
	// Lengths that were served; 0 if none was.
	shortest, longest time.Duration
	// Lengths that were refused as too short or too long.
	tooShort, tooLong length
	// suspect was cut for a failure that may come from its length; trial is the first such window,
	// since trialAt.
	suspect, trial window.Window
	trialAt        time.Time
}

func (l *Ladder) path(name string) *path {
	p := l.paths[name]
	if p == nil {
		p = &path{}
		l.paths[name] = p
	}
	return p
}

// length is one that was refused, and when. It is 0 if none was, or the endpoint served one all the
// same.
type length struct {
	span time.Duration
	at   time.Time
}

// holds is how long a length is known to be refused. Then it is found out anew: it may have been
// something else.
const holds = 30 * time.Minute

func (l length) known(now time.Time) bool { return l.span > 0 && now.Sub(l.at).Abs() <= holds }

// believes takes what an answer says about the length only if the endpoint has not served such a
// length. That a window is too long counts for others once a shorter one was served: before,
// everything may be refused in these words.
func (p *path) believes(class Class, span time.Duration, now time.Time) Class {
	switch {
	case class == Long && (span <= p.longest || span <= window.MinSpan), class == Short && p.shortest > 0 && span >= p.shortest, class == Short && span >= window.MaxSpan:
		return Odd
	case class == Long && p.longest > 0:
		p.refuse(span, now)
	case class == Short && (!p.tooShort.known(now) || span > p.tooShort.span):
		p.tooShort = length{span, now}
	}
	return class
}

// refuse records a length that is too long.
func (p *path) refuse(span time.Duration, now time.Time) {
	if !p.tooLong.known(now) || span < p.tooLong.span {
		p.tooLong = length{span, now}
	}
}

// tries reports whether a window may be cut to find out about its length: none is being tried, or
// it is a part of what was cut last. So one part of each part is followed, down to the shortest.
func (p *path) tries(w window.Window, now time.Time) bool {
	return p.trial.Empty() || now.Sub(p.trialAt) > holds || within(w, p.suspect)
}

// cut records that a window is planned in parts.
func (p *path) cut(w window.Window, now time.Time) {
	p.suspect = w
	if p.tries(w, now) && !within(w, p.trial) {
		p.trial, p.trialAt = w, now
	}
}

func within(w, outer window.Window) bool {
	return !w.Start.Before(outer.Start) && !w.End.After(outer.End)
}

// Served records that an endpoint has served a window.
func (l *Ladder) Served(name string, w window.Window) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, span := l.path(name), w.Span()
	p.served++
	p.servedAt, p.failing = l.now(), false
	l.servedAt = p.servedAt
	if p.shortest == 0 || span < p.shortest {
		p.shortest = span
	}
	p.longest = max(p.longest, span)
	if span <= p.tooShort.span {
		p.tooShort = length{}
	}
	if span >= p.tooLong.span {
		p.tooLong = length{}
	}
	// A part of what was cut is served, and nothing of its length ever was: it was too long.
	if !p.suspect.Empty() && within(w, p.suspect) && p.longest < p.suspect.Span() {
		p.refuse(p.suspect.Span(), p.servedAt)
	}
	if p.longest >= p.suspect.Span() {
		p.suspect = window.Window{}
	}
	if within(w, p.trial) {
		p.trial = window.Window{}
	}
}

// TooLong reports whether a window of this length is known to be refused for it.
func (l *Ladder) TooLong(name string, span time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.path(name)
	return p.tooLong.known(l.now()) && span >= p.tooLong.span
}

// Widened is the window to ask for where one is known to be too short: twice as long as what was
// refused.
func (l *Ladder) Widened(name string, w window.Window) window.Window {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.path(name); p.tooShort.known(l.now()) && w.Span() <= p.tooShort.span {
		w.Start = w.End.Add(-min(2*p.tooShort.span, window.MaxSpan))
	}
	return w
}
