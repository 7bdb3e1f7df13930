//go:build compose

package compose_test

import (
	"path/filepath"
	"strings"
	"testing"
)

const previous = "compose-test-previous"

// TestUpgrade goes from a version before to this one and back, on the same volumes, as
// docs/install.md says. The version before is the last one that has a tag, or else the first that
// could be run with docker compose.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	now := newBusyWithout(t, "tapline-test-upgrade")
	now.env = append(now.env, "TAPLINE_DEVO=demo-certs")
	git := func(args ...string) string {
		out, err := run(now.dir, nil, "git", args...)
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	commit, err := run(now.dir, nil, "git", "describe", "--tags", "--abbrev=0", "HEAD~1")
	version := strings.TrimSpace(string(commit))
	if err != nil {
		all := strings.Fields(git("log", "--diff-filter=A", "--format=%h", "--", "deploy/Dockerfile"))
		version = all[len(all)-1]
	}
	dir := filepath.Join(t.TempDir(), "before")
	git("worktree", "add", "--quiet", "--detach", dir, version)
	t.Cleanup(func() { _, _ = run(now.dir, nil, "git", "worktree", "remove", "--force", dir) })

	before := *now
	before.dir = dir
	before.env = append(append([]string{}, now.env...), "TAPLINE_VERSION="+previous,
		"TAPLINE_SECRETS="+now.secret(""), "TAPLINE_ENV="+filepath.Join(now.dir, now.name+".env"))
	before.initSecrets() // as that version does
	write(t, now.secret("tap_secret"), "demo")
	before.compose("build")
	t.Logf("version %s is healthy after %s", version, before.up().Round(1e9))
	a := newAccount(&before)
	a.settle("with version " + version)
	a.drain()

	now.initSecrets() // what an upgrade begins with: see docs/install.md
	now.up()
	a.s = now
	a.settle("after the upgrade")
	verify(now)

	a.drain()
	before.initSecrets() // passwords of users that it does not know stop its server
	before.up()
	a.s = &before
	a.settle("after going back")
	verify(&before)
}
