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
	"github.com/tapline/tapline/pkg/bus/embedded"
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

// target is a server on which a backup was restored once.
type target struct {
	server *embedded.Server
	bus    *bus.Bus
	order  backup.Order
	state  string
	closed int // pools
}

func newTarget(t *testing.T) *target {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "backup")
	if _, err := backup.Take(t.Context(), filled(t), dir, backup.Lock{}, func(backup.Part) {}); err != nil {
		t.Fatal(err)
	}
	x := &target{server: bustest.Server(t), order: order(t, dir, time.Now().Add(time.Hour))}
	x.bus = bustest.Connect(t, x.server)
	if err := x.bus.Setup(t.Context(), bustest.Limits, quota.Seeds("main")); err != nil {
		t.Fatal(err)
	}
	first, err := backup.Restore(t.Context(), x.bus, x.order)
	if err != nil {
		t.Fatal(err)
	}
	if x.state, x.closed = state(t, x.bus), len(first.Closed); x.closed == 0 {
		t.Fatal("no pool is closed")
	}
	return x
}

// interrupt restores over a connection that end may end, at once, later or when a part is told. It
// reports whether that cut the restore short; then the same over another connection must make all
// whole.
func (x *target) interrupt(t *testing.T, where string, end func(victim *bus.Bus, o *backup.Order)) bool {
	t.Helper()
	victim, err := x.server.Connect("victim")
	if err != nil {
		t.Fatal(err)
	}
	cut := x.order
	end(victim, &cut)
	_, err = backup.Restore(t.Context(), victim, cut)
	victim.Close()
	if err == nil {
		return false
	}
	again, err := backup.Restore(t.Context(), x.bus, x.order)
	if err != nil {
		t.Fatalf("after an interruption %s: %v", where, err)
	}
	if have := state(t, x.bus); have != x.state {
		t.Fatalf("after an interruption %s:\n%s, not\n%s", where, have, x.state)
	}
	if len(again.Closed) != x.closed {
		t.Fatalf("pools closed after an interruption %s: %v, at first %d", where, again.Closed, x.closed)
	}
	return true
}

// TestAnInterruptedRestore: a tapctl that is killed is, for the server, a connection that ends.
// Wherever that happens, the same restore once more makes all whole, and closes the pools of calls.
func TestAnInterruptedRestore(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	x := newTarget(t)
	for i, part := range bus.Parts() {
		left := i
		cut := x.interrupt(t, "after "+part, func(victim *bus.Bus, o *backup.Order) {
			o.Tell = func(backup.Part) {
				if left--; left < 0 {
					victim.Close()
				}
			}
		})
		if !cut {
			t.Errorf("a restore that has no connection after part %d of %d succeeds", i+1, len(bus.Parts()))
		}
	}
	interrupted := 0
	for delay := time.Duration(0); x.interrupt(t, "at "+delay.String(), func(victim *bus.Bus, _ *backup.Order) {
		time.AfterFunc(delay, victim.Close)
	}); delay += time.Millisecond + delay/4 {
		interrupted++
	}
	t.Logf("%d interruptions at times", interrupted)
}

// TestAnInterruptedBackup is none: whatever is in the folder.
func TestAnInterruptedBackup(t *testing.T) {
	t.Parallel()
	b := filled(t)
	for taken := range bus.Parts() {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(taken))
		ctx, cancel := context.WithCancel(t.Context())
		left := taken
		_, err := backup.Take(ctx, b, dir, backup.Lock{}, func(backup.Part) {
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
