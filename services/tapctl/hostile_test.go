package tapctl_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/alloctest"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestHostileMessagesAreShownAsErrors: a message that unfolds to gigabytes is one clear error for
// who looks at it, and takes no memory to speak of; those beside it are shown.
func TestHostileMessagesAreShownAsErrors(t *testing.T) { //nolint:paralleltest // it measures the process
	c := newConsole(t)
	c.must("setup")
	huge := append([]byte{15<<3 | 2, 6}, 0xff, 0xff, 0xff, 0xff, 0x0f, 0)
	many := batch.Pack(nil, append(batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: "f"}), bytes.Repeat([]byte{7<<3 | 2, 0}, 6<<20)...))
	parts := bytes.Repeat([]byte{10<<3 | 2, 0}, 3<<20) // of a job: its targets, of a letter: its retry
	for subject, messages := range map[string][][]byte{
		"raw.main.f": {huge, many}, "event.main.t": {huge, many}, "mark.main.j": {bytes.Repeat([]byte{7<<3 | 2, 0}, 3<<20)}, "job.main.live.x.y": {parts}, "dead.main.s.f": {parts, huge},
	} {
		for _, m := range messages {
			bustest.Publish(t, c.Server, subject, m)
		}
	}
	for _, args := range [][]string{
		{"show", "RAW", "1"},
		{"show", "RAW", "2"},
		{"show", "RAW", "3"},
		{"show", "EVENTS", "1"},
		{"show", "EVENTS", "2"},
		{"show", "JOBS", "1"},
		{"show", "DEAD", "1"},
		{"dead", "ls"},
		{"dead", "show", "1"},
		{"trace", "some-id"},
		{"status"},
		{"verify"},
	} {
		var stdout, stderr string
		if took := alloctest.Peak(func() { _, stdout, stderr = c.run(args...) }); took > 150<<20 {
			t.Errorf("%v takes %d MiB", args, took>>20)
		}
		if args[0] == "show" && (len(stdout) > 0) == (len(stderr) > 0) && args[1] != "DEAD" {
			t.Errorf("%v prints %.200q and says %.200q", args, stdout, stderr)
		}
		if len(stderr) > 20<<10 || strings.Contains(stderr, "panic") {
			t.Errorf("%v says %.500q", args, stderr)
		}
	}
}
