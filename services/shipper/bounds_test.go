package shipper_test

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tapline/tapline/pkg/alloctest"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/services/devosink"
)

// heapMost is what the live heap may rise to over hostile messages, embedded server and sink
// included: compose gives the shipper 400 MiB.
const heapMost = 150 << 20

// TestHostileMessagesHarmNoNeighbor: each of them goes to DEAD once and takes no memory to speak
// of; the rows before, between and behind them arrive once.
func TestHostileMessagesHarmNoNeighbor(t *testing.T) { //nolint:paralleltest // it measures the process
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	head := batch.AppendEventsHeader(nil, &batch.Events{Tenant: "main", Table: table})
	word := func(number protowire.Number, text string) []byte {
		return protowire.AppendString(protowire.AppendTag(bytes.Clone(head), number, protowire.BytesType), text)
	}
	hostile := [][]byte{
		append([]byte{15<<3 | 2, 6}, 0xff, 0xff, 0xff, 0xff, 0x0f, 0),                           // claims 4 GiB
		batch.Pack(nil, append(bytes.Clone(head), bytes.Repeat([]byte{7<<3 | 2, 0}, 6<<20)...)), // six million rows of nothing
		batch.Pack(nil, bytes.Repeat([]byte{0x7a, 0}, 8<<20)),
		bytes.Repeat([]byte("poison! "), 1<<20-16), // as large as the server takes
		word(6, strings.Repeat("j", 7<<20)),        // a job's name
		word(3, "\xff\xfe"), word(3, "a feed\r\nX: y"), word(2, `x>y: {"`), word(10, strings.Repeat("r", 600)),
		[]byte("\xff garbage"),
		{},
	}
	input := 0
	for i, data := range hostile {
		fill(t, b, 10*i, 1, 10)
		bustest.Publish(t, server, "event.main.any", data)
		input += len(data)
	}
	rows := 10 * len(hostile)
	sink, environ := relay(t, devosink.Full)
	rise := alloctest.Peak(func() {
		start(t, b, nil, environ)
		settled(t, b)
	})
	if rise > heapMost {
		t.Errorf("%d bytes of hostile messages raised the heap by %d MiB, want at most %d", input, rise>>20, heapMost>>20)
	}
	trial{}.compare(t, sink, wanted(rows, "Grüße"))
	firsts := make(map[string]int)
	for _, l := range deadLetters(t, b) {
		if l.GetPart() <= 1 {
			firsts[l.GetSource()]++
		}
		if len(l.GetReason()) > 16<<10 || l.GetStage() != "shipper" {
			t.Errorf("%.300v", l)
		}
	}
	if len(firsts) != len(hostile) {
		t.Errorf("letters of %d messages, want %d: %v", len(firsts), len(hostile), firsts)
	}
	for source, n := range firsts {
		if n != 1 {
			t.Errorf("%s has %d letters", source, n)
		}
	}
}
