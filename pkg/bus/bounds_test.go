package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestEverythingOnTheDiskIsBounded: every stream and bucket has a bound of bytes and one of a
// message, and takes nothing in the place of what it has.
func TestEverythingOnTheDiskIsBounded(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	if err := bustest.Connect(t, server).Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	js := rawStreams(t, server)
	for _, name := range bus.Parts() {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		c := stream.CachedInfo().Config
		if c.MaxBytes < 256<<20 || c.MaxBytes > 4<<30 || c.MaxMsgSize < 1<<20 || c.MaxMsgSize > 8<<20 || c.Discard != jetstream.DiscardNew {
			t.Errorf("%s: %d bytes, %d a message, discards %v", name, c.MaxBytes, c.MaxMsgSize, c.Discard)
		}
	}
}

func rawStreams(t *testing.T, server nats.InProcessConnProvider) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// TestBoundsComeToWhatIsStored: an installation without bounds gets them, but not below what it
// has; later it gets those of the setting.
func TestBoundsComeToWhatIsStored(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	js := rawStreams(t, server)
	boundless, err := js.Stream(t.Context(), bus.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	c := boundless.CachedInfo().Config
	c.MaxBytes, c.MaxMsgSize = -1, -1
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"dead.main.shipper.x.a", "dead.main.shipper.x.b"} {
		bustest.Publish(t, server, subject, make([]byte, 1<<20))
	}
	few := bustest.Limits
	few.DeadMaxBytes = 1 << 20
	for round := range 4 {
		if err := b.Setup(t.Context(), few, nil); err != nil {
			t.Fatal(err)
		}
		u, err := b.Usage(t.Context(), bus.StreamDead)
		if err != nil || u.Messages < 2 || u.MaxBytes < int64(u.Bytes) || u.MaxBytes > 3<<20 {
			t.Errorf("after %d rounds: %+v, %v", round, u, err)
		}
		fill(t, js, fmt.Sprintf("dead.main.shipper.y.%d", round))
	}
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	if u, err := b.Usage(t.Context(), bus.StreamDead); err != nil || u.MaxBytes != 4<<30 {
		t.Errorf("%+v, %v", u, err)
	}
}

// TestAJobThatIsTooLarge: no repetition makes it smaller, so it is a permanent error.
func TestAJobThatIsTooLarge(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	large := job()
	large.Targets = []*taplinev1.Target{{Id: strings.Repeat("x", 5<<20)}}
	if err := b.PublishJob(t.Context(), large); err != nil {
		t.Errorf("5 MiB: %v", err)
	}
	js := rawStreams(t, server)
	jobs, err := js.Stream(t.Context(), bus.StreamJobs)
	if err != nil {
		t.Fatal(err)
	}
	c := jobs.CachedInfo().Config
	c.MaxMsgSize = 1 << 20
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := b.PublishJob(t.Context(), large); !bus.IsPermanent(err) {
		t.Errorf("larger than the stream takes: %v", err)
	}
	large.Targets[0].Id = strings.Repeat("x", 9<<20)
	if err := b.PublishJob(t.Context(), large); !bus.IsPermanent(err) {
		t.Errorf("larger than the server takes: %v", err)
	}
}

// fill publishes on subjects below a prefix until the server refuses one.
func fill(t *testing.T, js jetstream.JetStream, prefix string) {
	t.Helper()
	for i := range 200 {
		if _, err := js.Publish(t.Context(), fmt.Sprintf("%s-%d", prefix, i), make([]byte, 100_000)); err != nil {
			return
		}
	}
	t.Fatal("the stream takes everything")
}

// TestWhatIsFullRefuses: a full stream or bucket is an error of its own, loses nothing that it has,
// lets the others alone, and takes everything once it has room.
func TestWhatIsFullRefuses(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	bucket := func(name string) *bus.Bucket {
		k, err := b.Bucket(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	known, seen := bucket(bus.BucketKnown), bucket(bus.BucketSeen)
	writes := map[string]func(ctx context.Context, i string) error{
		bus.StreamJobs: func(ctx context.Context, i string) error {
			j := job()
			j.Id = strings.Replace(j.GetId(), "T090000Z", "T090"+i+"00Z", 1)
			end := hour.End
			if n, err := strconv.Atoi(i); err == nil {
				end = end.Add(time.Duration(n) * time.Minute)
			}
			j.Window = window.New(hour.Start, end).Proto()
			return b.PublishJob(ctx, j)
		},
		bus.StreamDead: func(ctx context.Context, i string) error {
			return b.PublishDead(ctx, &taplinev1.DeadLetter{Tenant: "main", Stage: "shipper", Payload: []byte(i)}, i)
		},
		"KV_" + bus.BucketKnown: func(ctx context.Context, i string) error { return known.Put(ctx, "main."+i, []byte(i)) },
		"KV_" + bus.BucketSeen: func(ctx context.Context, i string) error {
			return seen.UpdateAll(ctx, []bus.Change{{Key: "main.a" + i, Value: []byte(i)}, {Key: "main.b" + i, Value: []byte(i)}})
		},
	}
	for name, write := range writes {
		if name != bus.StreamJobs {
			if err := write(t.Context(), "0"); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		before, err := b.Usage(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		room := bustest.Fill(t, server, name)
		if err := write(t.Context(), "1"); !errors.Is(err, bus.ErrFull) || errors.Is(err, bus.ErrOutstanding) {
			t.Errorf("%s is full: %v", name, err)
		}
		for other, write := range writes {
			if err := write(t.Context(), "2"); other != name && err != nil && !errors.Is(err, bus.ErrOutstanding) && !errors.Is(err, bus.ErrConflict) {
				t.Errorf("%s while %s is full: %v", other, name, err)
			}
		}
		if after, err := b.Usage(t.Context(), name); err != nil || after.Messages != before.Messages {
			t.Errorf("%s had %d messages and has %d, %v", name, before.Messages, after.Messages, err)
		}
		room()
		if err := write(t.Context(), "1"); err != nil {
			t.Errorf("%s has room: %v", name, err)
		}
	}
}
