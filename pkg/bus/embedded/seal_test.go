package embedded_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// secret is what must not be found on the disk of an encrypted store.
const secret = "victim@customer.example"

var (
	one   = embedded.Keys{Key: "one-0123456789abcdef0123456789abcdef"}
	two   = embedded.Keys{Key: "two-0123456789abcdef0123456789abcdef"}
	other = embedded.Keys{Key: "other-0123456789abcdef0123456789abc"}
	none  = embedded.Keys{}
	// oneToTwo replaces the first key by the second.
	oneToTwo = embedded.Keys{Key: two.Key, Previous: one.Key}
)

const (
	rows = 12 // of two thirds of a megabyte, so that EVENTS has several blocks
	done = 5  // of these, acknowledged by the shipper
	jobs = 3  // all of them worked off
)

// open starts a server and gives what ends it.
func open(t *testing.T, dir string, k embedded.Keys) (*bus.Bus, func()) {
	t.Helper()
	s, err := embedded.Start(embedded.Options{Dir: dir, NoSync: true, Keys: k, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Connect("test")
	if err != nil {
		s.Stop()
		t.Fatal(err)
	}
	return b, func() { b.Close(); s.Stop() }
}

// fill makes a store with rows of which some were shipped, and an entry in a bucket.
func fill(t *testing.T, k embedded.Keys) (dir string) {
	t.Helper()
	dir = bustest.Dir(t)
	b, end := open(t, dir, k)
	defer end()
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		meta := bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.clicks", MsgID: fmt.Sprint(i)}
		if _, err := b.PublishEvents(t.Context(), row(i), meta); err != nil {
			t.Fatal(err)
		}
	}
	sub, err := b.Subscribe(t.Context(), bus.ConsumerShipper, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	for range done {
		d, err := sub.Next(t.Context())
		if err == nil {
			err = d.Ack()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	workOff(t, b)
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err == nil {
		_, err = state.Create(t.Context(), "main.x", []byte(secret))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// workOff takes jobs until JOBS is empty.
func workOff(t *testing.T, b *bus.Bus) {
	t.Helper()
	work, err := b.Subscribe(t.Context(), bus.ConsumerFetcherLive, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer work.Stop()
	for i := range jobs {
		start := time.Date(2026, 3, 11, i, 0, 0, 0, time.UTC)
		job := &taplinev1.Job{
			Tenant: "main", Id: fmt.Sprint("main/all/20260311T080000Z/20260311T090000Z/live/", i), Lane: taplinev1.Lane_LANE_LIVE, Feeds: []string{"clicksBlocked"},
			Window: window.New(start, start.Add(time.Hour)).Proto(),
		}
		if err := b.PublishJob(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		d, err := work.Next(t.Context())
		if err == nil {
			err = d.Ack()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func row(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%d %s ", i, secret), 30_000) }

// whole fails the test unless everything of fill is there, and ends the server.
func whole(t *testing.T, dir string, k embedded.Keys) {
	t.Helper()
	b, end := open(t, dir, k)
	defer end()
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	left, err := b.Backlog(t.Context(), bus.ConsumerShipper)
	if err != nil || left.Done != done || int(left.Waiting)+left.InWork != rows-done {
		t.Errorf("the shipper is at %+v: %v", left, err)
	}
	if u, err := b.Usage(t.Context(), bus.StreamJobs); err != nil || u.Messages != 0 || u.Last != jobs {
		t.Errorf("JOBS: %+v, %v", u, err)
	}
	sub, err := b.Subscribe(t.Context(), bus.ConsumerShipper, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	for i := done; i < rows; i++ { // not acknowledged: the next look finds the same
		if d, err := sub.Next(t.Context()); err != nil || !bytes.Equal(d.Data(), row(i)) {
			t.Fatalf("row %d: %v", i, err)
		}
	}
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := state.Get(t.Context(), "main.x"); err != nil || string(e.Value) != secret {
		t.Errorf("the entry in STATE: %q, %v", e.Value, err)
	}
}

// readable counts the files in which the secret stands.
func readable(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(secret)) {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// refused fails the test unless a start is refused for the key, in one line without it, and changes
// nothing.
func refused(t *testing.T, dir string, k embedded.Keys, says string) {
	t.Helper()
	before := contents(t, dir)
	s, err := embedded.Start(embedded.Options{Dir: dir, NoSync: true, Keys: k, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		s.Stop()
		t.Fatal("started")
	}
	if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") ||
		k.Key != "" && strings.Contains(err.Error(), k.Key.Reveal()) {
		t.Errorf("refused: %v", err)
	}
	for path, data := range contents(t, dir) {
		if before[path] != data {
			t.Errorf("%s was changed", path)
		}
		delete(before, path)
	}
	for path := range before {
		t.Errorf("%s is gone", path)
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func copied(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(bustest.Dir(t), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

// TestEncryptedStore: what is written with a key cannot be read on the disk, also after the key was
// replaced; with another key, or none, nothing starts and nothing is touched.
func TestEncryptedStore(t *testing.T) {
	t.Parallel()
	dir := fill(t, one)
	if n := readable(t, dir); n > 0 {
		t.Errorf("%d files are in clear", n)
	}
	whole(t, dir, one)
	refused(t, dir, none, "are encrypted and no key is given")
	refused(t, dir, other, "nothing was changed")
	refused(t, dir, two, "NATS_ENCRYPTION_PREVIOUS_KEY_FILE")
	whole(t, dir, oneToTwo)
	refused(t, dir, one, "opens 0 of")
	whole(t, dir, two)
	whole(t, dir, oneToTwo) // the old key may stay in the settings
	if n := readable(t, dir); n > 0 {
		t.Errorf("%d files are in clear", n)
	}
}

// TestAnInterruptedReplacement has some files with either key. It is finished with both, and
// refused with one.
func TestAnInterruptedReplacement(t *testing.T) {
	t.Parallel()
	dir := fill(t, one)
	half := copied(t, dir)
	if done, err := embedded.Seal(dir, oneToTwo, slog.New(slog.DiscardHandler)); err != nil || done.Replaced < 10 || done.Replaced != done.Files {
		t.Fatalf("%+v, %v", done, err)
	}
	i := 0
	for path, data := range contents(t, dir) {
		if i++; i%2 == 0 && strings.HasSuffix(path, ".key") {
			if err := os.WriteFile(half+strings.TrimPrefix(path, dir), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	refused(t, half, one, "nothing was changed")
	refused(t, half, two, "nothing was changed")
	whole(t, half, oneToTwo)
	whole(t, half, two)
}

// TestAClearStoreIsEncrypted by the next start with a key, wherever an earlier try was interrupted.
func TestAClearStoreIsEncrypted(t *testing.T) {
	t.Parallel()
	dir := fill(t, none)
	if readable(t, dir) < 3 {
		t.Fatal("the secret is not found in clear either")
	}
	if err := embedded.CheckStore(dir, one); err == nil || !strings.Contains(err.Error(), "run tapctl seal") {
		t.Errorf("a clear store and a key: %v", err)
	}
	sealed := copied(t, dir)
	whole(t, sealed, one)
	if n := readable(t, sealed); n > 0 {
		t.Errorf("%d files are in clear", n)
	}
	if err := embedded.CheckStore(sealed, one); err != nil {
		t.Error(err)
	}
	refused(t, sealed, none, "are encrypted and no key is given")

	const streams, work, clear = "jetstream", "encrypting/jetstream", "clear"
	for name, places := range map[string]map[string]string{ // where the original and its copy are
		"while copying":         {streams: dir, work: ""},
		"before the original":   {streams: dir, work: sealed},
		"after the original":    {clear: dir, work: sealed},
		"before it is removed":  {clear: dir, streams: sealed},
		"when almost all is in": {streams: sealed, "encrypting/lock": ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left := bustest.Dir(t)
			for at, from := range places {
				to := filepath.Join(left, at)
				var err error
				if from == "" {
					err = os.MkdirAll(to, 0o700)
				} else {
					err = os.CopyFS(to, os.DirFS(filepath.Join(from, streams)))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := embedded.CheckStore(left, one); err == nil || !strings.Contains(err.Error(), "interrupted") {
				t.Errorf("after an interruption: %v", err)
			}
			whole(t, left, one)
			if n := readable(t, left); n > 0 {
				t.Errorf("%d files are in clear", n)
			}
		})
	}
}

// TestADamagedStoreIsNotEncrypted: what the server would leave out stays where it is.
func TestADamagedStoreIsNotEncrypted(t *testing.T) {
	t.Parallel()
	dir := fill(t, none)
	metas, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", bus.StreamEvents, "meta.inf"))
	if err != nil || len(metas) != 1 {
		t.Fatal(metas, err)
	}
	if err := os.WriteFile(metas[0], []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	_, err = embedded.Start(embedded.Options{Dir: dir, NoSync: true, Keys: one, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "is as it was") || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a damaged store: %v", err)
	}
	after := contents(t, dir)
	for path, data := range before {
		if after[path] != data {
			t.Errorf("%s was changed", path)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d files, before %d", len(after), len(before))
	}
}

func TestKeysThatAreNone(t *testing.T) {
	t.Parallel()
	for _, k := range []embedded.Keys{
		{Key: "short"},
		{Key: config.Secret(strings.Repeat("a", 40) + `"`)},
		{Key: config.Secret(strings.Repeat("a ", 20))},
		{Key: config.Secret(strings.Repeat("a", 300))},
		{Previous: one.Key},
		{Key: one.Key, Previous: "short"},
	} {
		if err := k.Validate(); err == nil || strings.Contains(err.Error(), "short") || strings.Contains(err.Error(), "aaa") {
			t.Errorf("%q: %v", k.Key.Reveal(), err)
		}
	}
	if err := errors.Join(one.Validate(), oneToTwo.Validate(), none.Validate()); err != nil {
		t.Error(err)
	}
}
