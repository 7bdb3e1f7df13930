package clock_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/services/fetcher/internal/clock"
)

var noon = time.Date(2026, 3, 11, 12, 0, 0, 0, time.UTC)

// TestAJumpCountsTwice: one answer is not believed, two that agree some time apart are; small
// changes are at once.
func TestAJumpCountsTwice(t *testing.T) {
	t.Parallel()
	type seen struct{ after, skew time.Duration }
	for name, c := range map[string]struct {
		seen []seen
		want time.Duration
	}{
		"nothing":                {nil, 0},
		"a minute":               {[]seen{{0, time.Minute}}, time.Minute},
		"once":                   {[]seen{{0, 240 * time.Hour}}, 0},
		"once, then back":        {[]seen{{0, 240 * time.Hour}, {time.Minute, 0}, {2 * time.Minute, 240 * time.Hour}}, 0},
		"twice at once":          {[]seen{{0, 2 * time.Hour}, {29 * time.Second, 2 * time.Hour}}, 0},
		"twice apart":            {[]seen{{0, 2 * time.Hour}, {30 * time.Second, 2*time.Hour + 5*time.Second}}, 2*time.Hour + 5*time.Second},
		"twice, and not agreed":  {[]seen{{0, 2 * time.Hour}, {30 * time.Second, 2*time.Hour + 6*time.Second}}, 0},
		"twice, backwards":       {[]seen{{time.Minute, 2 * time.Hour}, {0, 2 * time.Hour}}, 0},
		"a negative one":         {[]seen{{0, -2 * time.Hour}, {time.Minute, -2 * time.Hour}}, -2 * time.Hour},
		"drift from what is new": {[]seen{{0, time.Minute}, {time.Second, 2 * time.Minute}}, 2 * time.Minute},
	} {
		var k clock.Clock
		for _, s := range c.seen {
			k.Observe(noon.Add(s.after), s.skew)
		}
		if got := k.Skew(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if got := k.Earliest(noon); got.After(noon) || got != noon.Add(-max(c.want, 0)) {
			t.Errorf("%s: the earliest is %s", name, got)
		}
	}
}

// TestTheirTimeIsKnownForAWhile: until five minutes after an answer, unless the local clock jumps.
func TestTheirTimeIsKnownForAWhile(t *testing.T) {
	t.Parallel()
	var k clock.Clock
	if _, known := k.Theirs(noon); known {
		t.Error("known, and nothing was measured")
	}
	k.Observe(noon, 10*time.Second)
	for after, want := range map[time.Duration]bool{0: true, 5 * time.Minute: true, 5*time.Minute + 1: false, -1: false} {
		now, known := k.Theirs(noon.Add(after))
		if known != want || !now.Equal(noon.Add(after-10*time.Second)) {
			t.Errorf("after %s: %s, %v", after, now, known)
		}
	}
}

// TestALagCostsFewRefusals: whatever it is, up to an hour, and it is forgotten when it is over.
func TestALagCostsFewRefusals(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lag := time.Duration(rapid.Int64Range(int64(10*time.Second), int64(55*time.Minute)).Draw(t, "lag"))
		var l clock.Lag
		now, refused := noon, 0
		for age := 5 * time.Second; age < lag; age = l.Now(now) {
			if !l.Refused(now, age) {
				t.Fatalf("a lag of %s does not explain the age %s", lag, age)
			}
			refused++
		}
		if refused > 4 || l.Now(now) < lag || (lag < 4*time.Minute && refused > 2) {
			t.Fatalf("a lag of %s: %d refusals, %s", lag, refused, l.Now(now))
		}
		l.Served(now, lag)
		if got := l.Now(now); got.Round(time.Second) != lag.Round(time.Second) {
			t.Fatalf("%s, and a window of age %s was served", got, lag)
		}
		if got := l.Now(now.Add(24 * time.Hour)); got != 0 {
			t.Fatalf("%s a day later", got)
		}
	})
}

// TestWhatIsNoLag: a window that ended an hour ago, and an answer that is cut by the same time
// whatever the age.
func TestWhatIsNoLag(t *testing.T) {
	t.Parallel()
	var l clock.Lag
	if l.Refused(noon, time.Hour) || l.Told(noon, 3*time.Hour, 3*time.Hour+10*time.Minute) || l.Told(noon, time.Minute, time.Minute) {
		t.Error("taken for a lag")
	}
	if !l.Told(noon, 5*time.Second, 10*time.Minute+5*time.Second) || l.Now(noon) != 10*time.Minute+5*time.Second {
		t.Error("not taken for a lag")
	}
	if l.Told(noon, 10*time.Minute+5*time.Second, 20*time.Minute+5*time.Second) {
		t.Error("an answer that always ends ten minutes early is taken for a lag")
	}
	if !l.Told(noon, 10*time.Minute, 12*time.Minute) {
		t.Error("a lag that grows is not taken for one")
	}
}

// TestOldWindowsTeachNoLag: while windows are served that end later, one that is refused or cut is
// answered oddly, and live reading continues.
func TestOldWindowsTeachNoLag(t *testing.T) {
	t.Parallel()
	var l clock.Lag
	l.Served(noon.Add(-30*time.Second), 5*time.Second)
	if l.Refused(noon, 35*time.Minute) || l.Told(noon, 35*time.Minute, 45*time.Minute) || l.Now(noon) != 0 {
		t.Errorf("a sweep teaches a lag of %s", l.Now(noon))
	}
	l.Served(noon, 24*time.Hour)
	if l.Refused(noon, time.Minute) {
		t.Error("what was served last hides what was served youngest")
	}
	if !l.Refused(noon, 5*time.Second) || l.Now(noon) < time.Minute {
		t.Error("the youngest window teaches nothing")
	}
	var old clock.Lag
	old.Served(noon.Add(-31*time.Minute), -time.Hour) // by a clock that was wrong
	if !old.Refused(noon, 5*time.Second) {
		t.Error("what was served long ago hides a lag")
	}
}

// TestALagThatGrowsSlowly is one, other than answers that always end a little early.
func TestALagThatGrowsSlowly(t *testing.T) {
	t.Parallel()
	var l clock.Lag
	for lag := 20 * time.Second; lag <= 2*time.Minute; lag += 20 * time.Second {
		if age := max(5*time.Second, l.Now(noon)); !l.Told(noon, age, lag) || l.Now(noon) != lag {
			t.Errorf("%s: it is taken for %s", lag, l.Now(noon))
		}
	}
	if lag := l.Now(noon); l.Told(noon, lag, lag+20*time.Second) {
		t.Error("answers always end 20s early, and that is taken for a lag without end")
	}
	lag := l.Now(noon)
	if l.Served(noon, lag); !l.Told(noon.Add(time.Minute), lag, lag+20*time.Second) {
		t.Error("a window was served whole, and the next step is not believed")
	}
}
