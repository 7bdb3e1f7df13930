package flatten

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// reader takes a text apart while jsontext checks it, so that each byte is looked at
// once. The parts alias the text. They are good only when [read] ends without an error.
type reader struct {
	text  []byte
	d     *jsontext.Decoder
	parts *int // how many the text was taken apart to
}

// read has a whole text of one object or array taken apart by walk.
func read(text []byte, opening jsontext.Kind, walk func(reader) error) error {
	r := reader{text, jsontext.NewDecoder(bytes.NewBuffer(text), lenient...), new(int)}
	if r.d.PeekKind() != opening {
		return fmt.Errorf("%w: %.20q where %q should be", ErrNotObject, text, byte(opening))
	}
	switch err := walk(r); {
	case errors.Is(err, ErrTooMany):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNotObject, cmp.Or(tokenError(text), err))
	}
	if len(bytes.TrimSpace(text[r.d.InputOffset():])) > 0 {
		return fmt.Errorf("%w: more than one value", ErrNotObject)
	}
	return nil
}

// tokenError says what is wrong with a text as jsontext does that reads token by token: the words
// that are the reason in dead letters do not depend on how deep the mistake is. It is nil for a
// text that is valid.
func tokenError(text []byte) error {
	return jsontext.NewDecoder(bytes.NewBuffer(text), lenient...).SkipValue()
}

// part counts one more part.
func (r reader) part() error {
	if *r.parts++; *r.parts > maxParts {
		return fmt.Errorf("%w: more than %d", ErrTooMany, maxParts)
	}
	return nil
}

// value reads a name or a value.
func (r reader) value() ([]byte, error) {
	v, err := r.d.ReadValue()
	if err != nil {
		return nil, err
	}
	end := r.d.InputOffset() // v itself is good until the next read only
	return r.text[end-int64(len(v)) : end : end], nil
}

// each calls element before each element of the next value: of an array all of them, of null
// none; anything else is the only one.
func (r reader) each(element func() error) error {
	switch r.d.PeekKind() {
	case '[':
	case 'n':
		return r.d.SkipValue()
	default:
		return element()
	}
	if _, err := r.d.ReadToken(); err != nil {
		return err
	}
	for r.d.PeekKind() != ']' {
		if err := r.part(); err != nil {
			return err
		}
		if err := element(); err != nil {
			return err
		}
	}
	_, err := r.d.ReadToken()
	return err
}

// members appends those of the object that is next. The value of each member named key is read by
// special; at is the place of the last of them in the list, or -1.
func (r reader) members(list []Member, key string, special func() error) (all []Member, at int, err error) {
	if _, err := r.d.ReadToken(); err != nil {
		return nil, 0, err
	}
	at = -1
	for r.d.PeekKind() != '}' {
		if err := r.part(); err != nil {
			return nil, 0, err
		}
		var m Member
		if m.Name, err = r.value(); err != nil {
			return nil, 0, err
		}
		if string(m.Name) == key {
			at = len(list)
			behind := r.d.InputOffset()
			err = special()
			m.Value = bytes.TrimLeft(r.text[behind:r.d.InputOffset()], " \t\r\n:")
		} else {
			m.Value, err = r.value()
		}
		if err != nil {
			return nil, 0, err
		}
		list = append(list, m)
	}
	_, err = r.d.ReadToken()
	return list, at, err
}

// divided is an object with the elements of one array in it.
type divided struct {
	around   []Member // without the array
	at       int      // where the array stood among them
	elements [][]byte
}

// parts is where [reader.divide] puts the parts of many objects, so that each of them needs no
// memory of its own.
type parts struct {
	members  []Member
	elements [][]byte
}

// divide reads the object that is next. Of several arrays of that name it is the last.
func (r reader) divide(key string, p *parts) (divided, error) {
	from, first := len(p.members), len(p.elements)
	all, at, err := r.members(p.members, key, func() error {
		p.elements = p.elements[:first]
		return r.each(func() error {
			element, err := r.value()
			p.elements = append(p.elements, element)
			return err
		})
	})
	if err != nil {
		return divided{}, err
	}
	p.members = all
	return surround(all[from:], at-from, p.elements[first:]), nil
}

// surround takes a member out of the list, if it is there at all.
func surround(list []Member, at int, elements [][]byte) divided {
	if at < 0 {
		return divided{around: list, at: len(list), elements: elements}
	}
	return divided{around: slices.Delete(list, at, at+1), at: at, elements: elements}
}
