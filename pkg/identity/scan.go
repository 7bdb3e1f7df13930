package identity

import (
	"fmt"
	"math/bits"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tapline/tapline/pkg/jsonline"
)

// maxDepth is as deep as jsontext reads, too.
const maxDepth = 10_000

// Seeds keep values of different kinds apart that have the same text.
const (
	seedString  = 0x9ae16a3b2f90404f
	seedScalar  = 0xc3a5c85c97cb3127
	seedObject  = 0xb492b66fbe98f273
	seedArray   = 0x9e3779b97f4a7c15
	seedBag     = 0xd6e8feb86659fd93
	memberPrime = 0xff51afd7ed558ccd
)

// scanner walks over one JSON text. It takes what jsontext takes when duplicate names and bytes
// that are not UTF-8 are allowed, and nothing else; a fuzz test compares them.
type scanner struct {
	text    []byte
	pos     int
	scratch []byte // unescaped strings; grown, never reset within a record
	former  bool   // hash as former versions did: see [Hasher.Former]
}

func (s *scanner) reset(text []byte) { s.text, s.pos, s.scratch = text, 0, s.scratch[:0] }

// topMember hashes the value of a member of the record itself.
func (h *Hasher) topMember(key []byte) (uint64, error) {
	switch string(key) {
	case "messageParts", "threatsInfoMap":
		if h.peek() == '[' { // former versions had no other bags
			return h.array(true, 2, nil)
		}
	case "id":
		return h.capture(&h.id)
	case "GUID":
		return h.capture(&h.guid)
	case "clickTime":
		return h.capture(&h.clickTime)
	case "messageTime":
		return h.capture(&h.messageTime)
	case "recipient":
		if h.peek() == '[' {
			return h.array(!h.former, 2, h.recipient)
		}
		return h.recipient()
	}
	return h.member(key, 2)
}

func (h *Hasher) recipient() (uint64, error) {
	var one []byte
	sum, err := h.capture(&one)
	if one != nil {
		h.recipients = append(h.recipients, one)
	}
	return sum, err
}

// capture hashes a value and keeps its text if it is a string.
func (h *Hasher) capture(dst *[]byte) (uint64, error) {
	if h.peek() != '"' {
		return h.value(2)
	}
	text, err := h.str()
	if err != nil {
		return 0, err
	}
	*dst = text
	return mix(xxhash.Sum64(text) ^ seedString), nil
}

// value hashes whatever comes.
func (s *scanner) value(depth int) (uint64, error) {
	switch s.peek() {
	case '{':
		return s.object(nil, depth)
	case '[':
		return s.array(false, depth, nil)
	case '"':
		text, err := s.str()
		return mix(xxhash.Sum64(text) ^ seedString), err
	}
	start := s.pos
	for s.pos < len(s.text) && !ends[s.text[s.pos]] {
		s.pos++
	}
	text, ok := s.scalar(s.text[start:s.pos])
	if !ok {
		s.pos = start
		return 0, s.unexpected("a value")
	}
	return mix(xxhash.Sum64(text) ^ seedScalar), nil
}

// null is the hash of null, which counts as missing in an object.
var null = mix(xxhash.Sum64String("null") ^ seedScalar)

// object hashes an object whose brace is next; member, if given, hashes the values.
func (s *scanner) object(member func(key []byte) (uint64, error), depth int) (uint64, error) {
	if depth > maxDepth {
		return 0, fmt.Errorf("%w: nested deeper than %d", ErrNotJSON, maxDepth)
	}
	s.pos++
	sum := uint64(seedObject)
	for first := true; ; first = false {
		done, err := s.next('}', first)
		if err != nil || done {
			return mix(sum), err
		}
		if s.peek() != '"' {
			return 0, s.unexpected("a key")
		}
		key, err := s.str()
		if err != nil {
			return 0, err
		}
		if s.space(); s.peek() != ':' {
			return 0, s.unexpected("a colon")
		}
		s.pos++
		s.space()
		var v uint64
		if member != nil {
			v, err = member(key)
		} else {
			v, err = s.member(key, depth+1)
		}
		if err != nil {
			return 0, err
		}
		if v != null {
			sum += mix(xxhash.Sum64(key)*memberPrime ^ bits.RotateLeft64(v, 23))
		}
	}
}

// member hashes the value of a member.
func (s *scanner) member(key []byte, depth int) (uint64, error) {
	if s.peek() == '[' {
		return s.array(isBag(key) && !s.former, depth, nil)
	}
	return s.value(depth)
}

// isBag reports whether the order of a list is not content. A list of rows is none, though
// Proofpoint may turn it round: the place of a row in it is part of the row's @tapline_id.
func isBag(key []byte) bool {
	switch string(key) {
	case "messageParts", "threatsInfoMap", "modulesRun", "policyRoutes", "recipient",
		"fromAddress", "toAddresses", "ccAddresses", "replyToAddress",
		"actors", "families", "malware", "techniques", "brands":
		return true
	}
	return false
}

// array hashes an array whose bracket is next. A bag ignores the order, and one element that is no
// list is as good as a bag of it.
func (s *scanner) array(bag bool, depth int, element func() (uint64, error)) (uint64, error) {
	if depth > maxDepth {
		return 0, fmt.Errorf("%w: nested deeper than %d", ErrNotJSON, maxDepth)
	}
	s.pos++
	chain, sum, v, n, list := uint64(seedArray), uint64(seedBag), null, 0, false
	for ; ; n++ {
		done, err := s.next(']', n == 0)
		if err != nil {
			return 0, err
		}
		if done {
			break
		}
		list = s.peek() == '['
		if element != nil {
			v, err = element()
		} else {
			v, err = s.value(depth + 1)
		}
		if err != nil {
			return 0, err
		}
		if bag {
			sum += mix(v ^ seedBag)
		} else {
			chain = mix(chain*memberPrime + v)
		}
	}
	switch {
	case !bag, n == 0 && !s.former:
		return mix(chain), nil
	case n == 1 && !list && v != null && !s.former:
		return v, nil
	}
	return mix(sum), nil
}

// next goes to the next member or element, or behind the closing one.
func (s *scanner) next(closing byte, first bool) (done bool, err error) {
	s.space()
	switch c := s.peek(); {
	case c == closing:
		s.pos++
		return true, nil
	case first:
		return false, nil
	case c == ',':
		s.pos++
		s.space()
		return false, nil
	}
	return false, s.unexpected("a comma")
}

// str reads a string and gives its unescaped text, which stays valid for this record.
func (s *scanner) str() ([]byte, error) {
	start, mark := s.pos, len(s.scratch)
	run, long := start+1, false // where the text behind the last escape begins; whether one was longer than two bytes
	for i := run; ; {
		i += jsonline.Special(s.text[i:])
		if i == len(s.text) {
			return nil, fmt.Errorf("%w: a string at byte %d does not end", ErrNotJSON, start)
		}
		switch s.text[i] {
		case '"':
			s.pos = i + 1
			switch {
			case run == start+1:
				return s.text[run:i], nil
			case long || !utf8.Valid(s.text[start:i]):
				// An error means bytes that are not UTF-8; they were replaced, which is
				// deterministic.
				s.scratch, _ = jsontext.AppendUnquote(s.scratch[:mark], s.text[start:s.pos])
			default:
				s.scratch = append(s.scratch, s.text[run:i]...)
			}
			return s.scratch[mark:len(s.scratch):len(s.scratch)], nil
		case '\\':
			n := escape(s.text[i:])
			switch n {
			case 0:
				s.pos = i
				return nil, s.unexpected("an escape")
			case 2:
				s.scratch = append(append(s.scratch, s.text[run:i]...), unescaped[s.text[i+1]])
			default:
				long = true
			}
			i += n
			run = i
		default:
			s.pos = i
			return nil, s.unexpected("a character that needs no escape")
		}
	}
}

// unescaped is what the escapes of two bytes stand for, by the second.
var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape is the length of the escape sequence that text begins with, 0 if it is none.
func escape(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	if unescaped[text[1]] != 0 {
		return 2
	}
	if text[1] != 'u' || len(text) < 6 {
		return 0
	}
	for _, c := range text[2:6] {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return 0
		}
	}
	return 6
}

func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.text) && blank[s.text[s.pos]] {
		s.pos++
	}
}

func (s *scanner) unexpected(want string) error {
	if s.pos >= len(s.text) {
		return fmt.Errorf("%w: ends where %s should be", ErrNotJSON, want)
	}
	return fmt.Errorf("%w: %q at byte %d where %s should be", ErrNotJSON, s.text[s.pos], s.pos, want)
}

var (
	blank = [256]bool{' ': true, '\t': true, '\n': true, '\r': true}
	ends  = [256]bool{' ': true, '\t': true, '\n': true, '\r': true, ',': true, '}': true, ']': true, '{': true, '[': true, '"': true, ':': true}
)

// mix spreads every bit over all others, so that sums of mixed values do not
// cancel out (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
