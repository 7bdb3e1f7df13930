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

// walk moves a state to an instant in steps that are believed, as replicas that look now and then
// do.
func walk(s *quota.State, from, to time.Time) time.Time {
	for at := from; at.Before(to); at = at.Add(5 * time.Minute) {
		s.Count(at, 0)
	}
	s.Count(to, 0)
	return to
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
				if ok, free = s.Reserve(now, limit); !ok { // a clock that went far ahead is believed the second time
					if wait := free.Sub(now); wait <= 0 || wait > 2*time.Minute {
						t.Fatalf("no unit at the promised time, and the next in %s", wait)
					}
					now = free
					if ok, _ = s.Reserve(now, limit); !ok {
						t.Fatal("no unit at the time that was promised twice")
					}
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
	s.Unblock(epoch)
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

// TestForget: a pool whose memory is too old stays closed until no call counts that may be
// forgotten, and what closes it for longer stays.
func TestForget(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	last := epoch.Add(-time.Hour)
	until := s.BlockAfterLoss(epoch, last)
	if want := last.Add(24*time.Hour + 2*time.Minute); !until.Equal(want) {
		t.Errorf("closed until %s, want %s", until, want)
	}
	walk(s, epoch, until.Add(-time.Second))
	if ok, free := s.Reserve(until.Add(-time.Second), 10); ok || !free.Equal(until) {
		t.Errorf("a call before %s: %v, free at %s", until, ok, free)
	}
	if again := s.BlockAfterLoss(epoch, last.Add(-time.Hour)); !again.Equal(until) {
		t.Errorf("an older memory opens the pool at %s", again)
	}
	if ok, _ := s.Reserve(until, 10); !ok {
		t.Error("closed for too long")
	}
	s = fresh(t)
	until = s.BlockAfterLoss(epoch, last)
	if more := s.BlockAfterLoss(epoch, last.Add(time.Minute)); !more.Equal(until.Add(time.Minute)) {
		t.Errorf("a younger memory opens the pool at %s, not a minute after %s", more, until)
	}
	s = fresh(t)
	s.BlockAfterLoss(epoch, epoch.Add(-25*time.Hour))
	if ok, _ := s.Reserve(epoch, 10); !ok {
		t.Error("closed for calls that do not count")
	}
}

// TestOneClockThatIsWrongForAMoment: calls arrive at a server that counts by its own clock, made by
// replicas of which one is hours or days off now and then, for less than the time that it takes to
// be believed.
func TestOneClockThatIsWrongForAMoment(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		s, now := fresh(t), epoch
		var calls []time.Time
		reserve := func(off time.Duration) {
			if ok, _ := s.Reserve(now.Add(off), limit); ok {
				calls = append(calls, now)
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(int64(20*time.Minute), int64(4*time.Hour)).Draw(t, "wait")))
			for range rapid.IntRange(1, 8).Draw(t, "calls") {
				reserve(0)
			}
			off := time.Duration(rapid.Int64Range(-int64(72*time.Hour), int64(72*time.Hour)).Draw(t, "off"))
			for range rapid.IntRange(0, 12).Draw(t, "wrong calls") {
				reserve(off)
				now = now.Add(5 * time.Second)
			}
		}
		for i, at := range calls {
			n := 0
			for _, other := range calls[:i+1] {
				if other.After(at.Add(-24 * time.Hour)) {
					n++
				}
			}
			if n > limit {
				t.Fatalf("%d calls in the 24 hours before %s, limit %d", n, at, limit)
			}
		}
	})
}

// TestADayOffForAMoment is the case that was met: with one replica 25 hours ahead, a full pool gave
// all its calls again.
func TestADayOffForAMoment(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	granted := 0
	for range 3600 {
		if ok, _ := s.Reserve(epoch, 1800); ok {
			granted++
		}
	}
	for range 3600 {
		if ok, _ := s.Reserve(epoch.Add(25*time.Hour), 1800); ok {
			granted++
		}
	}
	if granted != 1800 {
		t.Errorf("%d calls, limit 1800", granted)
	}
	if ok, free := s.Reserve(epoch.Add(time.Minute), 1800); ok || free.Sub(epoch) > 24*time.Hour+3*time.Minute {
		t.Errorf("a clock that was wrong keeps the pool closed: %t, until %s", ok, free)
	}
}

// TestAClockSetBack: however far back it is set, no unit comes back the earlier for it.
func TestAClockSetBack(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.Reserve(epoch, 1)
	for _, back := range []time.Duration{time.Minute, time.Hour, 30 * time.Hour} {
		if ok, _ := s.Reserve(epoch.Add(-back), 1); ok {
			t.Errorf("a call more by a clock that was set back %s", back)
		}
	}
	s = fresh(t)
	s.Reserve(epoch, 2)
	s.Reserve(epoch.Add(-time.Hour), 2) // counted at the latest time that was seen
	due := epoch.Truncate(time.Minute).Add(time.Minute + 24*time.Hour + 2*time.Minute)
	walk(s, epoch, due.Add(-time.Second))
	if ok, free := s.Reserve(due.Add(-time.Second), 2); ok || !free.Equal(due) {
		t.Errorf("a second early: %t, free at %s, want %s", ok, free, due)
	}
	if ok, _ := s.Reserve(due, 2); !ok {
		t.Errorf("not given back at %s", due)
	}
}

// TestARefusalShortensNothing: a 429 that names a short wait, or none, leaves a longer block as it
// is.
func TestARefusalShortensNothing(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.Refused(epoch, 10, 3*time.Hour)
	s.Refused(epoch.Add(time.Minute), 10, 0)
	if _, free := s.Reserve(epoch.Add(2*time.Minute), 1000); !free.Equal(epoch.Add(3 * time.Hour)) {
		t.Errorf("free at %s, want %s", free, epoch.Add(3*time.Hour))
	}
	s = quota.Closed(epoch, 2*time.Minute)
	s.Refused(epoch, 10, time.Minute)
	if st := s.Look(epoch, 10); st.Free.Sub(epoch) < 24*time.Hour || st.Reason == "" {
		t.Errorf("lost memory is over at %s (%q) after a 429", st.Free, st.Reason)
	}
	s = fresh(t)
	s.Refused(epoch, 10, 365*24*time.Hour)
	if st := s.Look(epoch, 10); st.Free.Sub(epoch) > 24*time.Hour {
		t.Errorf("a Retry-After of a year closes the pool until %s", st.Free)
	}
}

// TestTheSumOfAllCalls: ours, those of others and those that are forgotten count alike, in a look
// as in a forecast.
func TestTheSumOfAllCalls(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	for range 10 {
		s.Reserve(epoch, 100)
	}
	if external := s.Refused(epoch, 40, 0); external != 30 {
		t.Errorf("%d calls of others, want 30", external)
	}
	if external := s.Refused(epoch, 45, 0); external != 5 {
		t.Errorf("%d more calls of others, want 5: 10 are ours, 30 are known", external)
	}
	f, st := s.Forecast(epoch, 100), s.Look(epoch, 100)
	if f.Left != 55 || f.External != 35 || st.Left() != 55 || st.Used != 10 || st.External != 35 {
		t.Errorf("forecast %+v, look %+v", f, st)
	}
	if f = s.Forecast(epoch, 20); f.Left != 0 { // the limit was lowered: 25 are too many, and 19 come back after them
		t.Errorf("%d left of a limit that is exceeded", f.Left)
	}
	units := 0
	for _, r := range f.Returns {
		units += r.Units
	}
	if units != 20 {
		t.Errorf("%d units come back of a limit of 20", units)
	}
}

// TestWhatARebuiltMemoryHolds: calls of the last day where they belong, and a share for those that
// were not recorded.
func TestWhatARebuiltMemoryHolds(t *testing.T) {
	t.Parallel()
	const margin = 2 * time.Minute
	s := quota.Rebuilt(epoch, 90, margin, []quota.Call{
		{At: epoch.Add(-24*time.Hour - time.Hour), Units: 50}, {At: epoch.Add(-23 * time.Hour), Units: 20}, {At: epoch.Add(2 * time.Hour), Units: 3},
	})
	if st := s.Look(epoch, 90); st.Used != 20+3+5 || !st.Rebuilt.Equal(epoch) { // a share of 4.5 is 5
		t.Errorf("%+v", st)
	}
	if st := s.Look(epoch.Add(time.Hour+margin+time.Minute), 90); st.Used != 3+5 {
		t.Errorf("after the oldest came back: %+v", st)
	}
	if st := s.Look(epoch.Add(24*time.Hour+margin+time.Minute), 90); st.Used != 0 {
		t.Errorf("a day later: %+v", st)
	}
}

// TestAWrongClockThatIsContradicted: what one replica saw is forgotten when another shows that it
// was wrong, also when the wrong one comes back after the time in which it would be believed.
func TestAWrongClockThatIsContradicted(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.Reserve(epoch, 1)
	ahead := epoch.Add(25 * time.Hour)
	ask := func(at time.Time) bool {
		t.Helper()
		ok, free := s.Reserve(at, 1)
		if !ok && !free.After(at) {
			t.Errorf("refused at %s, and told to come at %s", at, free)
		}
		return ok
	}
	if ask(ahead) || ask(ahead.Add(time.Minute)) {
		t.Error("believed within two minutes")
	}
	if _, free := s.Reserve(ahead.Add(time.Minute), 1); !free.Equal(ahead.Add(2 * time.Minute)) {
		t.Errorf("told to come at %s, want two minutes after it was seen first, %s", free, ahead.Add(2*time.Minute))
	}
	s.Reserve(epoch.Add(2*time.Minute), 1)
	if ask(ahead.Add(3 * time.Minute)) {
		t.Error("believed though another clock showed the contrary")
	}
	if ask(ahead.Add(30 * time.Minute)) {
		t.Error("believed after a quarter of an hour in which nobody saw it")
	}
	if !ask(ahead.Add(33 * time.Minute)) {
		t.Error("not believed when it is seen twice")
	}
}

// TestARefusalKeepsTheTime: a refusal is written down when it says something about the time, and
// else not.
func TestARefusalKeepsTheTime(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	s.Reserve(epoch, 1)
	for i := range 23 * 60 { // no unit is given, and the time advances all the same
		s.Reserve(epoch.Add(time.Duration(i)*time.Minute), 1)
	}
	if ok, _ := s.Reserve(epoch.Add(23*time.Hour+9*time.Minute), 1); ok {
		t.Error("a unit before its time")
	}
	s.Count(epoch.Add(23*time.Hour+18*time.Minute), 0)
	if st := s.Look(epoch.Add(23*time.Hour+18*time.Minute), 1); st.Used != 1 {
		t.Errorf("%+v", st)
	}
}
