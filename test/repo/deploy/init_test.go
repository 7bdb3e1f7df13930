package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInitLeavesNoSecretOpen: a folder that others could enter is closed, with a word; one with a
// link in it is refused.
func TestInitLeavesNoSecretOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"deploy/init.sh", "deploy/env.template"} {
		data, err := os.ReadFile(filepath.Join("../../..", name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	secrets := filepath.Join(dir, "secrets")
	if err := os.Mkdir(secrets, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(secrets, 0o777); err != nil {
		t.Fatal(err)
	}
	run := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "umask 000; exec sh deploy/init.sh")
		cmd.Dir = dir
		cmd.Env = []string{"PATH=/usr/bin:/bin", "TAPCTL=true"} // no certificates
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	said, _ := run() // without certificates it may end early
	info, err := os.Stat(secrets)
	if err != nil || info.Mode().Perm() != 0o700 || !strings.Contains(said, "closed secrets") {
		t.Errorf("%v, %v: %s", info, err, said)
	}
	if info, err := os.Stat(filepath.Join(secrets, "nats", "admin")); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("a password: %v, %v: %s", info, err, said)
	}
	if err := os.Remove(filepath.Join(secrets, "nats", "admin")); err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Symlink(elsewhere, filepath.Join(secrets, "nats", "admin")); err != nil {
		t.Fatal(err)
	}
	said, err = run()
	if _, there := os.Stat(elsewhere); there == nil || err == nil || !strings.Contains(said, "symbolic link") {
		t.Errorf("through a link: %v: %s", err, said)
	}
}

// TestInitUsesTheTapctlThatIsBuilt: Go would build another one, for minutes, or not at all.
func TestInitUsesTheTapctlThatIsBuilt(t *testing.T) {
	t.Parallel()
	site := t.TempDir()
	if err := os.CopyFS(filepath.Join(site, "deploy"), os.DirFS(filepath.Join(root, "deploy"))); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"bin/tapctl":               "#!/bin/sh\necho built >>used\nexit 1\n",
		"path/go":                  "#!/bin/sh\necho go >>used\nexit 1\n",
		"services/tapctl/main.txt": "",
	} {
		path = filepath.Join(site, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(site, "deploy", "init.sh"))
	cmd.Env = []string{"PATH=" + filepath.Join(site, "path") + ":/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	if used, _ := os.ReadFile(filepath.Join(site, "used")); string(used) != "built\n" {
		t.Errorf("%q, %v: %s", used, err, out)
	}
}
