package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestDraws: make has rapid draw the same cases each time, and others only in the long tier.
func TestDraws(t *testing.T) {
	t.Parallel()
	tool := filepath.Join(t.TempDir(), "go")
	write(t, tool, []byte("#!/bin/sh\n[ \"$1\" != test ] || printf %s \"seed $RAPID_SEED,\"\n"))
	if err := os.Chmod(tool, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ verb, tier, want string }{
		{"quick", "", "seed 1,"}, {"test", "", "seed 1,seed 1,"}, {"test", "long", "seed ,seed ,"},
	} {
		command := exec.CommandContext(t.Context(), "make", "--no-print-directory", "--silent", c.verb, "GO="+tool)
		command.Dir = root
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "TIER=" + c.tier} //nolint:forbidigo // not what make gave this test
		if out, err := command.CombinedOutput(); err != nil || string(out) != c.want {
			t.Errorf("make %s, tier %q: %v, %q, want %q", c.verb, c.tier, err, out, c.want)
		}
	}
}
