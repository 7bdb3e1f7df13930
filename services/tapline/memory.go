package tapline

import (
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"
)

const (
	// enough is how much memory the process has before the collector works harder than by its usual
	// rule, which lets the heap double. Most of what a backlog leaves in the heap is blocks that
	// the embedded server keeps as long as the collector lets it, and reads again when it needs
	// them.
	enough = 160 << 20
	// overhead is what the process has beside its heap: stacks, and what the runtime keeps for
	// itself.
	overhead = 12 << 20
	// trifle is so little that giving it back is not worth a collection.
	trifle = 2 << 20

	lookEvery  = 250 * time.Millisecond
	quietLooks = 32 // without a collection of the runtime's own: eight seconds
)

// thrifty keeps the memory of the process small until stop is called, unless the user sets Go's own
// limit. It changes two things: during a backlog the collector starts earlier, and after it memory
// goes back to the system within a minute and not within several.
func thrifty(environ []string) (stop func()) {
	for _, v := range environ {
		if strings.HasPrefix(v, "GOGC=") || strings.HasPrefix(v, "GOMEMLIMIT=") {
			return func() {}
		}
	}
	before := debug.SetMemoryLimit(enough)
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		keep(ending)
	}()
	return func() {
		close(ending)
		<-ended
		debug.SetMemoryLimit(before)
	}
}

func keep(ending <-chan struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var k keeper
	for {
		select {
		case <-ending:
			return
		case <-tick.C:
			now := look()
			debug.SetMemoryLimit(limit(now.live))
			if k.quiet(now.cycles) {
				debug.FreeOSMemory()
				k.gave(now.held, look().held)
			}
		}
	}
}

// limit is soft and grows with what is in use, so that the collector always has room: near a fixed
// one it would do little else, and the server read its blocks again and again.
func limit(live uint64) int64 {
	return int64(max(enough, live+live/4+overhead))
}

// keeper knows when memory is to be given back: some time after the last burst, and again as long
// as it brings something. Pools keep what they have for two collections, and the server keeps
// blocks for ten seconds.
type keeper struct {
	cycles uint64 // collections that the runtime began by itself
	looks  int    // since the last of them
	done   bool   // nothing is left to give back
}

// quiet says whether it is time to give memory back.
func (k *keeper) quiet(cycles uint64) bool {
	if cycles != k.cycles {
		*k = keeper{cycles: cycles}
		return false
	}
	k.looks++
	return !k.done && k.looks%quietLooks == 0
}

// gave reports how much memory the process held before and after.
func (k *keeper) gave(before, after uint64) { k.done = after+trifle > before }

// memory is what the runtime says of itself.
type memory struct {
	live   uint64 // bytes in use after the last collection
	held   uint64 // bytes of the system's memory
	cycles uint64 // collections that it began by itself
}

func look() memory {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/gc/cycles/automatic:gc-cycles"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(s)
	return memory{live: s[0].Value.Uint64(), cycles: s[1].Value.Uint64(), held: s[2].Value.Uint64() - s[3].Value.Uint64()}
}
