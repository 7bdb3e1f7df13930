package quota_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/quota"
)

var epoch = time.Date(2026, 3, 11, 8, 0, 30, 0, time.UTC)

func fresh(t interface{ Fatal(...any) }) *quota.State {
	s, err := quota.Decode(nil, 2*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestNeverOverTheLimitAtTheirDoor models the server: a call arrives up to the
// margin after it was reserved, and the server counts exact 24 hours.
func TestNeverOverTheLimitAtTheirDoor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		s, now := fresh(t), epoch
		var arrivals []time.Time // not sorted: calls overtake each other
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Minute), int64(3*time.Hour)).Draw(t, "wait")))
			ok, free := s.Reserve(now, limit)
			if !ok && !free.After(now) {
				t.Fatalf("refused at %s although a unit is free at %s", now, free)
			}
			if ok {
				late := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "late"))
				arrivals = append(arrivals, now.Add(late))
			}
			data, err := s.Encode() // every step survives a restart
			if err != nil {
				t.Fatal(err)
			}
			if s, err = quota.Decode(data, 2*time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		for _, at := range arrivals {
			n := 0
			for _, other := range arrivals {
				if other.After(at.Add(-24*time.Hour)) && !other.After(at) {
					n++
				}
			}
			if n > limit {
				t.Fatalf("%d calls in the 24 hours before %s, limit %d", n, at, limit)
			}
		}
	})
}

// TestUnitsComeBack: waiting until the promised time always gives a unit.
func TestUnitsComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 30).Draw(t, "limit")
		s, now := fresh(t), epoch
		for range 100 {
			switch ok, free := s.Reserve(now, limit); {
			case ok:
				now = now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "seconds")) * time.Second)
			default:
				if free.Sub(now) > 24*time.Hour+3*time.Minute {
					t.Fatalf("the next unit comes %s after now", free.Sub(now))
				}
				now = free
				if ok, _ := s.Reserve(now, limit); !ok {
					t.Fatal("no unit at the promised time")
				}
			}
			if rapid.IntRange(0, 30).Draw(t, "dice") == 0 {
				s.Refused(now, limit, 0)
			}
		}
	})
}

func TestRefusalRevealsOthersAndReleasesSmoothly(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	for range 100 {
		s.Reserve(epoch, 1800)
	}
	if external := s.Refused(epoch, 1800, 0); external != 1700 {
		t.Fatalf("external %d, want 1700", external)
	}
	ok, free := s.Reserve(epoch, 1800)
	if ok || free.Sub(epoch) > 6*time.Minute {
		t.Fatalf("after a 429: allowed %t, next in %s; want a pause of minutes", ok, free.Sub(epoch))
	}
	later := epoch.Add(12 * time.Hour)
	if left := s.Look(later, 1800).Left(); left < 800 || left > 900 {
		t.Errorf("after 12 hours %d calls are free, want about half of the others' 1700", left)
	}
}

func TestLostMemoryStartsClosed(t *testing.T) {
	t.Parallel()
	s := quota.Closed(epoch, 2*time.Minute)
	if ok, free := s.Reserve(epoch, 1800); ok || free.Sub(epoch) < 24*time.Hour {
		t.Fatalf("allowed %t, free in %s", ok, free.Sub(epoch))
	}
	s.Open(epoch)
	if ok, _ := s.Reserve(epoch, 1800); !ok {
		t.Error("still closed after an operator opened it")
	}
}

func TestUnlimitedPoolIsCounted(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	for range 10 {
		if ok, _ := s.Reserve(epoch, 0); !ok {
			t.Fatal("refused")
		}
	}
	if st := s.Look(epoch, 0); st.Used != 10 {
		t.Errorf("%+v", st)
	}
}

// TestForget: a pool whose memory is too old stays closed until no call counts that may be forgotten, and what closes it for longer stays.
func TestForget(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	last := epoch.Add(-time.Hour)
	until := s.Forget(epoch, last)
	if want := last.Add(24*time.Hour + 2*time.Minute); !until.Equal(want) {
		t.Errorf("closed until %s, want %s", until, want)
	}
	if ok, free := s.Reserve(until.Add(-time.Second), 10); ok || !free.Equal(until) {
		t.Errorf("a call before %s: %v, free at %s", until, ok, free)
	}
	if again := s.Forget(epoch, last.Add(-time.Hour)); !again.Equal(until) {
		t.Errorf("an older memory opens the pool at %s", again)
	}
	if ok, _ := s.Reserve(until, 10); !ok {
		t.Error("closed for too long")
	}
	s = fresh(t)
	s.Forget(epoch, epoch.Add(-25*time.Hour))
	if ok, _ := s.Reserve(epoch, 10); !ok {
		t.Error("closed for calls that do not count")
	}
}
