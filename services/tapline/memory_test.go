package tapline_test

import (
	"runtime/debug"
	"testing"

	"github.com/tapline/tapline/services/tapline"
)

func TestTheCollectorHasRoomWhateverIsInUse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		live uint64
		want int64
	}{
		{0, 160 << 20},
		{100 << 20, 160 << 20},
		{300 << 20, 387 << 20},
		{3 << 30, 3<<30 + 780<<20},
	} {
		if got := tapline.Limit(c.live); got != c.want {
			t.Errorf("with %d MiB in use the limit is %d MiB, want %d", c.live>>20, got>>20, c.want>>20)
		}
	}
}

// TestWhatTheUserTellsGoStands looks at a setting of the whole process, so it is not parallel.
func TestWhatTheUserTellsGoStands(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	for _, c := range []struct {
		environ []string
		same    bool
	}{
		{nil, false},
		{[]string{"HOME=/", "MY_GOGC=1"}, false},
		{[]string{"GOGC=100"}, true},
		{[]string{"HOME=/", "GOMEMLIMIT=1GiB"}, true},
	} {
		stop := tapline.Thrifty(c.environ)
		if same := debug.SetMemoryLimit(-1) == before; same != c.same {
			t.Errorf("%q: the limit is as before: %v, want %v", c.environ, same, c.same)
		}
		stop()
		if after := debug.SetMemoryLimit(-1); after != before {
			t.Errorf("%q: the limit is %d afterwards, it was %d", c.environ, after, before)
		}
	}
}

func TestMemoryIsGivenBackAfterABurst(t *testing.T) {
	t.Parallel()
	var k tapline.Keeper
	wait := func(cycles uint64) int {
		for n := range 3 * tapline.QuietLooks {
			if k.Quiet(cycles) {
				return n
			}
		}
		return -1
	}
	for cycles := range uint64(100) {
		if k.Quiet(cycles) {
			t.Fatal("given back in the middle of a burst")
		}
	}
	if n := wait(99); n != tapline.QuietLooks-1 {
		t.Errorf("given back at look %d after the burst, want %d", n, tapline.QuietLooks-1)
	}
	k.Gave(200<<20, 100<<20)
	if n := wait(99); n != tapline.QuietLooks-1 {
		t.Errorf("given back again at look %d, want %d: it brought much the last time", n, tapline.QuietLooks-1)
	}
	k.Gave(100<<20, 100<<20)
	if n := wait(99); n >= 0 {
		t.Error("given back although nothing was left the last time")
	}
	k.Quiet(100)
	if wait(100) < 0 {
		t.Error("not given back after the next burst")
	}
}
