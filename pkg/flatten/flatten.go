package flatten

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Generation names the rules by which rows are made. Raise it when rows of the same
// record would look different, so that reprocessing makes new rows and replaces none.
const Generation = 1

// Outer is the prefix of a member around a record whose name the record has, too.
const Outer = "response_"

var (
	// ErrNotObject says that the text is not one JSON object.
	ErrNotObject = errors.New("not a JSON object")
	// ErrTooLarge says that a row is larger than allowed.
	ErrTooLarge = errors.New("row is too large")
)

// Options of flattening. The zero value allows anything.
type Options struct {
	MaxRow int // bytes; 0 means any
}

// Row is one row.
type Row struct {
	JSON  []byte // valid until the next row; it may contain white space
	Index int    // from 1; 0 for the row of an empty array
	Err   error  // why there is no row; JSON is what there is of it
}

// Member is one member of an object, both as they are written: the name with quotes.
type Member struct{ Name, Value []byte }

var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// Members takes an object apart. The parts alias the text.
func Members(object []byte) ([]Member, error) {
	if err := valid(object, '{'); err != nil {
		return nil, err
	}
	return members(object), nil
}

// Elements takes an array apart. The parts alias the text; null has none.
func Elements(array []byte) ([][]byte, error) {
	if string(array) == "null" {
		return nil, nil
	}
	if err := valid(array, '['); err != nil {
		return nil, err
	}
	return elements(array), nil
}

// valid reads the whole text once; after that its parts are found by quotes and brackets alone.
func valid(text []byte, opening byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(text), lenient...)
	if d.PeekKind() != jsontext.Kind(opening) {
		return fmt.Errorf("%w: %.20q where %q should be", ErrNotObject, text, opening)
	}
	if err := d.SkipValue(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotObject, err)
	}
	if len(bytes.TrimSpace(text[d.InputOffset():])) > 0 {
		return fmt.Errorf("%w: more than one value", ErrNotObject)
	}
	return nil
}

// Around appends an object with the members of another one around it: first the outer
// ones, then its own.
func Around(dst, object []byte, outer []Member) ([]byte, error) {
	own, err := Members(object)
	if err != nil {
		return dst, err
	}
	dst = appendMembers(append(dst, '{'), prefixed(outer, own))
	return append(appendMembers(dst, own), '}'), nil
}

// prefixed renames the members whose names others have.
func prefixed(outer, inner []Member) []Member {
	taken := make(map[string]bool, len(inner))
	for _, m := range inner {
		taken[string(m.Name)] = true
	}
	out := make([]Member, 0, len(outer))
	for _, m := range outer {
		for taken[string(m.Name)] {
			m.Name = append([]byte(`"`+Outer), m.Name[1:]...)
		}
		taken[string(m.Name)] = true
		out = append(out, m)
	}
	return out
}

func appendMembers(dst []byte, list []Member) []byte {
	for _, m := range list {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, m.Name...), ':'), m.Value...)
	}
	return dst
}

// array is the members of an object on both sides of an array in it, and its elements.
type array struct {
	before, after []Member
	elements      [][]byte
	found         int
}

// find looks for the member that is to be flattened. Of several of that name it is the last.
func find(own []Member, key string) array {
	quoted := []byte(strconv.Quote(key))
	at := -1
	for i, m := range own {
		if bytes.Equal(m.Name, quoted) {
			at = i
		}
	}
	if at < 0 {
		return array{before: own, elements: [][]byte{[]byte("{}")}}
	}
	a := array{before: own[:at], after: own[at+1:]}
	switch value := own[at].Value; value[0] {
	case '[':
		a.elements = elements(value)
		a.found = len(a.elements)
	case 'n':
	default:
		a.elements, a.found = [][]byte{value}, 1
	}
	if len(a.elements) == 0 {
		a.elements = [][]byte{[]byte("{}")}
	}
	return a
}

// Each makes a row of each element of the array key of an object, with the outer members
// before those of the object. An error of emit ends it and is returned as it is.
func (o Options) Each(object []byte, key string, outer []Member, emit func(Row) error) error {
	if err := valid(object, '{'); err != nil {
		return err
	}
	return o.each(object, key, outer, emit)
}

// each is Each for a text that is known to be valid.
func (o Options) each(object []byte, key string, outer []Member, emit func(Row) error) error {
	own := members(object)
	a := find(own, key)
	added := []Member{
		{[]byte(strconv.Quote(key + "_found")), strconv.AppendInt(nil, int64(a.found), 10)}, {[]byte(strconv.Quote(key + "_id")), nil},
	}
	own = prefixed(append(append([]Member{}, a.before...), a.after...), append(added[:2:2], Member{Name: []byte(strconv.Quote(key))}))
	outer = prefixed(outer, append(append([]Member{}, own...), append(added, Member{Name: []byte(strconv.Quote(key))})...))
	head := appendMembers(appendMembers([]byte{'{'}, outer), own[:len(a.before)])
	tail := appendMembers([]byte{' '}, own[len(a.before):])[1:]
	var row []byte
	for i, element := range a.elements {
		index := min(i+1, a.found)
		added[1].Value = strconv.AppendInt(nil, int64(index), 10)
		size := len(head) + len(tail) + len(element) + 4*len(key) + 64
		if o.MaxRow > 0 && size > o.MaxRow {
			err := fmt.Errorf("%w: element %d of %d of %s makes %d bytes; %d are allowed", ErrTooLarge, index, a.found, key, size, o.MaxRow)
			if err := emit(Row{element, index, err}); err != nil {
				return err
			}
			continue
		}
		row = appendMembers(append(row[:0], head...), []Member{{[]byte(strconv.Quote(key)), element}})
		row = append(row, tail...)
		row = append(appendMembers(row, added), '}')
		if err := emit(Row{row, index, nil}); err != nil {
			return err
		}
	}
	return nil
}

// Report makes the rows of a forensics response: those of each of its reports, by their
// evidence. A response without reports makes one row. Indexes begin anew with each report;
// number counts the rows of the whole response, from 0.
func (o Options) Report(response []byte, emit func(number int, r Row) error) error {
	own, err := Members(response)
	if err != nil {
		return err
	}
	a := find(own, "reports")
	outer := append(append([]Member{}, a.before...), a.after...)
	number := 0
	for _, report := range a.elements {
		if report[0] != '{' { // of a shape that nobody has seen: it stands in the row as it is
			report = append(append([]byte(`{"report":`), report...), '}')
		}
		err := o.each(report, "forensics", outer, func(r Row) error {
			number++
			return emit(number-1, r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
