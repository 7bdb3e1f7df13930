package backup_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapctl/internal/backup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// filled is a server with something in most parts, of which a part was worked on.
func filled(t *testing.T) *bus.Bus {
	t.Helper()
	b := bustest.Start(t, quota.Seeds("main")...)
	for i := range 200 {
		letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "shipper", Feed: "clicksBlocked", Reason: "because", Source: fmt.Sprintf("EVENTS/%d", i)}
		if err := b.PublishDead(t.Context(), letter, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		meta := bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.clicks", MsgID: fmt.Sprint(i)}
		if _, err := b.PublishEvents(t.Context(), make([]byte, 10_000), meta); err != nil {
			t.Fatal(err)
		}
	}
	sub, err := b.Subscribe(t.Context(), bus.ConsumerShipper, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	for range 50 {
		d, err := sub.Next(t.Context())
		if err == nil {
			err = d.Ack()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// state says what is there.
func state(t *testing.T, b *bus.Bus) string {
	t.Helper()
	var said strings.Builder
	for _, stream := range bus.Parts() {
		u, err := b.Usage(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&said, "%s: %d messages\n", stream, u.Messages)
	}
	left, err := b.Backlog(t.Context(), bus.ConsumerShipper)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&said, "shipper: %d done, %d wait, %d in work\n", left.Done, left.Waiting, left.InWork)
	return said.String()
}

func order(t *testing.T, dir string, now time.Time) backup.Order {
	t.Helper()
	o := backup.Order{Dir: dir, Limits: bustest.Limits, Force: true, Stopped: now, Now: func() time.Time { return now }, Tell: func(backup.Part) {}}
	if err := config.Load(&o.Quota, nil); err != nil {
		t.Fatal(err)
	}
	return o
}

// TestAnInterruptedRestore: a tapctl that is killed is, for the server, a connection that ends. Wherever that happens,
// the same restore once more makes all whole, and closes the pools of calls.
func TestAnInterruptedRestore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "backup")
	if _, err := backup.Take(t.Context(), filled(t), dir, func(backup.Part) {}); err != nil {
		t.Fatal(err)
	}
	server := bustest.Server(t)
	b := bustest.Connect(t, server)
	if err := b.Setup(t.Context(), bustest.Limits, quota.Seeds("main")); err != nil {
		t.Fatal(err)
	}
	o := order(t, dir, time.Now().Add(time.Hour))
	first, err := backup.Restore(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	want, interrupted := state(t, b), 0
	for delay := time.Duration(0); ; delay += time.Millisecond + delay/4 {
		victim, err := server.Connect("victim")
		if err != nil {
			t.Fatal(err)
		}
		end := time.AfterFunc(delay, victim.Close)
		_, err = backup.Restore(t.Context(), victim, o)
		end.Stop()
		victim.Close()
		if err == nil {
			break
		}
		interrupted++
		again, err := backup.Restore(t.Context(), b, o)
		if err != nil {
			t.Fatalf("after an interruption at %s: %v", delay, err)
		}
		if have := state(t, b); have != want {
			t.Fatalf("after an interruption at %s:\n%s, not\n%s", delay, have, want)
		}
		if len(again.Closed) != len(first.Closed) || len(first.Closed) == 0 {
			t.Fatalf("pools closed after an interruption at %s: %v, at first: %v", delay, again.Closed, first.Closed)
		}
	}
	if t.Logf("%d interruptions", interrupted); interrupted < 5 {
		t.Error("too few to say anything")
	}
}

// TestAnInterruptedBackup is none: whatever is in the folder.
func TestAnInterruptedBackup(t *testing.T) {
	t.Parallel()
	b := filled(t)
	for taken := range bus.Parts() {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(taken))
		ctx, cancel := context.WithCancel(t.Context())
		left := taken
		_, err := backup.Take(ctx, b, dir, func(backup.Part) {
			if left--; left < 0 {
				cancel()
			}
		})
		cancel()
		if taken < len(bus.Parts())-1 && err == nil {
			t.Errorf("a backup of %d parts is called whole", taken+1)
		}
		_, opened := backup.Open(dir)
		if (opened == nil) != (err == nil) || opened != nil && !errors.Is(opened, backup.ErrNoBackup) {
			t.Errorf("after %d parts: taken: %v, opened: %v", taken+1, err, opened)
		}
	}
}
