//go:build compose

package compose_test

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestDemo: a clean clone, no credentials, healthy in a minute, an account that adds up, and going
// on where it was after everything was taken down.
func TestDemo(t *testing.T) {
	t.Parallel()
	s := newStack(t, "tapline-test-demo", nil)
	for _, name := range []string{"scheduler", "fetcher", "enricher", "shipper", "tapctl", "tapsim", "devosink"} {
		size, err := strconv.Atoi(docker(t, "image", "inspect", "-f", "{{.Size}}", "tapline/"+name+":"+version))
		if err != nil || size > 25<<20 {
			t.Errorf("image %s has %d bytes, %v: want less than 25 MB", name, size, err)
		}
		t.Logf("image %s: %.1f MB", name, float64(size)/1e6)
	}
	took := s.up()
	t.Logf("healthy after %s", took.Round(time.Second))
	if took > time.Minute {
		t.Errorf("healthy only after %s", took)
	}
	a := newAccount(s)
	pause(t, time.Until(s.began.Add(time.Minute)))
	a.settle("after a minute")
	verify(s)
	a.drain()
	s.compose("down")
	s.up()
	a.settle("after down and up")
	verify(s)
}

// verify has the account checked by Tapline itself.
func verify(s *stack) {
	s.t.Helper()
	out := ""
	poll(s.t, "tapctl verify to be content", func() bool {
		var err error
		out, err = s.tapctl("verify")
		return err == nil
	})
	lines := strings.Split(strings.TrimSpace(out), "\n")
	s.t.Log(strings.Join(lines[max(0, len(lines)-2):], "; "))
}
