package bustest

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/tapline/tapline/pkg/bus"
)

// bubbleVariable names the test that a process was started for.
const bubbleVariable = "TAPLINE_TEST_BUBBLE"

// Bubble runs a test in a bubble of [synctest] with a server of its own: hours pass in seconds
// while nothing is to be done. A goroutine of the bubble that waits for a network stops the clock,
// so what the test talks to is in the process, refuses connections, or answers at once from outside
// of the bubble and hangs up.
//
// The bubble is in a process of its own, which runs the same test again up to here: timers and
// channels of a bubble must not be used outside, and the libraries keep some of them for use again.
func Bubble(t *testing.T, test func(t *testing.T, b *bus.Bus)) {
	t.Helper()
	if os.Getenv(bubbleVariable) != t.Name() { //nolint:forbidigo // a test starts itself
		var steps []string
		for name := range strings.SplitSeq(t.Name(), "/") {
			steps = append(steps, "^"+regexp.QuoteMeta(name)+"$")
		}
		out, err := alone(t, "-test.run="+strings.Join(steps, "/"))
		if strings.Contains(out, detectorFailed) {
			out, err = alone(t, "-test.run="+strings.Join(steps, "/"))
		}
		if err != nil || !strings.Contains(out, "--- PASS: "+t.Name()) {
			t.Fatalf("in its own process: %v\n%s", err, out)
		}
		return
	}
	// All servers of a process share a clock that ticks for their caches: not for the bubble alone.
	ats.Register()
	defer ats.Unregister()
	synctest.Test(t, func(t *testing.T) { test(t, Start(t)) })
}

// detectorFailed is what the race detector prints when it ends a process for a reason of its own:
// it counts events, and hours of a bubble have many. It says nothing about the test.
const detectorFailed = "ThreadSanitizer: CHECK failed"

// alone runs a test of this program in a process of its own.
func alone(t *testing.T, run string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], run, "-test.v", "-test.short="+strconv.FormatBool(testing.Short())) //nolint:gosec // it is this program
	cmd.Env = append(os.Environ(), bubbleVariable+"="+t.Name())                                                             //nolint:forbidigo // a test starts itself
	out, err := cmd.CombinedOutput()
	return string(out), err
}
