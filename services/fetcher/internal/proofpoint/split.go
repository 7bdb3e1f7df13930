package proofpoint

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
)

// visitError carries an error of visit through the splitter.
type visitError struct{ err error }

func (e *visitError) Error() string { return e.err.Error() }

// splitter frames the elements of the envelope's arrays. Framing needs only
// strings and brackets, so an element that is not valid JSON inside can still
// be told from its neighbours.
type splitter struct {
	stream
	arrays arrays
	visit  func(Record) error
	known  bool // something was there that only such a response has

	hasher   *identity.Hasher // nil if records are only framed
	identity identity.Identity
}

// arrays says which arrays of an envelope hold records.
type arrays struct {
	feeds map[string]feed.Feed // by key
	end   string               // a key that proves a response although there is no array
	siem  bool                 // they hold clicks and messages, which are identified on the way
	// other, if set, gets the members around the arrays.
	other func(key, value []byte) error
}

func siemArrays(feeds []feed.Feed) arrays {
	a := arrays{feeds: make(map[string]feed.Feed, len(feeds)), end: "queryEndTime", siem: true}
	for _, f := range feeds {
		a.feeds[string(f)] = f
	}
	return a
}

// split reads a whole body.
func split(r io.Reader, a arrays, maxRecord int, visit func(Record) error) error {
	s := &splitter{stream: newStream(r, maxRecord), arrays: a, visit: visit}
	defer s.release()
	if a.siem {
		s.hasher = identity.NewHasher()
	}
	if err := s.envelope(); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: %w", errTruncated, err)
		}
		return err
	}
	// Reading to the very end checks the length and the checksum of the stream.
	switch _, err := s.token(); {
	case err == nil:
		return s.unexpected("the end of the body")
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", errTruncated, err)
	}
	if !s.known {
		return fmt.Errorf("%w: no array of the endpoint is there", errMalformed)
	}
	return nil
}

// envelope reads the outer object.
func (s *splitter) envelope() error {
	if err := s.expect('{'); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := s.token()
		switch {
		case err != nil:
			return err
		case c == '}':
			s.pos++
			return nil
		case !first && c != ',':
			return s.unexpected("a comma")
		case !first:
			s.pos++
			if c, err = s.token(); err != nil {
				return err
			}
		}
		if c != '"' {
			return s.unexpected("a key")
		}
		if err := s.member(); err != nil {
			return err
		}
	}
}

func (s *splitter) member() error {
	element, err := s.frame()
	if err != nil {
		return err
	}
	quoted := slices.Clone(element.raw)
	key := string(quoted[1 : len(quoted)-1])
	if err := s.expect(':'); err != nil {
		return err
	}
	c, err := s.token()
	if err != nil {
		return err
	}
	f, wanted := s.arrays.feeds[key]
	s.known = s.known || (s.arrays.end != "" && key == s.arrays.end) || (wanted && (c == '[' || c == 'n'))
	if c == '[' && (wanted || s.arrays.other == nil) {
		return s.array(f, wanted)
	}
	value, err := s.frame()
	switch {
	case err != nil:
		return err
	case wanted && string(value.raw) != "null":
		return fmt.Errorf("%w: %s is not an array", errMalformed, key)
	case !wanted && s.arrays.other != nil && value.dropped == 0:
		return s.arrays.other(quoted, value.raw)
	}
	return nil
}

// array visits the elements; those of arrays nobody asked for are passed over.
func (s *splitter) array(f feed.Feed, wanted bool) error {
	s.pos++
	for first := true; ; first = false {
		c, err := s.token()
		switch {
		case err != nil:
			return err
		case c == ']':
			s.pos++
			return nil
		case !first && c != ',':
			return s.unexpected("a comma")
		case !first:
			s.pos++
			if _, err := s.token(); err != nil {
				return err
			}
		}
		if !wanted {
			_, err = s.frame()
		} else {
			err = s.element(f)
		}
		if err != nil {
			return err
		}
	}
}

// element visits one element. One look at its bytes is enough when it is good and all in memory: its identity tells
// where it ends. Any other is framed first.
func (s *splitter) element(f feed.Feed) error {
	r, ok := s.identified(f)
	if !ok {
		e, err := s.frame()
		if err != nil {
			return err
		}
		r = record(f, e)
	}
	if err := s.visit(r); err != nil {
		return &visitError{err}
	}
	return nil
}

func (s *splitter) identified(f feed.Feed) (r Record, ok bool) {
	text := s.buf[s.pos:s.end]
	if s.hasher == nil || text[0] != '{' {
		return Record{}, false
	}
	id, n, err := s.hasher.First(f, text)
	if err != nil {
		return Record{}, false
	}
	s.identity = id
	s.pos += n
	return Record{Feed: f, JSON: text[:n], Identity: &s.identity}, true
}

var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// record judges one element by what framing tells.
func record(f feed.Feed, e element) Record {
	r := Record{Feed: f, JSON: e.raw}
	switch {
	case e.dropped > 0:
		r.Malformed = fmt.Errorf("%w: these are its first %d bytes of %d", errTooLarge, len(e.raw), int64(len(e.raw))+e.dropped)
	case len(e.raw) == 0 || e.raw[0] != '{':
		r.Malformed = errNotObject
	}
	return r
}
