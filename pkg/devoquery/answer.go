package devoquery

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tapline/tapline/pkg/jsonline"
)

// maxToken bounds the longest string of an answer.
const maxToken = 32 << 20

// errLong says that something in the answer is longer than any row.
var errLong = errors.New("a value of more than 32 MiB")

// metered refuses to read without limit for one token.
type metered struct {
	io.Reader
	left int
}

// Read implements io.Reader.
func (m *metered) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if m.left -= n; m.left < 0 && err == nil {
		err = errLong
	}
	return n, err
}

// answer is a response on its way through the parser.
type answer struct {
	dec   *jsontext.Decoder
	limit *metered
	visit func(row []byte) error
	name  string // of the last member
	row   []byte
}

// read visits the rows of an answer. Our facts name the modes of answers and not their shapes. It
// takes one object for each row (what json/simple is said to be), arrays of values, and either
// inside one object around the whole. An answer says that it failed with a member "error" or "e",
// or a "status" other than 0; all of that is a guess.
func read(r io.Reader, visit func(row []byte) error) error {
	m := &metered{Reader: r}
	a := &answer{dec: jsontext.NewDecoder(jsonline.SkipMark(m), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)), limit: m, visit: visit}
	for {
		if more, err := a.step(); err != nil || !more {
			return err
		}
	}
}

// step reads one token, and reports whether there may be more.
func (a *answer) step() (more bool, err error) {
	a.limit.left = maxToken
	inside, n := a.dec.StackIndex(a.dec.StackDepth())
	kind := a.dec.PeekKind()
	switch {
	case inside == '{' && n%2 == 0 && kind == '"':
		token, err := a.dec.ReadToken()
		a.name = ""
		if err == nil {
			a.name = token.String()
		}
		return true, broken(err)
	case inside == '{' && n%2 == 1 && a.dec.StackDepth() == 1 && (a.name == "error" || a.name == "e" || (a.name == "status" && kind == '0')):
		return true, a.failed()
	case kind == '"':
		return true, a.text(inside)
	}
	if _, err := a.dec.ReadToken(); !errors.Is(err, io.EOF) || a.dec.StackDepth() > 0 {
		return true, broken(err)
	}
	return false, nil
}

// text reads a string that is no name.
func (a *answer) text(inside jsontext.Kind) error {
	value, err := a.dec.ReadValue()
	if err != nil || (inside == '{' && a.name != column) {
		return broken(err)
	}
	a.row, _ = jsontext.AppendUnquote(a.row[:0], value) // it is a string; an error is about its UTF-8 only, which is mended
	return a.visit(a.row)
}

// failed reads a member of an outermost object that may say that the query failed.
func (a *answer) failed() error {
	value, err := a.dec.ReadValue()
	if err != nil {
		return broken(err)
	}
	if text := string(value[:min(len(value), maxAnswer)]); text != "0" && text != "null" && text != "200" {
		return fmt.Errorf("%w: %s: %s", ErrBroken, a.name, text)
	}
	return nil
}

func broken(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrBroken, err)
}
