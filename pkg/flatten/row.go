package flatten

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// writer makes the rows of objects with an array of the same name, and keeps its buffers.
type writer struct {
	o     Options
	name  string
	added []Member // the array, how many elements it has, and which one it is
	text  []byte   // what all rows of an object have in common
	row   []byte
}

func (o Options) writer(key string) *writer {
	quoted := func(suffix string) Member { return Member{Name: []byte(strconv.Quote(key + suffix))} }
	return &writer{o: o, name: key, added: []Member{quoted(""), quoted("_found"), quoted("_id")}}
}

// key is the name of the array as it is written.
func (w *writer) key() string { return string(w.added[0].Name) }

// rows makes a row of each element. An object without any makes one of {}.
func (w *writer) rows(own divided, outer []Member, emit func(Row) error) error {
	found, elements := len(own.elements), own.elements
	if found == 0 {
		elements = [][]byte{[]byte("{}")}
	}
	head, tail, fixed, err := w.around(own, outer, found)
	if err != nil {
		return err
	}
	for i, element := range elements {
		index := min(i+1, found)
		size := fixed + len(element) + 4*len(w.name) + 64
		if w.o.MaxRow > 0 && size > w.o.MaxRow {
			err = fmt.Errorf("%w: element %d of %d of %s makes %d bytes; %d are allowed", ErrTooLarge, index, found, w.name, size, w.o.MaxRow)
			if err := emit(Row{element, index, err}); err != nil {
				return err
			}
			continue
		}
		w.row = slices.Grow(w.row[:0], size)
		w.row = append(append(append(w.row, head...), element...), tail...)
		w.row = append(strconv.AppendInt(w.row, int64(index), 10), '}')
		if err := emit(Row{w.row, index, nil}); err != nil {
			return err
		}
	}
	return nil
}

// around writes what stands before each element of an object, and what stands behind it up to its
// index. fixed counts the bytes of both that are members around the array.
func (w *writer) around(own divided, outer []Member, found int) (head, tail []byte, fixed int, err error) {
	members, err := prefixed(own.around, w.added)
	if err == nil {
		outer, err = prefixed(outer, members, w.added)
	}
	if err != nil {
		return nil, nil, 0, err
	}
	text := appendMembers(appendMembers(append(w.text[:0], '{'), outer), members[:own.at])
	fixed = len(text)
	text = appendMembers(text, w.added[:1])
	at := len(text)
	text = appendMembers(text, members[own.at:])
	fixed += len(text) - at
	w.added[1].Value = strconv.AppendInt(w.added[1].Value[:0], int64(found), 10)
	w.text = appendMembers(text, w.added[1:])
	return w.text[:at], w.text[at:], fixed, nil
}

// maxAlike bounds how often a name is prefixed: each member of one name has a longer one than that
// before.
const maxAlike = 16

// prefixed renames the members whose names others have, or one before them.
func prefixed(list []Member, others ...[]Member) ([]Member, error) {
	if distinct(list, others) {
		return list, nil
	}
	taken := make(map[string]bool)
	for _, other := range others {
		for _, m := range other {
			taken[string(m.Name)] = true
		}
	}
	out := make([]Member, 0, len(list))
	for _, m := range list {
		for n := 0; taken[string(m.Name)]; n++ {
			if n == maxAlike {
				return nil, fmt.Errorf("%w: more than %d members of one name", ErrTooMany, maxAlike)
			}
			m.Name = append([]byte(`"`+Outer), m.Name[1:]...)
		}
		taken[string(m.Name)] = true
		out = append(out, m)
	}
	return out, nil
}

// distinct reports whether no name of the list is there twice or in one of the others, which is the
// rule. It says so of short lists only, where comparing each with each takes less time than
// remembering them.
func distinct(list []Member, others [][]Member) bool {
	const short = 512
	pairs := len(list) * len(list)
	for _, other := range others {
		pairs += len(list) * len(other)
	}
	if pairs > short {
		return false
	}
	for i, m := range list {
		same := func(other Member) bool { return bytes.Equal(m.Name, other.Name) }
		if slices.ContainsFunc(list[:i], same) {
			return false
		}
		for _, other := range others {
			if slices.ContainsFunc(other, same) {
				return false
			}
		}
	}
	return true
}
