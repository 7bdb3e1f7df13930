package ladder_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/services/fetcher/internal/ladder"
)

// lengths is a ladder with a clock, and an endpoint that is asked for windows of any length.
type lengths struct {
	*ladder.Ladder
	now time.Time
	n   int
}

func newLengths() *lengths {
	l := &lengths{now: time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC)}
	l.Ladder = ladder.New(func() time.Time { return l.now })
	return l
}

func (l *lengths) window(span time.Duration) window.Window {
	return window.New(l.now.Add(-span), l.now)
}

// refuse has a window refused for its length, as it is asked for.
func (l *lengths) refuse(span time.Duration, class ladder.Class) ladder.Decision {
	l.n++
	w := l.window(span)
	return l.Failed(ladder.Failure{ID: fmt.Sprint(l.n), Path: "/all", Window: w, Asked: l.Widened("/all", w).Span(), Class: class, Divisible: span > window.MinSpan})
}

// TestTooLongForEverythingIsNotBelieved: an endpoint that says so for a while about all lengths has
// said nothing about any. What is asked for afterwards is not cut.
func TestTooLongForEverythingIsNotBelieved(t *testing.T) {
	t.Parallel()
	l := newLengths()
	for span := time.Hour; span >= time.Minute; span /= 2 {
		if d := l.refuse(span, ladder.Long); d.Step != ladder.Split {
			t.Errorf("%s: step %d, want to find out whether the half is served", span, d.Step)
		}
	}
	if d := l.refuse(window.MinSpan, ladder.Long); d.Step != ladder.Again || !d.Own {
		t.Errorf("a window of the least length is too long: %+v", d)
	}
	l.Served("/all", l.window(window.MinSpan)) // it is well again
	for _, span := range []time.Duration{window.MinSpan, time.Minute, time.Hour} {
		if l.TooLong("/all", span) {
			t.Errorf("%s counts as too long", span)
		}
	}
}

// TestATrueLimitIsRefusedSeldom: of windows that are longer than an endpoint serves some are asked
// for, and then none for half an hour.
func TestATrueLimitIsRefusedSeldom(t *testing.T) {
	t.Parallel()
	l := newLengths()
	asked := 0
	var read func(span time.Duration)
	read = func(span time.Duration) {
		if !l.TooLong("/all", span) {
			asked++
			if span <= 10*time.Minute {
				l.Served("/all", l.window(span))
				return
			}
			l.refuse(span, ladder.Long)
		}
		read(span / 2)
		read(span / 2)
	}
	for range 20 {
		read(time.Hour)
	}
	if refused := asked - 20*8; refused < 3 || refused > 5 {
		t.Errorf("%d windows were refused", refused)
	}
	l.now = l.now.Add(31 * time.Minute)
	if l.TooLong("/all", time.Hour) {
		t.Error("it is never tried again")
	}
	read(time.Hour)
	if !l.TooLong("/all", time.Hour) || !l.TooLong("/all", 15*time.Minute) || l.TooLong("/all", 7*time.Minute) {
		t.Error("it is not known any more what is too long")
	}
	l.Served("/all", l.window(time.Hour))
	if l.TooLong("/all", time.Hour) {
		t.Error("an hour was served and counts as too long")
	}
}

// TestTooShortIsFoundOutAnew: one stray answer does not widen all windows for ever; and what is
// true is found out with few calls.
func TestTooShortIsFoundOutAnew(t *testing.T) {
	t.Parallel()
	l := newLengths()
	asked := func(span time.Duration) time.Duration { return l.Widened("/all", l.window(span)).Span() }
	l.refuse(40*time.Minute, ladder.Short)
	l.Served("/all", l.Widened("/all", l.window(40*time.Minute)))
	if got := asked(6 * time.Minute); got != time.Hour {
		t.Errorf("6m is asked for as %s right after 40m was refused", got)
	}
	l.now = l.now.Add(31 * time.Minute)
	if got := asked(6 * time.Minute); got != 6*time.Minute {
		t.Errorf("6m is asked for as %s half an hour later", got)
	}
	l.refuse(time.Minute, ladder.Short) // the truth
	if got := asked(time.Minute); got != 2*time.Minute {
		t.Errorf("1m is asked for as %s after it was refused", got)
	}
	if got := asked(6 * time.Minute); got != 6*time.Minute {
		t.Errorf("6m is asked for as %s after 1m was refused", got)
	}
	l.now = l.now.Add(31 * time.Minute)
	l.Served("/all", l.window(time.Minute)) // at its own length
	l.now = l.now.Add(-5 * time.Minute)
	if got := asked(time.Minute); got != time.Minute {
		t.Errorf("1m is asked for as %s after it was served", got)
	}
}
