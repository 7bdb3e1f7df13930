package seen

import (
	"encoding/binary"
	"slices"
)

// contentBits is how much of the content hash an entry keeps.
const contentBits = 24

// entry joins the upper 40 bits of the identity and 24 bits of the content.
func entry(id, hash uint64) uint64 { return id&^(1<<contentBits-1) | hash>>(64-contentBits) }

const entrySize = 8

// base is the least entry of the same identity.
func base(e uint64) uint64 { return e &^ (1<<contentBits - 1) }

// contains looks an entry up in a sorted list of entries. known: an entry with
// the same identity is there; same: this very one is.
func contains(sorted []byte, e uint64) (known, same bool) {
	n := len(sorted) / entrySize
	low, high := 0, n
	for low < high { // the first entry that is not before any revision of e
		mid := int(uint(low+high) >> 1)
		if at(sorted, mid) < base(e) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	for ; low < n; low++ {
		have := at(sorted, low)
		if base(have) != base(e) {
			break
		}
		known = true
		if have == e {
			return true, true
		}
	}
	return known, false
}

func at(sorted []byte, i int) uint64 { return binary.BigEndian.Uint64(sorted[i*entrySize:]) }

// merge adds entries, in any order, to a sorted list and returns a new one
// without doubles.
func merge(sorted []byte, add []uint64) []byte {
	slices.Sort(add)
	out := make([]byte, 0, len(sorted)+len(add)*entrySize)
	i, n := 0, len(sorted)/entrySize
	last, first := uint64(0), true
	put := func(e uint64) {
		if first || e != last {
			out = binary.BigEndian.AppendUint64(out, e)
			last, first = e, false
		}
	}
	for _, e := range add {
		for i < n && at(sorted, i) <= e {
			put(at(sorted, i))
			i++
		}
		put(e)
	}
	for ; i < n; i++ {
		put(at(sorted, i))
	}
	return out
}
