package tapctl_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapctl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// console runs commands against a server of its own.
type console struct {
	*embedded.Server
	t      *testing.T
	tenant string
}

func newConsole(t *testing.T) console {
	t.Helper()
	server, err := embedded.Start(embedded.Options{Dir: bustest.Dir(t), NoSync: true, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return console{server, t, "main"}
}

func (c console) run(args ...string) (code int, stdout, stderr string) {
	c.t.Helper()
	var out, err bytes.Buffer
	code = tapctl.Execute(c.t.Context(), tapctl.Process{Args: args, Environ: []string{"NATS_URL=" + c.URL(), "TENANT=" + c.tenant}, Stdout: &out, Stderr: &err})
	return code, out.String(), err.String()
}

// must runs a command that succeeds.
func (c console) must(args ...string) string {
	c.t.Helper()
	code, stdout, stderr := c.run(args...)
	if code != 0 {
		c.t.Fatalf("%v: status %d: %s", args, code, stderr)
	}
	return stdout
}

func TestSetupAndQuota(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	if code, _, stderr := c.run("quota"); code != 1 || !strings.Contains(stderr, "tapctl setup") {
		t.Errorf("before setup: status %d, %q", code, stderr)
	}
	for range 2 {
		if out := c.must("setup"); !strings.Contains(out, "set up for tenant main") {
			t.Errorf("setup says %q", out)
		}
	}
	if out := c.must("quota"); !strings.Contains(out, "siem-permitted") || !strings.Contains(out, "1800") {
		t.Errorf("quota says %q", out)
	}
	// A pool whose memory is lost, as that of a tenant who was never set up, is closed until an
	// operator unblocks it.
	c.tenant = "other"
	left := func() (left int) {
		var pools []map[string]any
		if err := json.Unmarshal([]byte(c.must("quota", "--output", "json")), &pools); err != nil {
			t.Fatal(err)
		}
		for _, p := range pools {
			if p["pool"] == "siem" {
				limit, _ := p["limit"].(float64)
				used, _ := p["used"].(float64)
				external, _ := p["external"].(float64)
				return int(limit - used - external)
			}
		}
		t.Fatalf("no pool siem in %v", pools)
		return 0
	}
	if out := c.must("quota"); !strings.Contains(out, "in 2") { // in 23h59m...
		t.Errorf("a pool without memory is open: %q", out)
	}
	c.must("quota", "open", "siem")
	if n := left(); n != 1800 {
		t.Errorf("%d calls left in a pool that was opened", n)
	}
}

func TestShowAndDead(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("setup")
	b := bustest.Connect(t, c.Server)
	letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "enricher", Feed: "clicksBlocked", Reason: "because", Payload: []byte(`{"bad":`), Source: "RAW 17"}
	if err := b.PublishDead(t.Context(), letter, "a"); err != nil {
		t.Fatal(err)
	}
	if out := c.must("dead"); !strings.Contains(out, "enricher clicksBlocked  from RAW 17: because") || !strings.Contains(out, `{\"bad\":`) {
		t.Errorf("dead says %q", out)
	}
	var shown struct {
		Subject string                  `json:"subject"`
		Message struct{ Reason string } `json:"message"`
	}
	if err := json.Unmarshal([]byte(c.must("show", "dead", "1")), &shown); err != nil || shown.Message.Reason != "because" || !strings.HasPrefix(shown.Subject, "dead.main.enricher.clicksBlocked.") {
		t.Errorf("%+v, %v", shown, err)
	}
	if code, _, stderr := c.run("show", "DEAD", "99"); code != 1 || stderr == "" {
		t.Errorf("a message that is not there: status %d, %q", code, stderr)
	}
}

func TestBadCommandLines(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"nonsense"},
		{"--nonsense"},
		{"quota", "--output", "xml"},
		{"quota", "open"},
		{"quota", "open", "swimming"},
		{"show", "RAW"},
		{"show", "RAW", "x"},
		{"show", "QUOTA", "1"},
		{"setup", "now"},
	} {
		var out, err bytes.Buffer
		if code := tapctl.Execute(t.Context(), tapctl.Process{Args: args, Stdout: &out, Stderr: &err}); code != 2 || !strings.HasPrefix(err.String(), "tapctl: ") {
			t.Errorf("%v: status %d, %q", args, code, err.String())
		}
	}
	var out, err bytes.Buffer
	if code := tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"--help"}, Stdout: &out, Stderr: &err}); code != 0 || !strings.Contains(out.String(), "NATS_URL") {
		t.Errorf("help: status %d, %q", code, out.String())
	}
}
