package proofpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// visitError carries an error of visit through the splitter.
type visitError struct{ err error }

func (e *visitError) Error() string { return e.err.Error() }

// splitter frames the elements of the envelope's arrays. Framing needs only strings and brackets,
// so an element that is not valid JSON inside can still be distinguished from its neighbours.
type splitter struct {
	stream
	arrays   arrays
	visit    func(Record) error
	evidence Evidence
	began    bool // the body has begun as a JSON object does

	hasher   *identity.Hasher // nil if records are only framed
	identity identity.Identity

	large  func(piece []byte) error // takes pieces of a record that is too large
	feed   feed.Feed                // its feed
	pieces int                      // that were taken

	records int // that were visited and are not malformed
}

// arrays says which arrays of an envelope hold records.
type arrays struct {
	feeds map[string]feed.Feed // by key
	siem  bool                 // they hold clicks and messages, which are identified on the way
	// other, if set, gets the members around the arrays.
	other func(key, value []byte) error
}

const endKey = "queryEndTime"

func siemArrays(feeds []feed.Feed) arrays {
	a := arrays{feeds: make(map[string]feed.Feed, len(feeds)), siem: true}
	for _, f := range feeds {
		a.feeds[string(f)] = f
	}
	return a
}

// split reads a whole body.
func split(r io.Reader, a arrays, maxRecord int, visit func(Record) error) (Evidence, error) {
	s := &splitter{stream: newStream(r, maxRecord), arrays: a, visit: visit}
	s.large = s.piece
	defer s.release()
	if a.siem {
		s.hasher = identity.NewHasher()
	}
	if err := s.whole(); err != nil {
		return Evidence{}, err
	}
	s.evidence.finish(a.feeds)
	return s.evidence, nil
}

// whole reads the body to its very end, which checks the length and the checksum of the stream.
func (s *splitter) whole() error {
	if _, err := s.token(); errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it is empty", errOdd)
	}
	if err := s.envelope(); err != nil {
		switch {
		case errors.Is(err, errMalformed) && !s.began:
			return fmt.Errorf("%w: %w", errOdd, err)
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%w: %w", errTruncated, err)
		}
		return err
	}
	switch _, err := s.token(); {
	case err == nil:
		return fmt.Errorf("%w: %w", errOdd, s.unexpected("the end of the body"))
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", errTruncated, err)
	}
	return nil
}

// envelope reads the outer object.
func (s *splitter) envelope() error {
	if err := s.expect('{'); err != nil {
		return err
	}
	for n := 0; ; n++ {
		c, err := s.token()
		switch first := n == 0; {
		case err != nil:
			return err
		case n > bound.Members:
			return fmt.Errorf("%w: more than %d members", errTooMuch, bound.Members)
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
	quoted, err := s.key()
	if err != nil {
		return err
	}
	c, err := s.token()
	if err != nil {
		return err
	}
	s.began = true
	name := nameOf(quoted)
	f, wanted := s.arrays.feeds[name]
	switch {
	case wanted && (c == '[' || c == 'n'):
		s.evidence.present(f)
	case wanted:
		return s.notArray(name)
	}
	if c == '[' && (wanted || (s.arrays.other == nil && !says(name))) {
		if !wanted {
			f, wanted = s.arrays.alike(name)
			s.evidence.other(name)
		}
		return s.array(f, wanted)
	}
	value, err := s.frame(nil)
	switch {
	case err != nil:
		return err
	case wanted && string(value.raw) != "null":
		return s.notArray(name)
	case wanted:
		return nil
	case value.before > 0: // larger than a record may be: only its key is looked at
		return s.evidence.member(quoted, []byte("true"))
	case name == endKey:
		err = s.evidence.end(value.raw)
	default:
		err = s.evidence.member(quoted, value.raw)
	}
	if err == nil && s.arrays.other != nil {
		return s.arrays.other(quoted, value.raw)
	}
	return err
}

// key reads the key of a member, and the colon.
func (s *splitter) key() ([]byte, error) {
	e, err := s.frame(nil)
	if err != nil {
		return nil, err
	}
	if size := e.before + int64(len(e.raw)); size > bound.Key {
		return nil, fmt.Errorf("%w: a key of %d bytes: at most %d are taken", errMalformed, size, bound.Key)
	}
	return slices.Clone(e.raw), s.expect(':')
}

func (s *splitter) notArray(key string) error {
	return fmt.Errorf("%w: %s is not an array", errOdd, key)
}

// nameOf is what a quoted key says.
func nameOf(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') >= 0 {
		if name, err := jsontext.AppendUnquote(nil, quoted); err == nil {
			return string(name)
		}
	}
	return string(quoted[1 : len(quoted)-1])
}

// alike finds the array that a key means which is spelled in another way, as messages_delivered is.
// Its records are records, though the array that was asked for is missing all the same.
func (a *arrays) alike(key string) (feed.Feed, bool) {
	letters := func(r rune) rune {
		if unicode.IsLetter(r) {
			return unicode.ToLower(r)
		}
		return -1
	}
	key = strings.Map(letters, key)
	for name, f := range a.feeds {
		if strings.ToLower(name) == key {
			return f, true
		}
	}
	return "", false
}

// array visits the elements; those of arrays that were not asked for are skipped.
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
			_, err = s.frame(nil)
		} else {
			err = s.element(f)
		}
		if err != nil {
			return err
		}
	}
}

// element visits one element. One look at its bytes is enough when it is good and all in memory:
// its identity tells where it ends. Any other is framed first.
func (s *splitter) element(f feed.Feed) error {
	r, ok := s.identified(f)
	if !ok {
		var err error
		if r, err = s.framed(f); err != nil {
			return err
		}
	}
	if !r.Bad() {
		if s.records++; s.records > bound.Records {
			return fmt.Errorf("%w: more than %d records", errTooMuch, bound.Records)
		}
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
	if err != nil || n > s.max {
		return Record{}, false
	}
	s.identity = id
	s.pos += n
	return Record{Feed: f, JSON: text[:n], Identity: &s.identity}, true
}

// framed judges one element by what framing tells, and then by its inside. It is the whole element,
// or the last piece.
func (s *splitter) framed(f feed.Feed) (Record, error) {
	s.feed, s.pieces = f, 0
	e, err := s.frame(s.large)
	if err != nil {
		return Record{}, err
	}
	r := Record{Feed: f, JSON: e.raw}
	switch {
	case e.before > 0:
		s.pieces++
		r.Part, r.Malformed = s.pieces, s.tooLarge(e)
	case len(e.raw) == 0 || e.raw[0] != '{':
		r.Malformed = errNotObject
	case s.hasher == nil:
	default:
		id, err := s.hasher.SIEM(f, e.raw)
		switch {
		case err == nil:
			s.identity = id
			r.Identity = &s.identity
		case errors.Is(err, identity.ErrNotJSON):
			r.Malformed = err
		}
	}
	return r, nil
}

// piece visits a piece of a record that is too large; more follow.
func (s *splitter) piece(piece []byte) error {
	s.pieces++
	if s.pieces > bound.Pieces {
		return nil
	}
	from := (s.pieces - 1) * s.max
	reason := fmt.Errorf("%w, %d bytes: part %d is its bytes %d to %d, and more follow", errTooLarge, s.max, s.pieces, from, from+len(piece))
	if err := s.visit(Record{Feed: s.feed, JSON: piece, Part: s.pieces, More: true, Malformed: reason}); err != nil {
		return &visitError{err}
	}
	return nil
}

// tooLarge says what the last piece is.
func (s *splitter) tooLarge(e element) error {
	size := e.before + int64(len(e.raw))
	kept := ""
	if s.pieces > bound.Pieces+1 {
		kept = fmt.Sprintf(", and those from %d on before these are not kept", bound.Pieces*s.max)
	}
	return fmt.Errorf("%w, %d bytes: part %d, the last, is its bytes %d to %d%s", errTooLarge, s.max, s.pieces, e.before, size, kept)
}

var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
