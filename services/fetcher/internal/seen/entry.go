package seen

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
)

// entry is what is remembered of one content of a record. An entry that an earlier version stored
// has no more than its key.
type entry struct {
	key  uint64 // the upper 40 bits of the identity, and the upper 24 of the content
	more uint32 // the next 32 bits of the content
}

const keyBits = 24 // of the content in a key

func entryOf(id, hash uint64) entry {
	return entry{id&^(1<<keyBits-1) | hash>>(64-keyBits), uint32(hash >> (32 - keyBits))}
}

// base is the least key of the same identity.
func (e entry) base() uint64 { return e.key &^ (1<<keyBits - 1) }

func (e entry) compare(o entry) int {
	return cmp.Or(cmp.Compare(e.key, o.key), cmp.Compare(e.more, o.more))
}

// A value of SEEN is a mark and a sorted list of entries of 12 bytes. The mark has 8 or 12 bytes,
// such that the length can be divided by 8: an earlier version, which knows lists of keys of 8
// bytes and no mark, then finds nothing in it and continues.
const (
	entrySize = 12
	keySize   = 8
	markMost  = 12
)

var mark = bytes.Repeat([]byte{0xff}, markMost)

var errMalformed = errors.New("SEEN entry is neither a list of 12-byte entries nor one of 8-byte keys")

// list is a sorted list of entries in their stored form, without the mark.
type list []byte

// parse reads a value. The keys of an earlier version become entries that have no more.
func parse(value []byte) (list, error) {
	if body, ok := bytes.CutPrefix(value, mark[:keySize]); ok {
		switch len(body) % entrySize {
		case 0:
			return body, nil
		case markMost - keySize:
			return body[markMost-keySize:], nil
		}
		return nil, errMalformed
	}
	if len(value)%keySize != 0 {
		return nil, errMalformed
	}
	l := make(list, 0, len(value)/keySize*entrySize)
	for ; len(value) > 0; value = value[keySize:] {
		l = append(append(l, value[:keySize]...), 0, 0, 0, 0)
	}
	return l, nil
}

func (l list) len() int { return len(l) / entrySize }

func (l list) key(i int) uint64 { return binary.BigEndian.Uint64(l[i*entrySize:]) }

func (l list) at(i int) entry {
	return entry{l.key(i), binary.BigEndian.Uint32(l[i*entrySize+keySize:])}
}

// from is where the entries begin whose key is not less. Keys are hashes, so that most of n are
// within two square roots of n of where even ones would be: to look there first keeps the search
// inside a few pages of a long list.
func (l list) from(key uint64) int {
	low, high := 0, l.len()
	even, _ := bits.Mul64(key, uint64(high))
	around := 2 << (bits.Len(uint(high)) / 2)
	if i := int(even) - around; i >= 0 && l.key(i) < key {
		low = i + 1
	}
	if i := int(even) + around; i < high && l.key(i) >= key {
		high = i
	}
	for low < high {
		mid := int(uint(low+high) >> 1)
		if l.key(mid) < key {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// contains looks an entry up. known: one with the same identity is there; same: this very one is,
// as far as is remembered.
func (l list) contains(e entry) (known, same bool) {
	first := l.from(e.key)
	for i := first; i < l.len() && l.key(i) == e.key; i++ {
		if more := l.at(i).more; more == e.more || more == 0 {
			return true, true
		}
	}
	return first > 0 && l.at(first-1).base() == e.base() || first < l.len() && l.at(first).base() == e.base(), false
}

// short looks an entry of an earlier version up.
func (l list) short(key uint64) bool {
	i := l.from(key)
	return i < l.len() && l.at(i) == entry{key, 0}
}

// merge adds entries, in any order, to a list and returns a new value without doubles, and the list
// in it.
func merge(old list, add []entry) (value []byte, merged list) {
	slices.SortFunc(add, entry.compare)
	value = append(make([]byte, 0, markMost+len(old)+len(add)*entrySize), mark...)
	put := func(e entry) {
		if n := len(value); n > markMost && list(value[markMost:]).at((n-markMost)/entrySize-1) == e {
			return
		}
		value = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(value, e.key), e.more)
	}
	i := 0
	for _, e := range add {
		for i < old.len() && old.at(i).compare(e) <= 0 {
			put(old.at(i))
			i++
		}
		put(e)
	}
	for ; i < old.len(); i++ {
		put(old.at(i))
	}
	merged = value[markMost:]
	if merged.len()%2 == 0 {
		value = value[markMost-keySize:]
	}
	return value, merged
}
