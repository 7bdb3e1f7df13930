package tapctl_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapctl"
)

// victim is what must not be found in what is encrypted.
const victim = "victim@customer.example"

// withVictim has a letter in DEAD that names one.
func withVictim(t *testing.T, c console) *bus.Bus {
	t.Helper()
	c.must("setup")
	b := bustest.Connect(t, c.Server)
	letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "shipper", Feed: "clicksBlocked", Reason: victim, Source: "job"}
	if err := b.PublishDead(t.Context(), letter, "a"); err != nil {
		t.Fatal(err)
	}
	return b
}

// names counts the files below a folder in which the victim stands, and demands that only their
// owner reads them.
func names(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(victim)) {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// keyFile writes a key of age and gives its public part.
func keyFile(t *testing.T) (path, public string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return written(t, id.String()+"\n"), id.Recipient().String()
}

func written(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// deadLetters is how many are in DEAD.
func deadLetters(t *testing.T, b *bus.Bus) uint64 {
	t.Helper()
	u, err := b.Usage(t.Context(), bus.StreamDead)
	if err != nil {
		t.Fatal(err)
	}
	return u.Messages
}

// forged cuts a file of a backup short, and has the manifest agree.
func forged(t *testing.T, dir, name string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "forged")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(to, name))
	if err != nil {
		t.Fatal(err)
	}
	data = data[:len(data)-1]
	manifest, err := os.ReadFile(filepath.Join(to, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(manifest, &m); err != nil {
		t.Fatal(err)
	}
	for _, p := range m["parts"].([]any) {
		if p := p.(map[string]any); p["file"] == name {
			sum := sha256.Sum256(data)
			p["bytes"], p["sha256"] = len(data), hex.EncodeToString(sum[:])
		}
	}
	if manifest, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{name: data, "manifest.json": manifest} {
		if err := os.WriteFile(filepath.Join(to, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestEncryptedBackup: it cannot be read without a key, and what cannot be decrypted from end to
// end changes nothing.
func TestEncryptedBackup(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	withVictim(t, c)
	key, public := keyFile(t)
	another, recipient := keyFile(t)
	dir := filepath.Join(t.TempDir(), "backup")
	if out := c.must("backup", dir, "--recipient", recipient, "--recipients-file", written(t, "# ours\n"+public+"\n")); !strings.Contains(out, "encrypted") {
		t.Errorf("backup says %q", out)
	}
	if n := names(t, dir); n > 0 {
		t.Errorf("%d files are in clear", n)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if c.must("backup", plain); names(t, plain) == 0 {
		t.Error("the name is not found in a backup in clear either")
	}
	if out := c.must("restore", dir, "--check"); !strings.Contains(out, "nothing was decrypted") {
		t.Errorf("a check without a key says %q", out)
	}
	if out := c.must("restore", dir, "--check", "--identity-file", another); !strings.Contains(out, "all of it was decrypted") {
		t.Errorf("a check with a key says %q", out)
	}

	fresh := newConsole(t)
	b := withVictim(t, fresh)
	wrong, _ := keyFile(t)
	for says, args := range map[string][]string{
		"want --identity-file or --passphrase-file": {dir},
		"for other recipients":                      {dir, "--identity-file", wrong},
		"not with a passphrase":                     {dir, "--passphrase-file", written(t, "a long passphrase")},
		"DEAD.age: failed to decrypt":               {forged(t, dir, "DEAD.age"), "--identity-file", key},
	} {
		code, _, errs := fresh.run(append([]string{"restore", "--force"}, args...)...)
		if code != 1 || !strings.Contains(errs, says) || strings.Count(errs, "\n") != 1 {
			t.Errorf("want %q: status %d: %s", says, code, errs)
		}
	}
	for says, args := range map[string][]string{
		"--recipient":                     {"backup", t.TempDir(), "--recipient", "age1x"},
		"--recipients-file":               {"backup", t.TempDir(), "--recipients-file", written(t, "")},
		"not both":                        {"backup", t.TempDir(), "--recipient", public, "--passphrase-file", written(t, "a long passphrase")},
		"want a passphrase of 12 or more": {"backup", t.TempDir(), "--passphrase-file", written(t, "short\n")},
		"--identity-file":                 {"restore", dir, "--identity-file", written(t, "AGE-SECRET-KEY-1QQQ")},
	} {
		if code, _, errs := fresh.run(args...); code != 2 || !strings.Contains(errs, says) || strings.Contains(errs, "QQQ") {
			t.Errorf("want %q: status %d: %s", says, code, errs)
		}
	}
	if err := b.PublishDead(t.Context(), &taplinev1.DeadLetter{Tenant: "main", Stage: "shipper", Source: "job"}, "b"); err != nil {
		t.Fatal(err)
	}
	if n := deadLetters(t, b); n != 2 {
		t.Errorf("%d letters after restores that were refused", n)
	}
	if fresh.must("restore", dir, "--force", "--identity-file", key); deadLetters(t, b) != 1 {
		t.Error("not what is in the backup")
	}
}

// TestBackupWithAPassphrase needs nothing else.
func TestBackupWithAPassphrase(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	b := withVictim(t, c)
	dir, file := filepath.Join(t.TempDir(), "backup"), written(t, "correct horse battery staple\n")
	if c.must("backup", dir, "--passphrase-file", file); names(t, dir) > 0 {
		t.Error("files are in clear")
	}
	code, _, errs := c.run("restore", dir, "--force", "--passphrase-file", written(t, "another long passphrase"))
	if code != 1 || !strings.Contains(errs, "--passphrase-file does not open it") || deadLetters(t, b) != 1 {
		t.Errorf("another passphrase: status %d: %s", code, errs)
	}
	if c.must("restore", dir, "--force", "--passphrase-file", file); deadLetters(t, b) != 1 {
		t.Error("not what is in the backup")
	}
}

// started runs deploy/nats/start.sh, which guards each start of the NATS server in compose and on
// Kubernetes.
func started(t *testing.T, dir, conf string) (string, error) {
	t.Helper()
	programs := t.TempDir()
	if err := os.WriteFile(filepath.Join(programs, "nats-server"), []byte("#!/bin/sh\necho runs with \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "../../deploy/nats/start.sh", "--config", "x")
	cmd.Env = []string{"PATH=" + programs + ":/usr/bin:/bin", "NATS_STORE=" + dir, "NATS_KEYS=" + written(t, conf)}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestSealOfAStore: a NATS server that has another key than its store is not started, and tapctl
// seal brings both together.
func TestSealOfAStore(t *testing.T) {
	t.Parallel()
	dir := bustest.Dir(t)
	const first, second = "first-0123456789abcdef0123456789", "second-0123456789abcdef012345678"
	server, err := embedded.Start(embedded.Options{Dir: dir, NoSync: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	err = bustest.Connect(t, server).Setup(t.Context(), bustest.Limits, nil)
	server.Stop()
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		environ := []string{"SINK=stdout", "TAP_PRINCIPAL=p", "TAP_SECRET=s"}
		code := tapctl.Execute(t.Context(), tapctl.Process{Args: args, Environ: environ, Stdout: &out, Stderr: &errs})
		return code, out.String(), errs.String()
	}
	check := func(want int, says, conf string) {
		t.Helper()
		code, _, errs := run("check", "--settings", "--store", dir, "--encryption", written(t, conf))
		if code != want || !strings.Contains(errs, says) || strings.Contains(errs, first) {
			t.Errorf("check: status %d: %s", code, errs)
		}
	}
	start := func(want bool, conf string) {
		t.Helper()
		if out, err := started(t, dir, conf); (err == nil) != want || want != strings.Contains(out, "runs with --config x") {
			t.Errorf("start: %v: %s", err, out)
		}
	}
	const clear, one, two = "# none\n", `cipher: aes, key: "` + first + `"`, `cipher: aes, key: "` + second + `"`
	start(true, clear) // it was not looked at yet
	check(0, "", clear)
	start(true, clear)
	check(2, "run tapctl seal", one)
	start(false, one)
	if code, out, errs := run("seal", dir, "--encryption", written(t, one)); code != 0 || !strings.Contains(out, "0 had the previous key") {
		t.Errorf("seal says %q, %q", out, errs)
	}
	start(true, one)
	check(0, "", one)
	check(2, "no key is given", clear)
	start(false, clear)
	check(2, "nothing was changed", two)
	both := two + `, prev_encryption_key: "` + first + `"`
	check(2, "run tapctl seal", both)
	start(false, both)
	start(true, one)
	if code, _, errs := run("seal", dir, "--encryption", written(t, clear)); code == 0 {
		t.Errorf("a key that is gone: %s", errs)
	}
	start(true, one) // what seal refused changed nothing
	if code, out, errs := run("seal", dir, "--encryption", written(t, both)); code != 0 || strings.Contains(out, " 0 had the previous key") {
		t.Errorf("seal says %q, %q", out, errs)
	}
	start(true, both)
	start(false, one)
	start(true, strings.ReplaceAll(two, ", ", "\n")) // the key before is forgotten
	check(0, "", two)
	for _, conf := range []string{"cipher: chacha\nkey: " + first, "key: " + first, "key: 123", "tpm {}", `key: "short"`} {
		check(2, "want", conf)
	}
	check(2, "no part of a configuration", "key: {"+first)
}
