package bus_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// deadLetters are those in DEAD, in order.
func deadLetters(t *testing.T, b *bus.Bus) (letters []*taplinev1.DeadLetter) {
	t.Helper()
	usage, err := b.Usage(t.Context(), bus.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	for at := usage.First; at <= usage.Last; at++ {
		m, err := b.Message(t.Context(), bus.StreamDead, at)
		if err != nil {
			t.Fatal(err)
		}
		l := &taplinev1.DeadLetter{}
		if err := proto.Unmarshal(m.Data, l); err != nil {
			t.Fatal(err)
		}
		letters = append(letters, l)
	}
	return letters
}

// TestEveryLetterCanBeStored: the words of a letter are foreign, and a letter that cannot be stored
// would keep its message for ever.
func TestEveryLetterCanBeStored(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	long := strings.Repeat("x.y z\n", 1<<20)
	for i, l := range []*taplinev1.DeadLetter{
		{Tenant: "main", Stage: "s", Feed: "f", Reason: "not \xff text", Payload: []byte("1")},
		{Tenant: "main", Stage: "s", Feed: "\xff\xfe", Table: "\xff", Reason: "r", Payload: []byte("2"), Source: "\xff"},
		{Tenant: "main", Stage: "s", Feed: long, Table: long, Reason: long, Source: long, Payload: []byte("3")},
	} {
		if err := b.PublishDead(t.Context(), l, long); err != nil {
			t.Fatalf("letter %d: %v", i, err)
		}
	}
	letters := deadLetters(t, b)
	if len(letters) != 3 {
		t.Fatalf("%d letters", len(letters))
	}
	for i, l := range letters {
		if string(l.GetPayload()) != string(rune('1'+i)) || !utf8.ValidString(l.GetReason()) || len(l.GetReason()) > 16<<10 || len(l.GetFeed()) > 300 {
			t.Errorf("letter %d: %.100v", i, l)
		}
	}
}

// TestALargePayloadIsKeptWhole: a message as large as the server takes goes to DEAD in pieces,
// once, and is never delivered again.
func TestALargePayloadIsKeptWhole(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	poison := bytes.Repeat([]byte("poison! "), 8<<20/8-16)
	bustest.Publish(t, server, "raw.main.f", poison)
	bustest.Publish(t, server, "raw.main.f", []byte("good"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	good := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- b.Consume(ctx, bus.Consumption{Stage: "s", Tenant: "main", Consumer: bus.ConsumerEnricher, Workers: 1, Log: slog.New(slog.DiscardHandler)},
			func(_ context.Context, d *bus.Delivery) error {
				if string(d.Data()) != "good" {
					return bus.Permanent(errors.New("it is poison: " + string(d.Data())))
				}
				close(good)
				return nil
			})
	}()
	<-good
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var whole, follows []byte
	for i, l := range deadLetters(t, b) {
		if l.GetPart() != uint32(i+1) || !bytes.Equal(l.GetFollows(), follows) {
			t.Errorf("piece %d: part %d", i, l.GetPart())
		}
		whole = append(whole, l.GetPayload()...)
		sum := sha256.Sum256(append(follows, l.GetPayload()...))
		follows = sum[:]
		if more := len(whole) < len(poison); l.GetMore() != more {
			t.Errorf("piece %d: more %v", i, l.GetMore())
		}
	}
	if !bytes.Equal(whole, poison) {
		t.Errorf("DEAD has %d bytes of %d", len(whole), len(poison))
	}
	if left, err := b.Backlog(t.Context(), bus.ConsumerEnricher); err != nil || left.Waiting > 0 || left.InWork > 0 {
		t.Errorf("%+v, %v", left, err)
	}
}

// TestALetterUnderWayIsNotStored: the server refuses a letter while another one of its subject is
// under way, which may fail yet.
func TestALetterUnderWayIsNotStored(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	letter := func() *taplinev1.DeadLetter {
		return &taplinev1.DeadLetter{Tenant: "main", Stage: "s", Feed: "f", Reason: "r", Payload: []byte("1")}
	}
	always := faults.Fail(bustest.Store(bus.StreamDead), bustest.Fault{Busy: true, Times: -1})
	if err := b.PublishDead(t.Context(), letter(), "id"); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("a letter that is under way for ever: %v", err)
	}
	always.End()
	if usage, err := b.Usage(t.Context(), bus.StreamDead); err != nil || usage.Last != 0 {
		t.Fatalf("DEAD has messages up to %d, %v", usage.Last, err)
	}
	twice := faults.Fail(bustest.Store(bus.StreamDead), bustest.Fault{Busy: true, Times: 2})
	for range 2 { // the second finds the first
		if err := b.PublishDead(t.Context(), letter(), "id"); err != nil {
			t.Error(err)
		}
	}
	if n := len(deadLetters(t, b)); n != 1 || twice.Met() != 2 {
		t.Errorf("%d letters, want 1; %d times under way, want 2", n, twice.Met())
	}
}
