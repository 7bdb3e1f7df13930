package batch

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Event is one row inside an EventBatch.
type Event struct {
	ID     []byte // value of @tapline_id
	TimeMS int64  // the record's own time, epoch milliseconds; 0 when it has none
	PullMS int64  // epoch milliseconds of the pull
	JSON   []byte // the row, one line
}

// Events is an EventBatch.
type Events struct {
	Tenant, Table, Feed, JobID string
	SourceSequence             uint64 // of the RawBatch in RAW
	Generation                 uint32 // of the code that made the rows
	Part                       uint32 // among the batches made from one RawBatch for the table
	Extra                      int64  // rows beyond one for each record
	ReprocessID                string // the order that reprocessed the rows; empty for the first ones
	Events                     []Event

	unpacked []byte // reused from one decoding to the next
}

// AppendEventsHeader appends everything but the events.
func AppendEventsHeader(dst []byte, e *Events) []byte {
	dst = appendString(dst, 1, e.Tenant)
	dst = appendString(dst, 2, e.Table)
	dst = appendString(dst, 3, e.Feed)
	dst = appendVarint(dst, 4, e.SourceSequence)
	dst = appendVarint(dst, 5, uint64(e.Generation))
	dst = appendString(dst, 6, e.JobID)
	dst = appendVarint(dst, 8, uint64(e.Part))
	return appendString(dst, 10, e.ReprocessID)
}

// AppendExtra appends [Events.Extra] to a whole batch: it is known only when the rows are made.
func AppendExtra(dst []byte, extra int64) []byte {
	return appendVarint(dst, 9, protowire.EncodeZigZag(extra))
}

// AppendEvent appends one event to a batch that begins with [AppendEventsHeader].
func AppendEvent(dst []byte, e *Event) []byte {
	size := sizeText(e.ID) + sizeVarintField(uint64(e.TimeMS)) + sizeVarintField(uint64(e.PullMS)) +
		1 + protowire.SizeBytes(len(e.JSON))
	dst = protowire.AppendTag(dst, 7, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendText(dst, 1, e.ID)
	dst = appendVarint(dst, 2, uint64(e.TimeMS))
	dst = appendVarint(dst, 3, uint64(e.PullMS))
	return appendBytes(dst, 4, e.JSON)
}

// AppendEvents appends the whole batch.
func AppendEvents(dst []byte, e *Events) []byte {
	dst = AppendEventsHeader(dst, e)
	for i := range e.Events {
		dst = AppendEvent(dst, &e.Events[i])
	}
	return AppendExtra(dst, e.Extra)
}

func sizeText(s []byte) int {
	if len(s) == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(len(s))
}

// DecodeEvents fills dst from a marshalled EventBatch, packed or not, reusing what dst has. The
// events are valid until the next decoding.
func DecodeEvents(data []byte, dst *Events) error {
	*dst = Events{Events: dst.Events[:0], unpacked: dst.unpacked[:0]}
	if err := dst.decode(data); err != nil {
		return fmt.Errorf("event batch: %w", err)
	}
	if dst.Tenant == "" || dst.Table == "" {
		return fmt.Errorf("event batch: %w: tenant or table missing", ErrMalformed)
	}
	return nil
}

// Size is how many bytes of memory the events take.
func (e *Events) Size() (bytes int) {
	for i := range e.Events {
		bytes += len(e.Events[i].JSON)
	}
	return bytes
}

func (e *Events) decode(data []byte) error {
	return fields(data, func(f field) error {
		switch f.number {
		case 1:
			return f.text(&e.Tenant)
		case 2:
			return f.text(&e.Table)
		case 3:
			return f.text(&e.Feed)
		case 4:
			e.SourceSequence = f.value
		case 5:
			e.Generation = uint32(f.value)
		case 6:
			return f.text(&e.JobID)
		case 7:
			if err := room(len(e.Events)); err != nil {
				return err
			}
			e.Events = append(e.Events, Event{})
			return decodeEvent(f.bytes, &e.Events[len(e.Events)-1])
		case 8:
			e.Part = uint32(f.value)
		case 9:
			e.Extra = protowire.DecodeZigZag(f.value)
		case 10:
			return f.text(&e.ReprocessID)
		case packedField:
			return inside(&e.unpacked, f.bytes, e.decode)
		}
		return nil
	})
}

func decodeEvent(data []byte, e *Event) error {
	return fields(data, func(f field) error {
		switch f.number {
		case 1:
			e.ID = f.bytes
		case 2:
			e.TimeMS = int64(f.value)
		case 3:
			e.PullMS = int64(f.value)
		case 4:
			e.JSON = f.bytes
		}
		return nil
	})
}
