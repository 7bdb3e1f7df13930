package program_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tapline/tapline/pkg/program"
)

// TestNoCoreFileAndNoAttaching runs itself as a process of its own: what it protects stays so.
func TestNoCoreFileAndNoAttaching(t *testing.T) {
	t.Parallel()
	const child = "TAPLINE_TEST_PROTECT"
	if os.Getenv(child) == "" { //nolint:forbidigo // this test is its own command
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoCoreFileAndNoAttaching$", "-test.v")
		cmd.Env = append(cmd.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "protected") {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	program.Protect()
	var core syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &core); err != nil || core.Cur != 0 || core.Max != 0 {
		t.Errorf("core files of up to %+v, %v", core, err)
	}
	if dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || dumpable != 0 {
		t.Errorf("dumpable is %d, %v", dumpable, err)
	}
	if _, err := os.ReadDir("/proc/self/fd"); err != nil { // metrics of the process need it
		t.Error(err)
	}
	t.Log("protected")
}
