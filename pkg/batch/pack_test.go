package batch_test

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/batch"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestPackingChangesNothing: a packed batch decodes like the batch, with what stands beside it, and
// so does one that was not worth packing; readers with the generated code unpack it first.
func TestPackingChangesNothing(t *testing.T) {
	t.Parallel()
	var reused batch.Raw // the fields of an earlier batch must not show
	rapid.Check(t, func(t *rapid.T) {
		data := batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: "clicksBlocked"})
		for range rapid.IntRange(0, 20).Draw(t, "records") {
			json := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "json"), rapid.IntRange(1, 30).Draw(t, "times"))
			data = batch.AppendRecord(data, &batch.Record{ID: 1, Hash: 2, JSON: json})
		}
		packed := batch.Pack([]byte("before"), data)
		if !bytes.HasPrefix(packed, []byte("before")) || len(packed)-len("before") > len(data) {
			t.Fatalf("packing made %d bytes of %d", len(packed), len(data))
		}
		packed = packed[len("before"):]
		envelope := rapid.SliceOf(rapid.Byte()).Draw(t, "envelope")
		data, packed = batch.AppendEnvelope(data, envelope), batch.AppendEnvelope(packed, envelope)

		var want batch.Raw
		if err := errors.Join(batch.DecodeRaw(data, &want), batch.DecodeRaw(packed, &reused)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, reused, cmpopts.IgnoreUnexported(batch.Raw{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
		var plain, unpacked taplinev1.RawBatch
		whole, err := batch.Unpack(packed)
		if err := errors.Join(err, proto.Unmarshal(data, &plain), proto.Unmarshal(whole, &unpacked)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&plain, &unpacked, protocmp.Transform()); diff != "" {
			t.Fatalf("(-want +got)\n%s", diff)
		}
	})
}

// TestBadPacksAreMalformed: neither a broken block nor one that would unfold without end is taken.
func TestBadPacksAreMalformed(t *testing.T) {
	t.Parallel()
	good := batch.AppendRecord(batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: "f"}), &batch.Record{JSON: bytes.Repeat([]byte("ab"), 5000)})
	once := batch.Pack(nil, good)
	twice := batch.Pack(nil, bytes.Repeat(once, 40))
	if len(twice) >= len(once)*40 {
		t.Fatal("the second packing was not worth it; the test would prove nothing")
	}
	huge := append([]byte{15<<3 | 2, 6}, 0xff, 0xff, 0xff, 0xff, 0x0f, 0) // says it holds 4 GiB
	for name, data := range map[string][]byte{"broken": append(once[:20:20], make([]byte, len(once)-20)...), "twice": twice, "huge": huge} {
		var r batch.Raw
		if err := batch.DecodeRaw(data, &r); !errors.Is(err, batch.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := batch.Unpack(data); name != "twice" && !errors.Is(err, batch.ErrMalformed) {
			t.Errorf("%s, unpacked: %v", name, err)
		}
	}
}

// TestASmallMessageStaysSmall: what unfolds to many records, or claims to hold much, is refused
// before it takes memory.
func TestASmallMessageStaysSmall(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	head := batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: "f"})
	empty := []byte{7<<3 | 2, 0} // a record, and a row, without anything in it
	const most = 48 << 20        // the longest that may be unpacked, and the records of one message
	for name, inner := range map[string][]byte{
		"records":       bytes.Repeat(empty, batch.MaxRecords+1),
		"very many":     append(bytes.Clone(head), bytes.Repeat(empty, 6<<20)...),
		"longer":        bytes.Repeat([]byte{0x7a, 0}, 9<<20),
		"nothing again": nil,
	} {
		data := batch.Pack(nil, inner)
		if inner == nil {
			data = bytes.Repeat([]byte{15<<3 | 2, 1, 0}, 100) // blocks that are empty, one behind the other
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var raw batch.Raw
		var events batch.Events
		rawErr, eventsErr := batch.DecodeRaw(data, &raw), batch.DecodeEvents(data, &events)
		_, unpackErr := batch.Unpack(data)
		runtime.ReadMemStats(&after)
		if !errors.Is(rawErr, batch.ErrMalformed) || !errors.Is(eventsErr, batch.ErrMalformed) || !errors.Is(unpackErr, batch.ErrMalformed) {
			t.Errorf("%s (%d bytes): %v, %v, %v", name, len(data), rawErr, eventsErr, unpackErr)
		}
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 3*most {
			t.Errorf("%s: %d bytes took %d MiB", name, len(data), taken>>20)
		}
	}
}
