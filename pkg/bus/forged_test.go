package bus_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
)

// forgeries are headers with which a message passes for a word of the server, or for another
// message. The last four are no headers of a decent client: what the server appends to them is not
// read, or not all of it.
var forgeries = []string{
	"Nats-Subject: dead.main.enricher.y\r\n", "Nats-Sequence: 1\r\n", "Nats-Sequence: 99\r\n", "Nats-Stream: X\r\nNats-Time-Stamp: x\r\n",
	"Nats-Last-Sequence: 7\r\nNats-Num-Pending: 9\r\n", "Status: 404\r\n", "Status: 503\r\n", "Status: 999\r\n",
	"Status: 204\r\nNats-Num-Pending: 9\r\nNats-Last-Sequence: 1\r\n",
	"Status: 404\r\n\r\nX: y\r\n", "Status: 204\r\nNats-Num-Pending: 0\r\n\r\n", "garbage\r\n", "Status: 404\r\nX: cut",
}

// forge stores an empty message with headers of any form.
func forge(t *testing.T, server *embedded.Server, subject, headers string) {
	t.Helper()
	c, err := server.InProcessConn()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	deadline := time.Now().Add(time.Minute)
	if err := c.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	headers = "NATS/1.0\r\n" + headers + "\r\n"
	// Nothing between the two ends keeps what the other one does not read yet.
	go func() {
		_, _ = fmt.Fprintf(c, "CONNECT {\"headers\":true,\"verbose\":false}\r\nSUB stored 1\r\nHPUB %s stored %d %d\r\n%s\r\n", subject, len(headers), len(headers), headers) // else nothing is stored
	}()
	awaitWord(t, c, "MSG stored")
}

// awaitWord reads until a word comes.
func awaitWord(t *testing.T, c net.Conn, word string) {
	t.Helper()
	for had := ""; ; {
		var next [1]byte
		if _, err := io.ReadFull(c, next[:]); err != nil {
			t.Fatalf("%v; %q", err, had)
		}
		if had += string(next[:]); len(had) >= len(word) && had[len(had)-len(word):] == word {
			return
		}
	}
}

// TestForgedHeaders: whatever headers a publisher gives to a message, it is visited once, and so is
// everything before and behind it.
func TestForgedHeaders(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	want := ""
	for i, headers := range forgeries {
		bustest.Publish(t, server, fmt.Sprintf("dead.main.shipper.x.%d-good", i), []byte("a letter"))
		forge(t, server, fmt.Sprintf("dead.main.shipper.x.%d", i), headers)
	}
	forge(t, server, "dead.main.shipper.x.again", forgeries[9]) // one behind the other
	forge(t, server, "dead.main.shipper.x.at-the-end", forgeries[9])
	for i := range 2*len(forgeries) + 2 {
		want += fmt.Sprint(i+1, " ")
	}
	got := ""
	err := b.Scan(t.Context(), bus.DeadLetters(), func(m bus.Stored) (bool, error) {
		got += fmt.Sprint(m.Sequence, " ")
		return len(got) <= len(want), nil
	})
	if err != nil || got != want {
		t.Errorf("visited %s, %v; want %s", got, err, want)
	}
	for i := range uint64(2*len(forgeries) + 2) {
		if m, err := b.Next(t.Context(), bus.DeadLetters(), i+1); err != nil || m.Sequence != i+1 {
			t.Errorf("from %d comes %d, %v", i+1, m.Sequence, err)
		}
		if m, err := b.Message(t.Context(), bus.StreamDead, i+1); err != nil || m.Sequence != i+1 {
			t.Errorf("message %d is %d, %v", i+1, m.Sequence, err)
		}
	}
}

// TestForgedValues: a value with the headers of another one hides none, and one whose headers
// cannot be read is an error.
func TestForgedValues(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	ledger, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.Put(t.Context(), "sent.main.1", nil); err != nil {
		t.Fatal(err)
	}
	for i, headers := range forgeries {
		forge(t, server, "$KV.LEDGER.sent.main.2", headers)
		if err := ledger.Put(t.Context(), "sent.main.3", nil); err != nil {
			t.Fatal(err)
		}
		pairs, err := ledger.Select(t.Context(), "sent.main.*")
		switch {
		case errors.Is(err, bus.ErrIncomplete) && i >= 9:
		case err != nil || len(pairs) != 3 || pairs[0].Key != "sent.main.1" || pairs[1].Key != "sent.main.2" || pairs[2].Key != "sent.main.3":
			t.Errorf("%q: %v, %v", headers, pairs, err)
		}
	}
}

// TestAForgedMarker is that of its job, with its own sequence.
func TestAForgedMarker(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	for i, headers := range forgeries {
		id := fmt.Sprintf("main/all/20260311T080000Z/20260311T090000Z/live/%d", i)
		sequence, err := b.StoreJob(t.Context(), bus.JobOutput{Tenant: "main", JobID: id, Batches: batches(1)})
		if err != nil {
			t.Fatal(err)
		}
		stored, err := b.Message(t.Context(), bus.StreamRaw, sequence)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Delete(t.Context(), bus.StreamRaw, sequence); err != nil {
			t.Fatal(err)
		}
		forge(t, server, stored.Subject, headers)
		if got, _, err := b.Marker(t.Context(), "main", id); err != nil || got != sequence+1 {
			t.Errorf("%q: %d, %v; want %d", headers, got, err, sequence+1)
		}
	}
}
