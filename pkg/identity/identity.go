package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/feed"
)

// Identity of one record.
type Identity struct {
	ID     uint64 // hash of the identity key: equal for all revisions of a record
	Hash   uint64 // hash of the canonical content: differs between revisions
	TimeMS int64  // click or message time, epoch milliseconds; 0 if there is none
}

// ErrNotJSON says that the record is not one JSON object.
var ErrNotJSON = errors.New("record is not a JSON object")

// Hasher computes identities. It reuses its buffers and is for one goroutine.
type Hasher struct {
	scanner
	fields
	key []byte
}

// fields are the top-level members that identity needs.
type fields struct {
	id, guid   []byte
	recipients [][]byte

	clickTime, messageTime []byte
}

// NewHasher makes a hasher.
func NewHasher() *Hasher { return &Hasher{} }

// SIEM computes the identity of a click or message record.
func (h *Hasher) SIEM(f feed.Feed, record []byte) (Identity, error) {
	sum, err := h.first(record)
	if err != nil {
		return Identity{}, err
	}
	if h.space(); h.pos != len(h.text) {
		return Identity{}, h.unexpected("the end")
	}
	return h.identity(f, sum), nil
}

// First is [Hasher.SIEM] for the record that text begins with; n is where it ends. Both tell the
// same of it, so that a reader need not look for the end of a record before.
func (h *Hasher) First(f feed.Feed, text []byte) (id Identity, n int, err error) {
	sum, err := h.first(text)
	if err != nil {
		return Identity{}, 0, err
	}
	return h.identity(f, sum), h.pos, nil
}

// first hashes the object that text begins with, and collects its members that identity needs.
func (h *Hasher) first(text []byte) (sum uint64, err error) {
	h.reset(text)
	h.fields = fields{recipients: h.recipients[:0]}
	if h.space(); h.peek() != '{' {
		return 0, h.unexpected("an object")
	}
	return h.object(h.topMember, 1)
}

// identity is that of the record that was hashed.
func (h *Hasher) identity(f feed.Feed, sum uint64) Identity {
	id := Identity{Hash: sum, TimeMS: millis(h.when(f))}
	h.appendKey(f, id)
	digest := sha256.Sum256(h.key)
	id.ID = binary.BigEndian.Uint64(digest[:])
	return id
}

// when is the text of the record's own time. A record that has both is placed by the one of its
// feed, whatever the order of its members.
func (h *Hasher) when(f feed.Feed) []byte {
	own, other := h.messageTime, h.clickTime
	if f.IsClick() {
		own, other = other, own
	}
	if len(own) == 0 {
		return other
	}
	return own
}

// appendKey writes the identity key, each part with its length so that no two
// keys look alike.
func (h *Hasher) appendKey(f feed.Feed, id Identity) {
	part := func(b []byte) { h.key = append(binary.AppendUvarint(h.key, uint64(len(b))), b...) }
	h.key = h.key[:0]
	part([]byte(f))
	switch {
	case len(h.id) > 0:
		part([]byte("id"))
		part(h.id)
	case len(h.guid) > 0 && !f.IsClick(): // the GUID of a click is that of its message
		part([]byte("guid"))
		part(h.guid)
		slices.SortFunc(h.recipients, slices.Compare)
		for _, r := range h.recipients {
			part(r)
		}
	default:
		part([]byte("content"))
		h.key = binary.BigEndian.AppendUint64(h.key, id.Hash)
		h.key = binary.BigEndian.AppendUint64(h.key, uint64(id.TimeMS))
	}
}

// Bytes names what is no JSON object, by its bytes: there is nothing else to tell it by.
func Bytes(f feed.Feed, text []byte) Identity {
	digest := sha256.New()
	_, _ = digest.Write(append(binary.AppendUvarint(nil, uint64(len(f))), f...))
	_, _ = digest.Write(text)
	sum := digest.Sum(nil)
	return Identity{ID: binary.BigEndian.Uint64(sum), Hash: binary.BigEndian.Uint64(sum[8:])}
}

// Content hashes a JSON object, whatever it is, without some of its top-level members.
func (h *Hasher) Content(record []byte, without ...string) (uint64, error) {
	h.reset(record)
	h.space()
	if h.peek() != '{' {
		return 0, h.unexpected("an object")
	}
	sum, err := h.object(func(key []byte) (uint64, error) {
		if slices.Contains(without, string(key)) {
			_, err := h.value(2)
			return null, err // as if it were missing
		}
		return h.member(key, 2)
	}, 1)
	if err != nil {
		return 0, err
	}
	if h.space(); h.pos != len(h.text) {
		return 0, h.unexpected("the end")
	}
	return sum, nil
}

// Former makes hash, one of the hasher's own functions, give the content hash that earlier versions
// gave: then there were fewer bags, and a number was hashed as it is written. What they have stored
// is compared by it.
func (h *Hasher) Former(hash func() (uint64, error)) (uint64, error) {
	h.former = true
	defer func() { h.former = false }()
	return hash()
}

// Named is the hash of an identity key that consists of the parts.
func Named(parts ...string) uint64 {
	var key []byte
	for _, p := range parts {
		key = append(binary.AppendUvarint(key, uint64(len(p))), p...)
	}
	digest := sha256.Sum256(key)
	return binary.BigEndian.Uint64(digest[:])
}

// Mix joins a content hash with another number.
func Mix(hash, with uint64) uint64 {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], hash)
	binary.BigEndian.PutUint64(b[8:], with)
	digest := sha256.Sum256(b[:])
	return binary.BigEndian.Uint64(digest[:])
}

func millis(text []byte) int64 {
	if len(text) == 0 {
		return 0
	}
	t, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return 0
	}
	return max(t.UnixMilli(), 0)
}

// TaplineIDLength is the length of @tapline_id.
const TaplineIDLength = 32

// AppendTaplineID appends the value of @tapline_id: identity and content, 16
// hexadecimal digits each.
func AppendTaplineID(dst []byte, id, hash uint64) []byte {
	var b [TaplineIDLength / 2]byte
	binary.BigEndian.PutUint64(b[:], id)
	binary.BigEndian.PutUint64(b[8:], hash)
	return hex.AppendEncode(dst, b[:])
}

var taplineIDKey = []byte(`"@tapline_id":"`)

// FindTaplineID finds the @tapline_id of a row. It stands near the row's end; inside a value of the
// record its quotes would be escaped.
func FindTaplineID(row []byte) (id []byte, ok bool) {
	i := bytes.LastIndex(row, taplineIDKey)
	if i < 0 {
		return nil, false
	}
	id, _, ok = bytes.Cut(row[i+len(taplineIDKey):], []byte{'"'})
	if !ok || len(id) != TaplineIDLength {
		return nil, false
	}
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return nil, false
		}
	}
	return id, true
}
