package batch

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tapline/tapline/pkg/window"
)

// Record is one record inside a RawBatch.
type Record struct {
	ID       uint64 // hash of the identity key
	Hash     uint64 // hash of the canonical content
	TimeMS   int64  // the record's own time, epoch milliseconds; 0 when it has none
	JSON     []byte // as received
	Revision bool   // another revision of the record was published before
	Target   []byte // of an answer about one id: what was asked, a marshalled Target
}

// Raw is a RawBatch.
type Raw struct {
	Tenant, Feed, JobID string
	Window              window.Window
	PullID              string
	FetchedAt           time.Time // milliseconds
	Records             []Record  // their JSON aliases the decoded message, or what it was unpacked to
	Envelope            []byte    // of a list: the response around the records, one JSON object

	unpacked []byte // reused from one decoding to the next
}

// AppendRawHeader appends everything but the records.
func AppendRawHeader(dst []byte, r *Raw) []byte {
	dst = appendString(dst, 1, r.Tenant)
	dst = appendString(dst, 2, r.Feed)
	dst = appendString(dst, 3, r.JobID)
	var span []byte
	span = appendTime(span, 1, r.Window.Start.UnixMilli())
	span = appendTime(span, 2, r.Window.End.UnixMilli())
	dst = appendBytes(dst, 4, span)
	dst = appendString(dst, 5, r.PullID)
	return appendTime(dst, 6, r.FetchedAt.UnixMilli())
}

// AppendRecord appends one record to a batch that begins with [AppendRawHeader].
func AppendRecord(dst []byte, r *Record) []byte {
	size := sizeFixed64(r.ID) + sizeFixed64(r.Hash) + sizeVarintField(uint64(r.TimeMS)) +
		1 + protowire.SizeBytes(len(r.JSON)) + sizeVarintField(protowire.EncodeBool(r.Revision)) + sizeText(r.Target)
	dst = protowire.AppendTag(dst, 7, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = appendFixed64(dst, 1, r.ID)
	dst = appendFixed64(dst, 2, r.Hash)
	dst = appendVarint(dst, 3, uint64(r.TimeMS))
	dst = appendBytes(dst, 4, r.JSON)
	dst = appendVarint(dst, 5, protowire.EncodeBool(r.Revision))
	return appendText(dst, 6, r.Target)
}

// AppendEnvelope appends the envelope of a list to a whole batch: it is known only when
// the records have been read.
func AppendEnvelope(dst, envelope []byte) []byte { return appendText(dst, 8, envelope) }

func sizeFixed64(v uint64) int {
	if v == 0 {
		return 0
	}
	return 9
}

// DecodeRaw fills dst from a marshalled RawBatch, packed or not, reusing what dst has. The records
// are valid until the next decoding.
func DecodeRaw(data []byte, dst *Raw) error {
	*dst = Raw{Records: dst.Records[:0], unpacked: dst.unpacked[:0]}
	if err := dst.decode(data); err != nil {
		return fmt.Errorf("raw batch: %w", err)
	}
	if dst.Tenant == "" || dst.Feed == "" {
		return fmt.Errorf("raw batch: %w: tenant or feed missing", ErrMalformed)
	}
	return nil
}

func (r *Raw) decode(data []byte) error {
	return fields(data, func(f field) error {
		switch f.number {
		case 1:
			return f.text(&r.Tenant)
		case 2:
			return f.text(&r.Feed)
		case 3:
			return f.text(&r.JobID)
		case 4:
			return decodeWindow(f.bytes, &r.Window)
		case 5:
			return f.text(&r.PullID)
		case 6:
			ms, err := decodeTime(f.bytes)
			r.FetchedAt = time.UnixMilli(ms).UTC()
			return err
		case 7:
			if err := room(len(r.Records)); err != nil {
				return err
			}
			r.Records = append(r.Records, Record{})
			return decodeRecord(f.bytes, &r.Records[len(r.Records)-1])
		case 8:
			r.Envelope = f.bytes
		case packedField:
			return inside(&r.unpacked, f.bytes, r.decode)
		}
		return nil
	})
}

func decodeWindow(data []byte, w *window.Window) error {
	return fields(data, func(f field) error {
		ms, err := decodeTime(f.bytes)
		switch f.number {
		case 1:
			w.Start = time.UnixMilli(ms).UTC()
		case 2:
			w.End = time.UnixMilli(ms).UTC()
		}
		return err
	})
}

func decodeRecord(data []byte, r *Record) error {
	return fields(data, func(f field) error {
		switch f.number {
		case 1:
			r.ID = f.value
		case 2:
			r.Hash = f.value
		case 3:
			r.TimeMS = int64(f.value)
		case 4:
			r.JSON = f.bytes
		case 5:
			r.Revision = f.value != 0
		case 6:
			r.Target = f.bytes
		}
		return nil
	})
}
