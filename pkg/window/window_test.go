package window_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func anyWindow(t *rapid.T) window.Window {
	start := time.Unix(rapid.Int64Range(1_500_000_000, 2_500_000_000).Draw(t, "start"), 0)
	return window.New(start, start.Add(time.Duration(rapid.IntRange(1, 7200).Draw(t, "seconds"))*time.Second))
}

func TestSpellingsReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := anyWindow(t)
		if got, err := window.ParseCompact(w.Compact("-"), "-"); err != nil || got != w {
			t.Fatalf("%s reads back as %v, %v", w.Compact("-"), got, err)
		}
		if got, err := window.FromProto(w.Proto()); err != nil || got != w {
			t.Fatalf("proto of %s reads back as %v, %v", w, got, err)
		}
	})
}

func TestHalvesJoinWithoutGapAndStayServable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := anyWindow(t)
		a, b, ok := w.Halves()
		if ok != (w.Span() >= 2*window.MinSpan) {
			t.Fatalf("%s of %s: halves = %t", w, w.Span(), ok)
		}
		if !ok {
			return
		}
		if a.Start != w.Start || a.End != b.Start || b.End != w.End || a.Span() < window.MinSpan || b.Span() < window.MinSpan {
			t.Fatalf("%s falls into %s and %s", w, a, b)
		}
	})
}

func TestIntervalIsWhatTheAPIWants(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 3, 11, 9, 0, 0, 5, time.FixedZone("CET", 3600))
	w := window.New(start, start.Add(time.Hour))
	if want := "2026-03-11T08:00:00Z/2026-03-11T09:00:00Z"; w.Interval() != want {
		t.Errorf("interval %s, want %s", w.Interval(), want)
	}
}

func TestBadWindowsAreRefused(t *testing.T) {
	t.Parallel()
	w := window.New(time.Unix(100, 0), time.Unix(200, 0)).Proto()
	fraction := window.New(time.Unix(100, 0), time.Unix(200, 0)).Proto()
	fraction.Start.Nanos = 1
	// Each of these would be a whole second, or a time after the start, without the check whether
	// it is valid.
	badStart, badEnd, far := window.New(time.Unix(100, 0), time.Unix(200, 0)).Proto(), window.New(time.Unix(100, 0), time.Unix(200, 0)).Proto(), window.New(time.Unix(100, 0), time.Unix(200, 0)).Proto()
	badStart.Start.Nanos, badEnd.End.Nanos, far.End.Seconds = 1e9, -1e9, 1<<40
	for name, p := range map[string]*taplinev1.Window{
		"nil": nil, "no end": {Start: w.GetStart()}, "reversed": {Start: w.GetEnd(), End: w.GetStart()},
		"empty": {Start: w.GetStart(), End: w.GetStart()}, "fraction": fraction, "no start": {End: w.GetEnd()},
		"nanoseconds of a second": badStart, "negative nanoseconds": badEnd, "after the year 9999": far,
	} {
		if _, err := window.FromProto(p); !errors.Is(err, window.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, s := range []string{"", "20260311T081500Z", "20260311T081500Z-x", "x-20260311T081500Z"} {
		if _, err := window.ParseCompact(s, "-"); !errors.Is(err, window.ErrMalformed) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
