package bus_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func TestMain(m *testing.M) {
	if bustest.Main() {
		return
	}
	goleak.VerifyTestMain(m)
}

var hour = window.New(time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC), time.Date(2026, 3, 11, 9, 0, 0, 0, time.UTC))

func job() *taplinev1.Job {
	return &taplinev1.Job{
		Id: "main/all/20260311T080000Z/20260311T090000Z/live/0", Tenant: "main",
		Feeds:  []string{"clicksBlocked", "clicksPermitted", "messagesBlocked", "messagesDelivered"},
		Window: hour.Proto(), Lane: taplinev1.Lane_LANE_LIVE, PlannedAt: timestamppb.Now(),
	}
}

func batches(n int) iter.Seq2[bus.RawMessage, error] {
	return func(yield func(bus.RawMessage, error) bool) {
		for i := range n {
			if !yield(bus.RawMessage{Feed: "clicksBlocked", Data: fmt.Appendf(nil, "batch %d", i)}, nil) {
				return
			}
		}
	}
}

func TestJobIsRefusedWhileOutstandingAndTakenAfterItsAck(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	if err := b.PublishJob(t.Context(), job()); err != nil {
		t.Fatal(err)
	}
	if err := b.PublishJob(t.Context(), job()); !errors.Is(err, bus.ErrOutstanding) {
		t.Fatalf("second publish: %v", err)
	}
	sub, err := b.Subscribe(t.Context(), bus.ConsumerFetcherLive, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	d, err := sub.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.PublishJob(t.Context(), job()); !errors.Is(err, bus.ErrOutstanding) {
		t.Fatalf("publish while in work: %v", err)
	}
	if err := d.Ack(); err != nil {
		t.Fatal(err)
	}
	until(t, func() error { return b.PublishJob(t.Context(), job()) })
}

func TestWindowIsStoredOnceWithItsMarker(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	w := bus.JobOutput{Tenant: "main", JobID: job().GetId(), Batches: batches(40), Marker: []byte("account")}
	if _, _, err := b.Marker(t.Context(), "main", w.JobID); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("marker before: %v", err)
	}
	seq, err := b.StoreJob(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.StoreJob(t.Context(), w); !errors.Is(err, bus.ErrAlreadyStored) {
		t.Fatalf("second publish: %v", err)
	}
	got, data, err := b.Marker(t.Context(), "main", w.JobID)
	if err != nil || got != seq || string(data) != "account" {
		t.Fatalf("marker %d %q, %v; want %d", got, data, err, seq)
	}
	last, err := b.Message(t.Context(), bus.StreamRaw, seq-1)
	if err != nil || string(last.Data) != "batch 39" {
		t.Errorf("message before the marker: %q, %v", last.Data, err)
	}
	usage, err := b.Usage(t.Context(), bus.StreamRaw)
	if err != nil || usage.Messages != 41 {
		t.Errorf("RAW holds %d messages, %v; want 41", usage.Messages, err)
	}
}

// TestEmptyWindowIsOneMessage, and no less stored once than others: also after a run that had
// batches, and before one.
func TestEmptyWindowIsOneMessage(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	empty := bus.JobOutput{Tenant: "main", JobID: job().GetId(), Batches: batches(0), Marker: []byte("nothing")}
	seq, err := b.StoreJob(t.Context(), empty)
	if err != nil || seq != 1 {
		t.Fatalf("sequence %d, %v", seq, err)
	}
	full := empty
	full.Batches, full.Marker = batches(2), []byte("account")
	for _, w := range []bus.JobOutput{empty, full} {
		if _, err := b.StoreJob(t.Context(), w); !errors.Is(err, bus.ErrAlreadyStored) {
			t.Errorf("%s after it: %v", w.Marker, err)
		}
	}
	full.JobID += "0"
	if _, err := b.StoreJob(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	empty.JobID = full.JobID
	if _, err := b.StoreJob(t.Context(), empty); !errors.Is(err, bus.ErrAlreadyStored) {
		t.Errorf("nothing after batches: %v", err)
	}
	if usage, err := b.Usage(t.Context(), bus.StreamRaw); err != nil || usage.Messages != 4 {
		t.Errorf("RAW holds %d messages, %v; want two markers and two batches", usage.Messages, err)
	}
}

func TestAbandonedWindowLeavesNothing(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	broken := errors.New("spool broke")
	w := bus.JobOutput{Tenant: "main", JobID: job().GetId(), Marker: []byte("account"), Batches: func(yield func(bus.RawMessage, error) bool) {
		for m, err := range batches(3) {
			yield(m, err)
		}
		yield(bus.RawMessage{}, broken)
	}}
	if _, err := b.StoreJob(t.Context(), w); !errors.Is(err, broken) {
		t.Fatalf("publish: %v", err)
	}
	if usage, err := b.Usage(t.Context(), bus.StreamRaw); err != nil || usage.Messages != 0 {
		t.Errorf("RAW holds %d messages, %v", usage.Messages, err)
	}
}

// TestHandlerErrorDecides feeds one message through every outcome.
func TestHandlerErrorDecides(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	for i := range 4 {
		if _, err := b.PublishEvents(t.Context(), fmt.Appendf(nil, "%d", i), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var mu sync.Mutex
	seen := map[string]int{}
	done := 0
	err := b.Consume(ctx, bus.Consumption{
		Stage: "shipper", Tenant: "main", Consumer: bus.ConsumerShipper, Workers: 2, Log: slog.New(slog.DiscardHandler),
	}, func(_ context.Context, d *bus.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		what := string(d.Data())
		seen[what]++
		switch {
		case what == "1":
			return bus.Permanent(errors.New("unusable"))
		case what == "2" && seen[what] == 1:
			return bus.RetryAfter(errors.New("not now"), 10*time.Millisecond)
		case what == "3" && seen[what] == 1:
			return errors.New("something passing")
		}
		if done++; done == 3 {
			cancel()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen["0"] != 1 || seen["1"] != 1 || seen["2"] != 2 || seen["3"] != 2 {
		t.Errorf("deliveries %v", seen)
	}
	if dead, err := b.Usage(t.Context(), bus.StreamDead); err != nil || dead.Messages != 1 {
		t.Errorf("DEAD holds %d messages, %v", dead.Messages, err)
	}
	until(t, func() error {
		backlog, err := b.Backlog(t.Context(), bus.ConsumerShipper)
		if err == nil && (backlog.Waiting != 0 || backlog.InWork != 0) {
			err = fmt.Errorf("backlog %+v", backlog)
		}
		return err
	})
}

func TestConsumeFinishesWorkInHand(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	if _, err := b.PublishEvents(t.Context(), []byte("x"), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: "x"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := b.Consume(ctx, bus.Consumption{
		Stage: "shipper", Tenant: "main", Consumer: bus.ConsumerShipper, Log: slog.New(slog.DiscardHandler),
	}, func(work context.Context, _ *bus.Delivery) error {
		cancel() // the end of taking
		return work.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() error {
		backlog, err := b.Backlog(t.Context(), bus.ConsumerShipper)
		if err == nil && (backlog.Waiting != 0 || backlog.InWork != 0) {
			err = fmt.Errorf("backlog %+v", backlog)
		}
		return err
	})
}

func TestBucketComparesAndSets(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, bus.Seed{Bucket: bus.BucketQuota, Key: "main.siem", Value: []byte("0")})
	quota, err := b.Bucket(t.Context(), bus.BucketQuota)
	if err != nil {
		t.Fatal(err)
	}
	e, err := quota.Get(t.Context(), "main.siem")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := quota.Update(t.Context(), "main.siem", []byte("1"), e.Revision); err != nil {
		t.Fatal(err)
	}
	if _, err := quota.Update(t.Context(), "main.siem", []byte("2"), e.Revision); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("stale update: %v", err)
	}
	if _, err := quota.Update(t.Context(), "main.siem", []byte("2"), 0); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("create of an existing key: %v", err)
	}
	if _, err := quota.Get(t.Context(), "main.other"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("unknown key: %v", err)
	}
}

// TestSeedsAreForTheFirstStartOnly: a lost key must not come back with a full budget.
func TestSeedsAreForTheFirstStartOnly(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	if err := b.Setup(t.Context(), bustest.Limits, []bus.Seed{{Bucket: bus.BucketQuota, Key: "main.siem"}}); err != nil {
		t.Fatal(err)
	}
	quota, err := b.Bucket(t.Context(), bus.BucketQuota)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := quota.Get(t.Context(), "main.siem"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a later setup planted a seed: %v", err)
	}
}

func TestServicesSayThatSetupIsMissing(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t, bustest.Server(t))
	if _, err := b.Subscribe(t.Context(), bus.ConsumerEnricher, 1); !errors.Is(err, bus.ErrNotSetUp) {
		t.Errorf("subscribe: %v", err)
	}
	if _, err := b.Bucket(t.Context(), bus.BucketState); !errors.Is(err, bus.ErrNotSetUp) {
		t.Errorf("bucket: %v", err)
	}
}

// until polls with a deadline.
func until(t *testing.T, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still: %v", err)
		case <-tick.C:
		}
	}
}

// TestAListIsWholeOrAnError: whenever its reader's time ends, a list is not taken for whole that is
// not.
func TestAListIsWholeOrAnError(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	const keys = 900
	bucket, err := bustest.Start(t).Bucket(t.Context(), bus.BucketSeen)
	if err != nil {
		t.Fatal(err)
	}
	changes := make([]bus.Change, keys)
	for i := range changes {
		changes[i] = bus.Change{Key: fmt.Sprintf("main.%d", i), Value: make([]byte, 1000)}
	}
	if err := bucket.UpdateAll(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	for name, list := range map[string]func(context.Context) (int, error){
		"keys": func(ctx context.Context) (int, error) {
			listed, err := bucket.Keys(ctx, "main.*")
			return len(listed), err
		},
		"keys and values": func(ctx context.Context) (int, error) {
			pairs, err := bucket.Select(ctx, "main.*")
			return len(pairs), err
		},
	} {
		t.Run(name, func(t *testing.T) {
			for patience := time.Duration(0); ; patience += 50*time.Microsecond + patience/8 {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				listed, err := list(ctx)
				cancel()
				if err != nil {
					continue
				}
				if listed != keys {
					t.Fatalf("after %s: %d of %d, and no error", patience, listed, keys)
				}
				return
			}
		})
	}
	if pairs, err := bucket.Select(t.Context(), "others.*"); err != nil || len(pairs) != 0 {
		t.Errorf("keys that do not exist: %d, %v", len(pairs), err)
	}
}
