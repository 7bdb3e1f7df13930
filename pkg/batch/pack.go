package batch

import (
	"fmt"

	"github.com/klauspost/compress/s2"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// packedField is the number of the field "packed" in both messages.
	packedField = 15
	// recordsField is the number of the field "records" of one, "events" of the other.
	recordsField = 7
	// maxUnpacked bounds what a message may claim to hold, bytes. A batch ends at 2 MiB, and then
	// one record of at most 4 MiB may stand in it with what the enricher adds.
	maxUnpacked = 16 << 20
	// MaxRecords bounds the records or rows of one message: BATCH_RECORDS allows 10 000.
	MaxRecords = 16_384
	// worthPacking is the size from which compression pays.
	worthPacking = 256
)

// Pack appends a whole batch in its compressed form to dst. A batch that compression does
// not make smaller is appended as it is. More fields may follow.
func Pack(dst, data []byte) []byte {
	if len(data) < worthPacking || len(data) > maxUnpacked {
		return append(dst, data...)
	}
	begin := len(dst)
	// Room for the tag and the length, which is known only afterwards.
	const room = 1 + 5
	most := s2.MaxEncodedLen(len(data))
	dst = grow(dst, room+most)
	block := s2.Encode(dst[begin+room:begin+room+most], data)
	if len(block) >= len(data) {
		return append(dst[:begin], data...)
	}
	head := protowire.AppendTag(dst[begin:begin], packedField, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(block)))
	return dst[:begin+len(head)+copy(dst[begin+len(head):], block)]
}

// grow makes room for n more bytes and returns dst with them.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) < n {
		dst = append(make([]byte, 0, len(dst)+n), dst...)
	}
	return dst[:len(dst)+n]
}

// unpack reverses Pack, into buf if it is large enough.
func unpack(buf, block []byte) ([]byte, error) {
	size, err := s2.DecodedLen(block)
	if err != nil {
		return nil, fmt.Errorf("%w: packed: %w", ErrMalformed, err)
	}
	if size > maxUnpacked {
		return nil, fmt.Errorf("%w: packed: %d bytes, at most %d are taken", ErrMalformed, size, maxUnpacked)
	}
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	data, err := s2.Decode(buf[:size], block)
	if err != nil {
		return nil, fmt.Errorf("%w: packed: %w", ErrMalformed, err)
	}
	return data, nil
}

// inside decodes what is packed. A batch is packed once: a block in a block is malformed, so that a
// small message cannot unfold without end.
func inside(buf *[]byte, block []byte, decode func([]byte) error) error {
	if len(*buf) > 0 {
		return fmt.Errorf("%w: packed twice", ErrMalformed)
	}
	data, err := unpack(*buf, block)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return fmt.Errorf("%w: packed: nothing is in it", ErrMalformed)
	}
	*buf = data
	return decode(data)
}

// Unpack returns a batch with nothing compressed in it, for readers that know the messages only by
// their generated code, with no more records than may be. A batch that is not packed is returned as
// it is.
func Unpack(data []byte) ([]byte, error) {
	var whole, beside []byte
	packed := false
	for rest := data; len(rest) > 0; {
		number, kind, n := protowire.ConsumeField(rest)
		if n < 0 {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
		}
		if number != packedField || kind != protowire.BytesType {
			beside, rest = append(beside, rest[:n]...), rest[n:]
			continue
		}
		if packed {
			return nil, fmt.Errorf("%w: packed twice", ErrMalformed)
		}
		packed = true
		_, _, tag := protowire.ConsumeTag(rest)
		block, _ := protowire.ConsumeBytes(rest[tag:])
		inner, err := unpack(nil, block)
		if err != nil {
			return nil, err
		}
		whole, rest = append(whole, inner...), rest[n:]
	}
	if packed {
		data = append(whole, beside...)
	}
	records := 0
	return data, fields(data, func(f field) error {
		if f.number == recordsField {
			records++
		}
		return room(records - 1)
	})
}

// room reports whether one more record may be taken.
func room(have int) error {
	if have >= MaxRecords {
		return fmt.Errorf("%w: more than %d records", ErrMalformed, MaxRecords)
	}
	return nil
}
