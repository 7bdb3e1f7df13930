package torture

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestEachStageIsTakenOver by the seeds of the verb for it, which runs at night.
func TestEachStageIsTakenOver(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^TAKEN := ([0-9 ]+)$`).FindSubmatch(makefile)
	nightly := regexp.MustCompile(`(?m)^nightly:.*\n(\t.*\n)*\t\$\(MAKE\) torture-taken$`)
	if line == nil || !nightly.Match(makefile) {
		t.Fatal("no seeds, or they do not run at night")
	}
	var stages []string
	for text := range strings.FieldsSeq(string(line[1])) {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		stages = append(stages, ProfileOf(seed).Taken)
	}
	if !slices.Equal(stages, deadStages()) {
		t.Errorf("taken over: %q, want %q", stages, deadStages())
	}
}

// TestWhatIsNotMeasuredIsNotFast: a takeover without a look at other stages proves nothing of them.
func TestWhatIsNotMeasuredIsNotFast(t *testing.T) {
	t.Parallel()
	delays := map[string]time.Duration{"enricher": time.Minute, "shipper": time.Minute + 1}
	for _, c := range []struct {
		thief thief
		want  string // one problem at most
	}{
		{thief{}, "no look"},
		{thief{looks: 1}, ""},
		{thief{looks: 1, delays: delays}, "shipper kept a message waiting for 1m0s"},
	} {
		got := c.thief.slow(time.Minute)
		if (len(got) > 0) != (c.want != "") || len(got) > 1 || !strings.HasPrefix(strings.Join(got, ""), c.want) {
			t.Errorf("%+v: %q, want %q", c.thief, got, c.want)
		}
	}
}
