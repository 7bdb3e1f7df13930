package quota_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/quota"
)

// TestForecastComesTrue: as many calls as it says can be made now and when units come
// back, and not one more.
func TestForecastComesTrue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 40).Draw(t, "limit")
		state, err := quota.Decode(nil, 2*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		now := epoch
		for range rapid.IntRange(0, 60).Draw(t, "calls") {
			now = walk(state, now, now.Add(time.Duration(rapid.IntRange(0, 3600).Draw(t, "seconds"))*time.Second))
			state.Reserve(now, limit)
		}
		left := state.Forecast(now, limit).Left
		take := func(at time.Time) (n int) {
			for now = walk(state, now, at); ; {
				if ok, _ := state.Reserve(at, limit); !ok {
					return n
				}
				n++
			}
		}
		if n := take(now); n != left {
			t.Fatalf("%d calls could be made now, %d were forecast", n, left)
		}
		f := state.Forecast(now, limit)
		for _, r := range f.Returns {
			if n := take(r.At.Add(-time.Second)); n != 0 {
				t.Fatalf("%d calls could be made before %s", n, r.At)
			}
			if n := take(r.At); n != r.Units {
				t.Fatalf("%d calls could be made at %s, %d were forecast", n, r.At, r.Units)
			}
		}
	})
}
