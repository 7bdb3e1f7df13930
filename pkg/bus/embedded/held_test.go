package embedded_test

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// sealRefused calls Seal with a key, and demands that it refuses.
func sealRefused(t *testing.T, dir string, k embedded.Keys, says string) {
	t.Helper()
	done, err := embedded.Seal(dir, k, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("want %q: %+v, %v", says, done, err)
	}
}

// external starts a NATS server that takes no lock.
func external(t *testing.T, dir string) (*bus.Bus, func()) {
	t.Helper()
	ns, err := server.NewServer(&server.Options{JetStream: true, StoreDir: dir, DontListen: true, NoSigs: true, MaxPayload: embedded.MaxPayload})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	end := func() { ns.Shutdown(); ns.WaitForShutdown() }
	b, err := bus.InProcess(ns, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		end()
		t.Fatal(err)
	}
	return b, func() { b.Close(); end() }
}

// letter puts one into DEAD.
func letter(t *testing.T, b *bus.Bus, id string) {
	t.Helper()
	if err := b.PublishDead(t.Context(), &taplinev1.DeadLetter{Tenant: "main", Stage: "shipper", Source: "job"}, id); err != nil {
		t.Fatal(err)
	}
}

// TestAStoreInUseIsNotSealed, whichever server has it, and nothing of what the server acknowledges
// meanwhile is lost.
func TestAStoreInUseIsNotSealed(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T, string) (*bus.Bus, func()){
		"of tapline run":       func(t *testing.T, dir string) (*bus.Bus, func()) { t.Helper(); return open(t, dir, none) },
		"of a NATS server":     external,
		"of one that is quiet": external,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS != "linux" && name == "of one that is quiet" {
				t.Skip("only Linux tells who has a file open")
			}
			dir := fill(t, none)
			b, end := start(t, dir)
			letter(t, b, "before")
			if name == "of one that is quiet" {
				sealRefused(t, dir, one, "the store is in use")
			} else {
				publishWhile(t, b, func() { sealRefused(t, dir, one, "the store is in use") })
			}
			letter(t, b, "after")
			before, err := b.Usage(t.Context(), bus.StreamDead)
			end()
			if err != nil || before.Messages < 2 {
				t.Errorf("%+v, %v", before, err)
			}
			whole(t, dir, none)
			whole(t, dir, one)
			b, end = open(t, dir, one)
			defer end()
			if after, err := b.Usage(t.Context(), bus.StreamDead); err != nil || after.Messages != before.Messages {
				t.Errorf("%+v, before %+v: %v", after, before, err)
			}
		})
	}
}

// publishWhile puts letters into DEAD until the work is done.
func publishWhile(t *testing.T, b *bus.Bus, work func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); work() }()
	for i := 0; ; i++ {
		letter(t, b, time.Duration(i).String())
		select {
		case <-done:
			return
		default:
		}
	}
}

// TestAStoreThatChangesIsNotSealed, also where the system does not tell who writes.
func TestAStoreThatChangesIsNotSealed(t *testing.T) {
	t.Parallel()
	dir := fill(t, none)
	metas, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", bus.StreamEvents, "meta.inf"))
	if err != nil || len(metas) != 1 {
		t.Fatal(metas, err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for at := time.Now(); ; at = at.Add(time.Second) {
			select {
			case <-stop:
				return
			default:
				_ = os.Chtimes(metas[0], at, at)
			}
		}
	}()
	sealRefused(t, dir, one, "changed meanwhile")
	close(stop)
	<-stopped
	whole(t, dir, none)
}

// TestAStoreThatWasNotShutDownIsEncrypted with all that it has.
func TestAStoreThatWasNotShutDownIsEncrypted(t *testing.T) {
	t.Parallel()
	dir := fill(t, none)
	b, end := open(t, dir, none)
	letter(t, b, "a")
	killed := copied(t, dir) // its server never ends
	end()
	whole(t, killed, one)
	b, end = open(t, killed, one)
	defer end()
	if u, err := b.Usage(t.Context(), bus.StreamDead); err != nil || u.Messages != 1 {
		t.Errorf("%+v, %v", u, err)
	}
	if n := readable(t, killed); n > 0 {
		t.Errorf("%d files are in clear", n)
	}
}

// TestAStoreMadeMeanwhile: an encryption was killed between its renames, and a server made an empty
// store. Neither is deleted.
func TestAStoreMadeMeanwhile(t *testing.T) {
	t.Parallel()
	original, dir := fill(t, none), bustest.Dir(t)
	encrypted := copied(t, original)
	whole(t, encrypted, one)
	empty := bustest.Dir(t)
	b, end := open(t, empty, none)
	err := b.Setup(t.Context(), bustest.Limits, nil)
	end()
	if err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "jetstream")
	for to, from := range map[string]string{filepath.Join(dir, "clear"): original, filepath.Join(dir, "encrypting", "jetstream"): encrypted, store: empty} {
		if err := os.CopyFS(to, os.DirFS(filepath.Join(from, "jetstream"))); err != nil {
			t.Fatal(err)
		}
	}
	before := contents(t, dir)
	sealRefused(t, dir, one, "move "+store+" out of")
	after := contents(t, dir)
	delete(after, filepath.Join(dir, "lock"))
	if !maps.Equal(before, after) {
		t.Errorf("%d files, before %d, or they were changed", len(after), len(before))
	}
	if err := os.Rename(store, filepath.Join(bustest.Dir(t), "aside")); err != nil {
		t.Fatal(err)
	}
	whole(t, dir, one)
}
