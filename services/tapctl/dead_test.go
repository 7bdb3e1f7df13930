package tapctl_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestNotEverythingIsRetried: a letter about which nothing can be done says why not, and stays.
func TestNotEverythingIsRetried(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("setup")
	b, err := bus.Connect(t.Context(), bus.Config{URL: c.URL()}, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "enricher", Feed: "threats", Reason: "record is not a JSON object", Payload: []byte("[]"), Source: "RAW/1"}
	if err := b.PublishDead(t.Context(), letter, "1"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"dead"}, {"dead", "ls"}, {"dead", "show", "1"}} {
		if out := c.must(args...); !strings.Contains(out, "record is not a JSON object") {
			t.Errorf("%v says %s", args, out)
		}
	}
	if code, _, stderr := c.run("dead", "retry", "1"); code != 2 || !strings.Contains(stderr, `only an id, a window of SIEM records, or a SIEM record with a raw control character`) {
		t.Errorf("retry: status %d, %s", code, stderr)
	}
	for _, args := range [][]string{{"dead", "retry", "2"}, {"dead", "drop", "x"}, {"dead", "show"}, {"dead", "what"}} {
		if code, _, stderr := c.run(args...); code != 2 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: status %d, %s", args, code, stderr)
		}
	}
	c.must("dead", "drop", "1")
	if out := c.must("dead", "ls"); out != "" {
		t.Errorf("after drop: %s", out)
	}
}

func TestFlattenShowsRows(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	for name, f := range map[string]struct {
		text string
		args []string
		want string
	}{
		"report":   {`{"generated":"g","reports":[{"id":"t1","forensics":[{"a":1.0},{"b":2}]}]}`, nil, `{"generated":"g","id":"t1","forensics":{"a":1.0},"forensics_found":2,"forensics_id":1}|{"generated":"g","id":"t1","forensics":{"b":2},"forensics_found":2,"forensics_id":2}|`},
		"people":   {`{"users":[{"identity":{}}],"totalVapUsers":1}`, nil, `{"totalVapUsers":1,"identity":{}}|`},
		"siem":     {`{"queryEndTime":"x","clicksBlocked":[{"id":"1"}],"messagesBlocked":null}`, nil, `{"id":"1"}|`},
		"campaign": {`{"id":"c","campaignMembers":[{"id":"t"}]}`, nil, `{"id":"c","campaignMembers":[{"id":"t"}]}|`},
		"members":  {`{"id":"c","campaignMembers":[{"id":"t"}]}`, []string{"--campaign-members"}, `{"id":"c","campaignMembers":{"id":"t"},"campaignMembers_found":1,"campaignMembers_id":1}|`},
	} {
		path := filepath.Join(t.TempDir(), name+".json")
		if err := os.WriteFile(path, []byte(f.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := c.must(append([]string{"flatten", path}, f.args...)...); strings.ReplaceAll(out, "\n", "|") != f.want {
			t.Errorf("%s: %s", name, out)
		}
	}
	path := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(path, []byte(`{"users":7}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"flatten"}, {"flatten", "/no/such/file"}, {"flatten", path}} {
		if code, _, stderr := c.run(args...); code != 2 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: status %d, %s", args, code, stderr)
		}
	}
}
