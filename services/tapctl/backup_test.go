package tapctl_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// underWay tries to restore under a stage that waits for work.
func underWay(t *testing.T, c console, sub *bus.Subscription, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = sub.Next(ctx) // until the end of ctx
	}()
	refused := false
	for !refused && ctx.Err() == nil {
		code, _, errs := c.run("restore", dir)
		refused = code == 1 && strings.Contains(errs, "pulls from EVENTS as shipper")
	}
	if !refused {
		t.Error("a restore begins under a running stage")
	}
	cancel()
	<-done
	sub.Stop()
}

// TestBackupAndRestore: what was there is there again, with its places, revisions and what
// consumers have done; nothing is replaced silently, nothing damaged is taken.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("setup")
	b := bustest.Connect(t, c.Server)
	for i, source := range []string{"job", "RAW/99", "EVENTS/1"} { // there is no RAW/99
		letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "shipper", Feed: "clicksBlocked", Reason: "because", Source: source}
		if err := b.PublishDead(t.Context(), letter, string(rune('a'+i))); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		meta := bus.EventMeta{Tenant: "main", Table: table, MsgID: string(rune('a' + i))}
		if _, err := b.PublishEvents(t.Context(), []byte("row"), meta); err != nil {
			t.Fatal(err)
		}
	}
	sub, err := b.Subscribe(t.Context(), bus.ConsumerShipper, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		d, err := sub.Next(t.Context())
		if err == nil && i < 2 {
			err = d.Ack()
		} else if err == nil {
			err = d.RetryAfter(time.Hour)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	revision, err := state.Create(t.Context(), "main.x", []byte("1"))
	if err == nil {
		revision, err = state.Update(t.Context(), "main.x", []byte("2"), revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "backup")
	if out := c.must("backup", dir); !strings.Contains(out, "copied EVENTS: 3 messages") {
		t.Errorf("backup says %q", out)
	}
	if code, _, errs := c.run("backup", dir); code != 1 || !strings.Contains(errs, "folder of its own") {
		t.Errorf("into the same folder: status %d: %s", code, errs)
	}
	underWay(t, c, sub, dir)

	fresh := newConsole(t)
	fresh.must("setup")
	if out := fresh.must("restore", dir); !strings.Contains(out, "1 letters") || !strings.Contains(out, "pool siem of tenant main is closed") {
		t.Errorf("restore says %q", out)
	}
	if code, _, errs := fresh.run("restore", dir); code != 1 || !strings.Contains(errs, "--force") {
		t.Errorf("over something: status %d: %s", code, errs)
	}
	fresh.must("restore", dir, "--force", "--stopped", "2020-01-01T00:00:00Z")
	if out := fresh.must("quota"); strings.Contains(out, "lost") {
		t.Errorf("calls that everybody remembers: %s", out)
	}
	again := bustest.Connect(t, fresh.Server)
	if state, err = again.Bucket(t.Context(), bus.BucketState); err != nil {
		t.Fatal(err)
	}
	if e, err := state.Get(t.Context(), "main.x"); err != nil || string(e.Value) != "2" || e.Revision != revision {
		t.Errorf("%+v, %v", e, err)
	}
	left, err := again.Backlog(t.Context(), bus.ConsumerShipper)
	if err != nil || left.Done != 2 || left.Waiting != 1 {
		t.Errorf("%+v, %v", left, err)
	}
	// A letter of a name that was taken out is not taken for a repetition.
	if err := again.PublishDead(t.Context(), &taplinev1.DeadLetter{Tenant: "main", Stage: "shipper", Source: "RAW/99"}, "b"); err != nil {
		t.Fatal(err)
	}
	if u, err := again.Usage(t.Context(), bus.StreamDead); err != nil || u.Messages != 3 {
		t.Errorf("%+v, %v", u, err)
	}

	if out := fresh.must("restore", "--check", dir); !strings.Contains(out, "every file is what was written") {
		t.Errorf("check says %q", out)
	}
	file := filepath.Join(dir, "EVENTS")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"restore", dir, "--force"}, {"restore", "--check", dir}} {
		if code, _, errs := fresh.run(args...); code != 1 || !strings.Contains(errs, "EVENTS is not what was written") {
			t.Errorf("%v: status %d: %s", args, code, errs)
		}
	}
	if u, err := again.Usage(t.Context(), bus.StreamEvents); err != nil || u.Messages != 3 {
		t.Errorf("a damaged backup has touched something: %+v, %v", u, err)
	}
	if err := os.Remove(filepath.Join(dir, "manifest.json")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := fresh.run("restore", dir); code != 1 || !strings.Contains(errs, "no backup in") {
		t.Errorf("without a manifest: status %d: %s", code, errs)
	}
}
