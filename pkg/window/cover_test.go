package window_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/window"
)

// TestMissingAgainstEverySecond compares with a look at each second.
func TestMissingAgainstEverySecond(t *testing.T) {
	t.Parallel()
	epoch := time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC)
	draw := func(t *rapid.T, name string) window.Window {
		start := epoch.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, name)) * time.Second)
		return window.New(start, start.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, name+" span"))*time.Second))
	}
	rapid.Check(t, func(t *rapid.T) {
		w := draw(t, "window")
		var others []window.Window
		for range rapid.IntRange(0, 6).Draw(t, "others") {
			others = append(others, draw(t, "other"))
		}
		in := func(all []window.Window, at time.Time) bool {
			for _, o := range all {
				if !at.Before(o.Start) && at.Before(o.End) {
					return true
				}
			}
			return false
		}
		missing := w.Missing(others)
		for i, m := range missing {
			if m.Empty() || (i > 0 && !missing[i-1].End.Before(m.Start)) {
				t.Fatalf("%s without %s is %s", w, others, missing)
			}
		}
		for at := epoch; at.Before(epoch.Add(2 * time.Minute)); at = at.Add(time.Second) {
			if want := in([]window.Window{w}, at) && !in(others, at); in(missing, at) != want {
				t.Fatalf("%s without %s is %s: wrong at %s", w, others, missing, at)
			}
		}
		if o := draw(t, "another"); w.Meets(o) == w.Within(o).Empty() {
			t.Fatalf("%s and %s meet: %t, and share %s", w, o, w.Meets(o), w.Within(o))
		}
	})
}
