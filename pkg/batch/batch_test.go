package batch_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/alloctest"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestRawAgreesWithGeneratedCode writes with this package and reads with the
// generated code, and the other way round.
// word draws what may stand in the header of a batch.
var word = rapid.StringMatching(`[!#-\[\]-~]{1,40}`)

func TestRawAgreesWithGeneratedCode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		start := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "start"), 0).UTC()
		r := batch.Raw{
			Tenant: word.Draw(t, "tenant"), Feed: word.Draw(t, "feed"),
			JobID: word.Draw(t, "job"), Window: window.New(start, start.Add(time.Hour)),
			PullID: word.Draw(t, "pull"), FetchedAt: time.UnixMilli(rapid.Int64Range(1, 4e12).Draw(t, "at")).UTC(),
		}
		data := batch.AppendRawHeader(nil, &r)
		for range rapid.IntRange(0, 5).Draw(t, "records") {
			r.Records = append(r.Records, batch.Record{
				ID: rapid.Uint64().Draw(t, "id"), Hash: rapid.Uint64().Draw(t, "hash"), TimeMS: rapid.Int64().Draw(t, "time"),
				JSON: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "json"), Revision: rapid.Bool().Draw(t, "revision"),
			})
			data = batch.AppendRecord(data, &r.Records[len(r.Records)-1])
		}
		var generated taplinev1.RawBatch
		if err := proto.Unmarshal(data, &generated); err != nil {
			t.Fatalf("generated code cannot read it: %v", err)
		}
		want := &taplinev1.RawBatch{
			Tenant: r.Tenant, Feed: r.Feed, JobId: r.JobID, Window: r.Window.Proto(), PullId: r.PullID,
			FetchedAt: timestamppb.New(r.FetchedAt),
		}
		for _, rec := range r.Records {
			want.Records = append(want.Records, &taplinev1.RawRecord{Id: rec.ID, Hash: rec.Hash, TimeMs: rec.TimeMS, Json: rec.JSON, Revision: rec.Revision})
		}
		if diff := cmp.Diff(want, &generated, protocmp.Transform()); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
		theirs, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got batch.Raw
		if err := batch.DecodeRaw(theirs, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got, cmpopts.IgnoreUnexported(batch.Raw{}), cmp.Transformer("empty", func(r []batch.Record) []batch.Record {
			return append([]batch.Record{}, r...)
		})); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

func TestEventsAgreeWithGeneratedCode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := &taplinev1.EventBatch{
			Tenant: word.Draw(t, "tenant"), Table: word.Draw(t, "table"),
			Feed: word.Draw(t, "feed"), JobId: word.Draw(t, "job"),
			SourceSequence: rapid.Uint64().Draw(t, "sequence"), Generation: rapid.Uint32().Draw(t, "generation"),
		}
		for range rapid.IntRange(0, 5).Draw(t, "events") {
			want.Events = append(want.Events, &taplinev1.Event{
				Id: rapid.String().Draw(t, "id"), TimeMs: rapid.Int64().Draw(t, "time"), PullMs: rapid.Int64().Draw(t, "pull"),
				Json: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "json"),
			})
		}
		theirs, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var e batch.Events
		if err := batch.DecodeEvents(theirs, &e); err != nil {
			t.Fatal(err)
		}
		var got taplinev1.EventBatch
		if err := proto.Unmarshal(batch.AppendEvents(nil, &e), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, &got, protocmp.Transform()); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

func TestNewerFieldsAreSkipped(t *testing.T) {
	t.Parallel()
	data := batch.AppendEventsHeader(nil, &batch.Events{Tenant: "main", Table: "a.b"})
	data = append(data, 0xf8, 0x06, 1)           // field 111, varint
	data = append(data, 0xfa, 0x06, 2, 'h', 'i') // field 111, bytes
	data = append(data, 0xfd, 0x06, 1, 2, 3, 4)  // field 111, fixed32
	data = batch.AppendEvent(data, &batch.Event{ID: []byte("1"), JSON: []byte("{}")})
	var e batch.Events
	if err := batch.DecodeEvents(data, &e); err != nil || len(e.Events) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(batch.AppendEvents(nil, &batch.Events{Tenant: "main", Table: "a.b", Events: []batch.Event{{ID: []byte("1"), JSON: []byte("{}")}}}))
	f.Add(batch.AppendRecord(batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: "f"}), &batch.Record{ID: 1, JSON: []byte("{}")}))
	f.Add(batch.AppendEvents(nil, &batch.Events{ // every field
		Tenant: "main", Table: "a.b", Feed: "f", SourceSequence: 1, Generation: 2, JobID: "j", Part: 3, Extra: -4, ReprocessID: "r",
		Events: []batch.Event{{ID: []byte("1"), TimeMS: 5, PullMS: 6, JSON: []byte("{}")}},
	}))
	f.Add(batch.AppendEnvelope(batch.AppendRecord(batch.AppendRawHeader(nil, &batch.Raw{
		Tenant: "main", Feed: "f", JobID: "j", PullID: "p", FetchedAt: time.UnixMilli(1).UTC(),
	}), &batch.Record{ID: 1, Hash: 2, TimeMS: 3, Revision: true, Target: []byte("t"), JSON: []byte("{}")}), []byte("{}")))
	f.Add([]byte("garbage"))
	f.Add([]byte("\x0a\x01t"))                    // only a tenant
	f.Add([]byte("\x80"))                         // a tag does not end
	f.Add([]byte("\x0a\x09t"))                    // the length prefix claims more than there is
	f.Add([]byte("\x3a\x01\x0a"))                 // a mistake inside a record
	f.Add([]byte("z\x01\x80"))                    // a packed block without its length
	f.Add([]byte("z\x02\x05x"))                   // a packed block that is no S2
	f.Add([]byte("z\x01\x00"))                    // nothing is packed
	f.Add([]byte("z\x05\xff\xff\xff\xff\x0f"))    // a packed block claims 4 GiB
	f.Add([]byte("z\x03\x01\x00xz\x03\x01\x00x")) // packed twice
	f.Add(batch.Pack(nil, batch.AppendEvents(nil, &batch.Events{Tenant: "main", Table: "a.b", Events: []batch.Event{{JSON: bytes.Repeat([]byte("x"), 999)}}})))
	f.Fuzz(func(t *testing.T, data []byte) {
		alloctest.Linear(t, len(data), 4, 64<<20, func() { // three times the longest that may be unpacked
			var e batch.Events
			if err := batch.DecodeEvents(data, &e); err != nil && !errors.Is(err, batch.ErrMalformed) {
				t.Errorf("events: %v", err)
			}
			var r batch.Raw
			if err := batch.DecodeRaw(data, &r); err != nil && !errors.Is(err, batch.ErrMalformed) {
				t.Errorf("raw: %v", err)
			}
			if _, err := batch.Unpack(data); err != nil && !errors.Is(err, batch.ErrMalformed) {
				t.Errorf("unpack: %v", err)
			}
		})
	})
}
