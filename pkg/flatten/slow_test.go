package flatten_test

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tapline/tapline/pkg/flatten"
)

// This is how rows of generation 1 were made at first: the text is validated, then taken apart in
// five passes. It stays to compare the faster way with: see TestRowsAreThoseOfTheSlowWay.

var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// valid reads the whole text once; after that its parts are found by quotes and brackets alone.
func valid(text []byte, opening byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(text), lenient...)
	if d.PeekKind() != jsontext.Kind(opening) {
		return fmt.Errorf("%w: %.20q where %q should be", flatten.ErrNotObject, text, opening)
	}
	if err := d.SkipValue(); err != nil {
		return fmt.Errorf("%w: %w", flatten.ErrNotObject, err)
	}
	if len(bytes.TrimSpace(text[d.InputOffset():])) > 0 {
		return fmt.Errorf("%w: more than one value", flatten.ErrNotObject)
	}
	return nil
}

// prefixed renames the members whose names others have.
func prefixed(outer, inner []flatten.Member) []flatten.Member {
	taken := make(map[string]bool, len(inner))
	for _, m := range inner {
		taken[string(m.Name)] = true
	}
	out := make([]flatten.Member, 0, len(outer))
	for _, m := range outer {
		for taken[string(m.Name)] {
			m.Name = append([]byte(`"`+flatten.Outer), m.Name[1:]...)
		}
		taken[string(m.Name)] = true
		out = append(out, m)
	}
	return out
}

func appendMembers(dst []byte, list []flatten.Member) []byte {
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
	before, after []flatten.Member
	elements      [][]byte
	found         int
}

// find looks for the member that is to be flattened. Of several of that name it is the last.
func find(own []flatten.Member, key string) array {
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

// slowRows is [flatten.Options.Each] for a text that is known to be valid.
func slowRows(o flatten.Options, object []byte, key string, outer []flatten.Member, emit func(flatten.Row) error) error {
	own := members(object)
	a := find(own, key)
	added := []flatten.Member{
		{[]byte(strconv.Quote(key + "_found")), strconv.AppendInt(nil, int64(a.found), 10)}, {[]byte(strconv.Quote(key + "_id")), nil},
	}
	own = prefixed(append(append([]flatten.Member{}, a.before...), a.after...), append(added[:2:2], flatten.Member{Name: []byte(strconv.Quote(key))}))
	outer = prefixed(outer, append(append([]flatten.Member{}, own...), append(added, flatten.Member{Name: []byte(strconv.Quote(key))})...))
	head := appendMembers(appendMembers([]byte{'{'}, outer), own[:len(a.before)])
	tail := appendMembers([]byte{' '}, own[len(a.before):])[1:]
	var row []byte
	for i, element := range a.elements {
		index := min(i+1, a.found)
		added[1].Value = strconv.AppendInt(nil, int64(index), 10)
		size := len(head) + len(tail) + len(element) + 4*len(key) + 64
		if o.MaxRow > 0 && size > o.MaxRow {
			err := fmt.Errorf("%w: element %d of %d of %s makes %d bytes; %d are allowed", flatten.ErrTooLarge, index, a.found, key, size, o.MaxRow)
			if err := emit(flatten.Row{element, index, err}); err != nil {
				return err
			}
			continue
		}
		row = appendMembers(append(row[:0], head...), []flatten.Member{{[]byte(strconv.Quote(key)), element}})
		row = append(row, tail...)
		row = append(appendMembers(row, added), '}')
		if err := emit(flatten.Row{row, index, nil}); err != nil {
			return err
		}
	}
	return nil
}

// slowReport is [flatten.Options.Report].
func slowReport(o flatten.Options, response []byte, emit func(number int, r flatten.Row) error) error {
	if err := valid(response, '{'); err != nil {
		return err
	}
	own := members(response)
	a := find(own, "reports")
	outer := append(append([]flatten.Member{}, a.before...), a.after...)
	number := 0
	for _, report := range a.elements {
		if report[0] != '{' { // of an unknown shape: it stands in the row as it is
			report = append(append([]byte(`{"report":`), report...), '}')
		}
		err := slowRows(o, report, "forensics", outer, func(r flatten.Row) error {
			number++
			return emit(number-1, r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// members takes an object apart.
func members(object []byte) []flatten.Member {
	var list []flatten.Member
	for i := inside(object); object[i] != '}'; {
		end := value(object, i)
		m := flatten.Member{Name: object[i:end]}
		i = space(object, space(object, end)+1) // behind the colon
		end = value(object, i)
		m.Value = object[i:end]
		list = append(list, m)
		i = next(object, end)
	}
	return list
}

// elements takes an array apart.
func elements(array []byte) [][]byte {
	var list [][]byte
	for i := inside(array); array[i] != ']'; {
		end := value(array, i)
		list = append(list, array[i:end])
		i = next(array, end)
	}
	return list
}

// inside is the place behind the opening bracket.
func inside(text []byte) int { return space(text, space(text, 0)+1) }

// next is the place of the next member or element, or of the closing bracket.
func next(text []byte, i int) int {
	if i = space(text, i); text[i] == ',' {
		i = space(text, i+1)
	}
	return i
}

func space(text []byte, i int) int {
	for text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t' {
		i++
	}
	return i
}

// value is the end of the value that begins at i.
func value(text []byte, i int) int {
	switch text[i] {
	case '"':
		return quoted(text, i)
	case '{', '[':
		for depth := 0; ; {
			switch text[i] {
			case '"':
				i = quoted(text, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	}
	for i < len(text) && text[i] != ',' && text[i] != '}' && text[i] != ']' && text[i] > ' ' {
		i++
	}
	return i
}

// quoted is the end of the string that begins at i.
func quoted(text []byte, i int) int {
	for i++; ; {
		quote := bytes.IndexByte(text[i:], '"')
		slash := bytes.IndexByte(text[i:i+quote], '\\')
		if slash < 0 {
			return i + quote + 1
		}
		i += slash + 2
	}
}
