package tapctl_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapline/tapline/services/tapctl"
)

// TestEachCheckStandsForItself: a server that is away and a credential that is not configured hide
// nothing else.
func TestEachCheckStandsForItself(t *testing.T) {
	t.Parallel()
	var out, stderr bytes.Buffer
	environ := []string{"NATS_URL=nats://127.0.0.1:9", "SINK=file", "SINK_FILE_PATH=" + filepath.Join(t.TempDir(), "events.jsonl")}
	code := tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"check", "--output", "json"}, Environ: environ, Stdout: &out, Stderr: &stderr})
	var findings []struct {
		What, Detail string
		OK           bool
	}
	if err := json.Unmarshal(out.Bytes(), &findings); err != nil || code != 3 || len(findings) != 3 {
		t.Fatalf("status %d, %v: %s%s", code, err, &out, &stderr)
	}
	if f := findings[0]; f.OK || f.What != "NATS" || !strings.Contains(f.Detail, "127.0.0.1:9") {
		t.Errorf("%+v", f)
	}
	if f := findings[1]; !f.OK || f.What != "sink file" {
		t.Errorf("%+v", f)
	}
	if f := findings[2]; f.OK || !strings.Contains(f.Detail, "TAP_PRINCIPAL") || !strings.Contains(f.Detail, "TAP_SECRET") {
		t.Errorf("%+v", f)
	}
}
