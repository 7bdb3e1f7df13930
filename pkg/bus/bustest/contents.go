package bustest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapline/tapline/pkg/bus/embedded"
)

// Message is what a stream has at one place.
type Message struct {
	Sequence        uint64
	Subject, Header string
	Data            []byte
}

// Messages gives everything in a stream, with no part of the bus between.
func Messages(tb testing.TB, s *embedded.Server, stream string) []Message {
	tb.Helper()
	_, from, end := lookUp(tb, s, stream)
	defer end()
	var list []Message
	at := from.CachedInfo().State
	for sequence := max(at.FirstSeq, 1); sequence <= at.LastSeq; sequence++ {
		m, err := from.GetMsg(tb.Context(), sequence)
		if errors.Is(err, jetstream.ErrMsgNotFound) { // deleted, or replaced
			continue
		}
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, Message{sequence, m.Subject, fmt.Sprint(m.Header), m.Data})
	}
	return list
}

// Refuse lets a stream, or the one of a bucket, take nothing until the next setup. What is in it
// can be read.
func Refuse(tb testing.TB, s *embedded.Server, stream string) {
	tb.Helper()
	js, full, end := lookUp(tb, s, stream)
	defer end()
	cfg := full.CachedInfo().Config
	cfg.MaxMsgSize = 1
	if _, err := js.UpdateStream(tb.Context(), cfg); err != nil {
		tb.Fatal(err)
	}
}

// lookUp finds a stream over a connection of its own, which end closes.
func lookUp(tb testing.TB, s *embedded.Server, stream string) (js jetstream.JetStream, found jetstream.Stream, end func()) {
	tb.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		tb.Fatal(err)
	}
	if js, err = jetstream.New(nc); err != nil {
		tb.Fatal(err)
	}
	if found, err = js.Stream(tb.Context(), stream); err != nil {
		tb.Fatal(err)
	}
	return js, found, nc.Close
}
