package alloctest_test

import (
	"runtime"
	"testing"

	"github.com/tapline/tapline/pkg/alloctest"
)

var kept []byte

//nolint:paralleltest // it measures the process
func TestWhatIsAllocatedIsSeen(t *testing.T) {
	const size = 32 << 20
	alloc := func() { kept = make([]byte, size) }
	if got := alloctest.Total(alloc); got < size || got > 2*size {
		t.Errorf("allocated %d bytes, total says %d", size, got)
	}
	kept = nil
	if got := alloctest.Total(func() {}); got > 1<<20 {
		t.Errorf("allocated nothing, total says %d", got)
	}
}

//nolint:paralleltest // it measures the process
func TestPeakIsOfWhatLives(t *testing.T) {
	const size = 4 << 20
	garbage := func() {
		for range 256 {
			kept = make([]byte, size)
		}
		kept = nil
	}
	if got := alloctest.Peak(garbage); got > 8*size {
		t.Errorf("at most %d bytes live at once, peak says %d", 2*size, got)
	}
	all := func() {
		var whole [][]byte
		for range 64 {
			whole = append(whole, make([]byte, size))
		}
		for range 3 { // one cycle of the sampler at least begins and ends while all of it lives
			runtime.GC()
		}
		kept = whole[0]
	}
	if got := alloctest.Peak(all); got < 64*size {
		t.Errorf("%d bytes live at once, peak says %d", 64*size, got)
	}
	kept = nil
}

// recorder is a test that may fail without failing this one.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(string, ...any) { r.failed = true }

//nolint:paralleltest // it measures the process
func TestLinearFailsBeyondTheMultiple(t *testing.T) {
	for size, want := range map[int]bool{1 << 20: false, 16 << 20: true} {
		r := &recorder{TB: t}
		alloctest.Linear(r, 1<<20, 4, 1<<20, func() { kept = make([]byte, size) })
		if r.failed != want {
			t.Errorf("%d bytes for 1 MiB of input: failed is %v, want %v", size, r.failed, want)
		}
	}
	kept = nil
}
