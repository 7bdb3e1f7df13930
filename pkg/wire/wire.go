// Package wire decodes messages of protobuf that others wrote, within bounds.
//
// Two bytes of input can be one part of a message, which takes some hundred bytes decoded: 8 MiB,
// which the bus takes, would be more than a program may have. So the parts are counted before
// anything is decoded. All programs decode through here (test/repo/arch sees to it); batches of
// records and rows have a codec and bounds of their own, in package batch.
package wire

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// ErrTooMany says that a message has more parts than may be decoded.
var ErrTooMany = errors.New("message has too many parts")

const (
	// small messages are decoded without counting: they cannot take more than two MiB.
	small = 16 << 10
	// most is what the parts of a message may take decoded, beside its bytes. A page of LEDGER of 8
	// MiB, as versions until November 2026 could write, takes 37 MiB at most, with the shortest
	// ids: 59 000 windows of one feed, or 35 000 of four.
	most = 48 << 20
	// What a part takes, about. A message takes its size and the pointer to it; costMessage if it
	// is none of ours.
	costMessage = 256
	costElement = 24
	costNumber  = 8
)

// Unmarshal decodes as [proto.Unmarshal] does. It takes at most 64 MiB and three times the bytes of
// data.
func Unmarshal(data []byte, m proto.Message) error {
	if len(data) > small {
		c := counter{}
		if err := c.message(data, m.ProtoReflect().Descriptor()); err != nil {
			return fmt.Errorf("%s: %w", m.ProtoReflect().Descriptor().Name(), err)
		}
	}
	return proto.Unmarshal(data, m)
}

// counter adds up what the parts of a message take.
type counter struct{ taken int }

func (c *counter) take(n int) error {
	if c.taken += n; c.taken > most {
		return fmt.Errorf("%w: they take more than %d MiB", ErrTooMany, most>>20)
	}
	return nil
}

func (c *counter) message(data []byte, d protoreflect.MessageDescriptor) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
			return protowire.ParseError(n)
		}
		if f := d.Fields().ByNumber(number); f != nil {
			if err := c.field(data[:n], kind, f); err != nil {
				return err
			}
		}
		data = data[n:]
	}
	return nil
}

func (c *counter) field(value []byte, kind protowire.Type, f protoreflect.FieldDescriptor) error {
	switch {
	case f.Message() != nil:
		if err := c.take(cost(f.Message())); err != nil || kind != protowire.BytesType {
			return err
		}
		inner, n := protowire.ConsumeBytes(value)
		if n < 0 {
			return protowire.ParseError(n)
		}
		return c.message(inner, f.Message())
	case !f.IsList():
		return nil
	case kind == protowire.BytesType && f.Kind() != protoreflect.StringKind && f.Kind() != protoreflect.BytesKind: // packed
		return c.take(costNumber * len(value))
	}
	return c.take(costElement)
}

// costs are those of messages, by descriptor.
var costs sync.Map

func cost(d protoreflect.MessageDescriptor) int {
	if known, ok := costs.Load(d); ok {
		return known.(int) // stored below
	}
	n := costMessage
	if t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName()); err == nil && !d.IsMapEntry() {
		n = int(reflect.TypeOf(t.Zero().Interface()).Elem().Size()) + costElement
	}
	costs.Store(d, n)
	return n
}
