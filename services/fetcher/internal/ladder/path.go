package ladder

import (
	"time"

	"github.com/tapline/tapline/pkg/window"
)

// path is what an endpoint does in this process.
type path struct {
	served  uint64 // windows
	failing bool   // its last answer served none
	// Lengths that were served; 0 if none was.
	shortest, longest time.Duration
	// Lengths that were refused as too short or too long; 0 if none was, or the endpoint served one all the same.
	tooShort, tooLong time.Duration
	suspect           window.Window // was refused in words that may say that it is too long
}

func (l *Ladder) path(name string) *path {
	p := l.paths[name]
	if p == nil {
		p = &path{}
		l.paths[name] = p
	}
	return p
}

// believes takes what an answer says about the length only if the endpoint has not served such a length.
func (p *path) believes(class Class, span time.Duration) Class {
	switch {
	case class == Long && span <= p.longest, class == Short && p.shortest > 0 && span >= p.shortest, class == Short && span >= window.MaxSpan:
		return Odd
	case class == Long && (p.tooLong == 0 || span < p.tooLong):
		p.tooLong = span
	case class == Short:
		p.tooShort = max(p.tooShort, span)
	}
	return class
}

// Served notes that an endpoint has served a window.
func (l *Ladder) Served(name string, w window.Window) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, span := l.path(name), w.Span()
	p.served++
	p.failing = false
	if p.shortest == 0 || span < p.shortest {
		p.shortest = span
	}
	p.longest = max(p.longest, span)
	if span <= p.tooShort {
		p.tooShort = 0
	}
	if span >= p.tooLong {
		p.tooLong = 0
	}
	// A part of what was refused is served, and nothing of its length ever was: the words said "too long".
	if s := p.suspect; !s.Empty() && !w.Start.Before(s.Start) && !w.End.After(s.End) && p.longest < s.Span() {
		p.tooLong = s.Span()
	}
	if p.longest >= p.suspect.Span() {
		p.suspect = window.Window{}
	}
}

// TooLong reports whether a window of this length is known to be refused for it.
func (l *Ladder) TooLong(name string, span time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.path(name)
	return p.tooLong > 0 && span >= p.tooLong
}

// Widened is the window to ask for where one is known to be too short: twice as long as what was refused.
func (l *Ladder) Widened(name string, w window.Window) window.Window {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.path(name); p.tooShort > 0 && w.Span() <= p.tooShort {
		w.Start = w.End.Add(-min(2*p.tooShort, window.MaxSpan))
	}
	return w
}
