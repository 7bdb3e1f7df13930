package batch

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed is wrapped by every decoding error.
var ErrMalformed = errors.New("malformed batch")

// field is one field of a message: its number and, depending on the wire type,
// a number or bytes that alias the message.
type field struct {
	number protowire.Number
	bytes  []byte
	value  uint64
}

// fields calls visit for every field of a message.
func fields(data []byte, visit func(field) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
		}
		data = data[n:]
		f := field{number: number}
		switch kind {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(data)
		case protowire.Fixed64Type:
			f.value, n = protowire.ConsumeFixed64(data)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			return fmt.Errorf("%w: field %d: %w", ErrMalformed, number, protowire.ParseError(n))
		}
		data = data[n:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// maxName bounds the words of a header, bytes: a job id is the longest of them.
const maxName = 512

// text reads a word of a header. It becomes part of subjects, ids of messages, keys and rows: it
// must neither be long nor have anything in it that would end those.
func (f field) text(dst *string) error {
	if len(f.bytes) > maxName {
		return fmt.Errorf("%w: field %d has %d bytes, at most %d are taken", ErrMalformed, f.number, len(f.bytes), maxName)
	}
	for _, c := range f.bytes {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return fmt.Errorf("%w: field %d is %q: want printable ASCII without blanks, quotes and backslashes", ErrMalformed, f.number, f.bytes)
		}
	}
	*dst = string(f.bytes)
	return nil
}

func appendString(dst []byte, number protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, number, protowire.BytesType), s)
}

func appendText(dst []byte, number protowire.Number, s []byte) []byte {
	if len(s) == 0 {
		return dst
	}
	return appendBytes(dst, number, s)
}

func appendVarint(dst []byte, number protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), v)
}

func appendFixed64(dst []byte, number protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendFixed64(protowire.AppendTag(dst, number, protowire.Fixed64Type), v)
}

func appendBytes(dst []byte, number protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, number, protowire.BytesType), b)
}

func sizeVarintField(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

// appendTime writes google.protobuf.Timestamp with a precision of milliseconds.
func appendTime(dst []byte, number protowire.Number, ms int64) []byte {
	seconds, nanos := ms/1000, (ms%1000)*1e6

	size := sizeVarintField(uint64(seconds)) + sizeVarintField(uint64(nanos))
	dst = protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.BytesType), uint64(size))
	dst = appendVarint(dst, 1, uint64(seconds))
	return appendVarint(dst, 2, uint64(nanos))
}

func decodeTime(data []byte) (ms int64, err error) {
	err = fields(data, func(f field) error {
		switch f.number {
		case 1:
			ms += min(max(int64(f.value), -latest), latest) * 1000
		case 2:
			ms += int64(f.value) / 1e6
		}
		return nil
	})
	if err == nil && (ms < earliest || ms > latest) {
		err = fmt.Errorf("%w: a time %d ms from 1970: want the years 1 to 9999", ErrMalformed, ms)
	}
	return ms, err
}

// What google.protobuf.Timestamp may hold, epoch milliseconds.
const (
	earliest = -62_135_596_800_000
	latest   = 253_402_300_799_999
)
