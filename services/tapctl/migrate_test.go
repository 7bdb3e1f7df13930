package tapctl_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/tapctl"
	"github.com/tapline/tapline/services/tapline"
)

// collector lays out the folders of a Devo collector.
func collector(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	data, err := os.ReadFile("internal/devoconf/testdata/onprem.yaml")
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.ReplaceAll(data, []byte("/etc/devo/acme.key"), []byte("acme.key"))
	data = bytes.ReplaceAll(data, []byte("2026-05-0"), []byte("2019-05-0")) // long ago, whatever the clock says
	for name, content := range map[string]string{"config/config.yaml": string(data), "certs/chain.crt": "chain", "certs/acme.crt": "certificate", "certs/acme.key": "key"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func migrate(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	code = tapctl.Execute(t.Context(), tapctl.Process{Args: append([]string{"migrate", "devo"}, args...), Stdout: &out, Stderr: &out})
	if strings.Contains(out.String(), "s3cr3t") {
		t.Errorf("the secret is printed: %s", &out)
	}
	return code, out.String()
}

// holds checks what is in a file and who may read it.
func holds(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != text || info.Mode().Perm() != mode {
		t.Errorf("%s: %q, %v", path, data, info.Mode())
	}
}

func TestMigrateDevo(t *testing.T) {
	t.Parallel()
	dir := collector(t)
	source, out := filepath.Join(dir, "config", "config.yaml"), filepath.Join(t.TempDir(), "new")
	code, said := migrate(t, source, "--out", out)
	if code != 0 || !strings.Contains(said, "globals.persistence") || !strings.Contains(said, ".env") {
		t.Fatalf("status %d: %s", code, said)
	}
	holds(t, filepath.Join(out, "secrets", "tap_secret"), "s3cr3t-of-proofpoint\n", 0o600)
	env, err := os.ReadFile(filepath.Join(out, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	var variables []string
	for line := range strings.Lines(string(env)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			variables = append(variables, line)
		}
	}
	if strings.Contains(string(env), "s3cr3t") || !strings.Contains(string(env), "DEVO_KEY_FILE="+filepath.Join(dir, "certs", "acme.key")) {
		t.Errorf("%s", env)
	}
	// The programs understand it: only what stands in the files is wrong.
	var c tapline.Config
	for line := range strings.Lines(config.Load(&c, variables).Error()) {
		if !strings.HasPrefix(line, "DEVO_C") {
			t.Error(line)
		}
	}
	if c.Fetcher.API.Secret.Reveal() != "s3cr3t-of-proofpoint" || c.Shipper.Connections != 3 {
		t.Error("the variables are not taken")
	}

	// Nothing is replaced silently; the same again is no change.
	if code, said = migrate(t, source, "--out", out); code != 0 {
		t.Errorf("the same again: status %d: %s", code, said)
	}
	if err := os.WriteFile(filepath.Join(out, ".env"), []byte("MINE=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, said = migrate(t, source, "--out", out); code != 2 || !strings.Contains(said, "--force") {
		t.Errorf("over something else: status %d: %s", code, said)
	}
	holds(t, filepath.Join(out, ".env"), "MINE=1\n", 0o644)
	if code, said = migrate(t, source, "--out", out, "--print"); code != 0 || !strings.Contains(said, "TAP_PRINCIPAL=0a1b-principal") {
		t.Errorf("print: status %d: %s", code, said)
	}
	holds(t, filepath.Join(out, ".env"), "MINE=1\n", 0o644)
	if code, said = migrate(t, source, "--out", out, "--force", "--output", "json"); code != 0 || !strings.Contains(said, `"notes"`) {
		t.Errorf("force: status %d: %s", code, said)
	}
	holds(t, filepath.Join(out, ".env"), string(env), 0o644)
}

func TestMigrateDevoForCompose(t *testing.T) {
	t.Parallel()
	dir, out := collector(t), t.TempDir()
	if err := os.Remove(filepath.Join(dir, "certs", "chain.crt")); err != nil {
		t.Fatal(err)
	}
	code, said := migrate(t, filepath.Join(dir, "config", "config.yaml"), "--out", out, "--for", "compose")
	if code != 0 || !strings.Contains(said, "secrets/devo/chain.crt") {
		t.Fatalf("status %d: %s", code, said)
	}
	holds(t, filepath.Join(out, "secrets", "devo", "domain.key"), "key", 0o644)
	holds(t, filepath.Join(out, "secrets", "devo", "domain.crt"), "certificate", 0o644)
	info, err := os.Stat(filepath.Join(out, "secrets"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	env, err := os.ReadFile(filepath.Join(out, ".env"))
	if err != nil || bytes.Contains(env, []byte("_FILE=")) {
		t.Errorf("%s, %v", env, err)
	}
	for _, args := range [][]string{{"nowhere.yaml"}, {filepath.Join(dir, "config", "config.yaml"), "--for", "fun"}, {}} {
		if code, said := migrate(t, args...); code != 2 {
			t.Errorf("%v: status %d: %s", args, code, said)
		}
	}
}

// TestMigrateClosesTheFolderOfSecrets: whatever was there before, other users cannot read them, and
// no link leads them away.
func TestMigrateClosesTheFolderOfSecrets(t *testing.T) {
	t.Parallel()
	dir, out := collector(t), t.TempDir()
	source, secrets := filepath.Join(dir, "config", "config.yaml"), filepath.Join(out, "secrets")
	if err := os.MkdirAll(filepath.Join(secrets, "devo"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{secrets, filepath.Join(secrets, "devo")} {
		if err := os.Chmod(folder, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Symlink(elsewhere, filepath.Join(secrets, "tap_secret")); err != nil {
		t.Fatal(err)
	}
	code, said := migrate(t, source, "--out", out, "--for", "compose")
	if code != 0 || !strings.Contains(said, "closed "+secrets+" to other users") {
		t.Errorf("status %d: %s", code, said)
	}
	if info, err := os.Stat(secrets); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Stat(elsewhere); err == nil {
		t.Error("the secret was written through a link")
	}
	linked := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(linked, "secrets")); err != nil {
		t.Fatal(err)
	}
	if code, said := migrate(t, source, "--out", linked); code != 2 || !strings.Contains(said, "link") {
		t.Errorf("through a link: status %d: %s", code, said)
	}
}

// TestMigrateDevoToARelay: what is written for a relay is what the shipper takes.
func TestMigrateDevoToARelay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	text := "globals: {devo_sender_threshold_for_using_gzip_in_transport_layer: -1}\noutputs: {r: {type: syslog, config: {address: relay, concurrent_connections: 4}}}\n" +
		"inputs: {proofpoint_tap: {credentials: {username: a, password: s3cr3t}, services: {clicksBlocked: {}}}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, said := migrate(t, file, "--out", dir); code != 0 {
		t.Fatalf("status %d: %s", code, said)
	}
	env, err := os.ReadFile(filepath.Join(dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	var c tapline.Config
	if err := config.Load(&c, strings.Split(string(env), "\n")); err != nil {
		t.Error(err)
	}
	if c.Shipper.Devo.TLS || c.Shipper.Devo.Address != "relay:13000" || c.Shipper.Devo.Compress != "gzip" || c.Shipper.Connections != 4 {
		t.Errorf("%+v", c.Shipper.Devo)
	}
}
