package flatten

import (
	"errors"
	"fmt"
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
	// ErrTooMany says that an object has more parts, or makes more rows, than allowed. There is no
	// row of it then.
	ErrTooMany = errors.New("too many parts")
)

// maxParts bounds the members and elements that one text is taken apart to: each takes many times
// the memory of its text. Real reports have some hundreds.
const maxParts = 100_000

// Options of flattening. The zero value allows rows of any size and number.
type Options struct {
	MaxRow   int // bytes; 0 means any
	MaxRows  int // of one object; 0 means any
	MaxBytes int // of all rows of one object: what stands around an array stands in each row; 0 means any
}

// Row is one row.
type Row struct {
	JSON  []byte // valid until the next row; it may contain white space
	Index int    // from 1; 0 for the row of an empty array
	Err   error  // why there is no row; JSON is what there is of it
}

// Member is one member of an object, both as they are written: the name with quotes.
type Member struct{ Name, Value []byte }

// Members takes an object apart. The parts alias the text.
func Members(object []byte) ([]Member, error) {
	var list []Member
	err := read(object, '{', func(r reader) (err error) {
		list, _, err = r.members(nil, "", nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Elements takes an array apart. The parts alias the text; null has none.
func Elements(array []byte) ([][]byte, error) {
	if string(array) == "null" {
		return nil, nil
	}
	var list [][]byte
	err := read(array, '[', func(r reader) error {
		return r.each(func() error {
			element, err := r.value()
			list = append(list, element)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Around appends an object with the members of another one around it: first the outer
// ones, then its own.
func Around(dst, object []byte, outer []Member) ([]byte, error) {
	own, err := Members(object)
	if err != nil {
		return dst, err
	}
	if outer, err = prefixed(outer, own); err != nil {
		return dst, err
	}
	dst = appendMembers(append(dst, '{'), outer)
	return append(appendMembers(dst, own), '}'), nil
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

// Each makes a row of each element of the array key of an object, with the outer members
// before those of the object. An error of emit ends it and is returned as it is.
func (o Options) Each(object []byte, key string, outer []Member, emit func(Row) error) error {
	w := o.writer(key)
	var own divided
	err := read(object, '{', func(r reader) (err error) {
		own, err = r.divide(w.key(), &parts{})
		return err
	})
	if err == nil {
		err = o.bounded(outer, own)
	}
	if err != nil {
		return err
	}
	return w.rows(own, outer, emit)
}

// bounded refuses an object that would make more rows, or larger ones in all, than allowed.
func (o Options) bounded(outer []Member, objects ...divided) error {
	rows, bytes, around := 0, 0, size(outer)
	for _, d := range objects {
		n := max(len(d.elements), 1)
		rows += n
		bytes += n * (around + size(d.around))
		for _, e := range d.elements {
			bytes += len(e)
		}
	}
	switch {
	case o.MaxRows > 0 && rows > o.MaxRows:
		return fmt.Errorf("%w: it makes %d rows; %d are allowed", ErrTooMany, rows, o.MaxRows)
	case o.MaxBytes > 0 && bytes > o.MaxBytes:
		return fmt.Errorf("%w: its %d rows have %d bytes in all; %d are allowed", ErrTooMany, rows, bytes, o.MaxBytes)
	}
	return nil
}

func size(list []Member) (bytes int) {
	for _, m := range list {
		bytes += len(m.Name) + len(m.Value) + 2
	}
	return bytes
}

// Report makes the rows of a forensics response: those of each of its reports, by their
// evidence. A response without reports makes one row. Indexes begin anew with each report;
// number counts the rows of the whole response, from 0.
func (o Options) Report(response []byte, emit func(number int, r Row) error) error {
	outer, reports, err := readReports(response)
	if err == nil {
		err = o.bounded(outer, reports...)
	}
	if err != nil {
		return err
	}
	w := o.writer("forensics")
	number := 0
	for _, report := range reports {
		err := w.rows(report, outer, func(r Row) error {
			number++
			return emit(number-1, r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readReports takes a forensics response apart.
func readReports(response []byte) (outer []Member, reports []divided, err error) {
	err = read(response, '{', func(r reader) error {
		var p parts
		list, at, err := r.members(nil, `"reports"`, func() error {
			reports = nil
			return r.each(func() error {
				report, err := r.report(&p)
				reports = append(reports, report)
				return err
			})
		})
		if err == nil {
			outer = surround(list, at, nil).around
		}
		return err
	})
	if len(reports) == 0 {
		reports = []divided{{}}
	}
	return outer, reports, err
}

func (r reader) report(p *parts) (divided, error) {
	if r.d.PeekKind() == '{' {
		return r.divide(`"forensics"`, p)
	}
	// Of an unknown shape: it stands in the row as it is.
	value, err := r.value()
	return divided{around: []Member{{[]byte(`"report"`), value}}, at: 1}, err
}
