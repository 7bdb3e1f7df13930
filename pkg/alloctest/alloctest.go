// Package alloctest measures the memory that code takes for its input. Tests of everything that
// parses foreign bytes use it: a decoder states the most that it takes as a multiple of its input,
// and a pipeline the most that its live heap rises.
//
// The figures are those of the whole process. A test that measures does not run in parallel with
// others.
package alloctest

import (
	"runtime"
	"runtime/metrics"
	"testing"
)

// tries is how often f is measured before it counts as too much: other goroutines of the process
// allocate, too.
const tries = 3

// Total is the number of bytes that f allocates. The peak of the heap during f is never more than
// it was before plus this.
func Total(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Linear fails the test if f allocates more than fixed + factor * input bytes. It runs f again if
// that seems so: what f does the first time only, such as filling a pool, does not count.
func Linear(tb testing.TB, input, factor, fixed int, f func()) {
	tb.Helper()
	most := uint64(fixed) + uint64(factor)*uint64(input)
	var took uint64
	for range tries {
		if took = Total(f); took <= most {
			return
		}
	}
	tb.Errorf("%d bytes of input take %d bytes of memory, want at most %d + %d * input = %d", input, took, fixed, factor, most)
}

// Peak is how many bytes the live heap rises during f above what it was before. Garbage does not
// count: the collector runs all the time. What lives for less than one of its cycles is missed: the
// collector cannot tell it from garbage.
func Peak(f func()) uint64 {
	runtime.GC() // twice: the first one leaves what has a finalizer, and pools
	before := collected()
	stop, highest := make(chan struct{}), make(chan uint64)
	go func() {
		most := before
		for {
			select {
			case <-stop:
				highest <- most
				return
			default:
				most = max(most, collected())
			}
		}
	}()
	f()
	close(stop)
	return <-highest - before
}

// collected is what lives now and has lived for a cycle of the collector. What is allocated during
// a cycle is alive to it, whatever becomes of that.
func collected() uint64 {
	heap := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(heap)
	before := heap[0].Value.Uint64()
	runtime.GC()
	metrics.Read(heap)
	during, live := heap[0].Value.Uint64()-before, heap[1].Value.Uint64()
	return live - min(live, during)
}
