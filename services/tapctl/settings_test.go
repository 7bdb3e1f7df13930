package tapctl_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/tapline/tapline/services/tapctl"
)

// TestUsersOfTheServer: what docker-compose.yml gives to the NATS server is what the code says.
func TestUsersOfTheServer(t *testing.T) {
	t.Parallel()
	var out, stderr bytes.Buffer
	if code := tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"users"}, Stdout: &out, Stderr: &stderr}); code != 0 {
		t.Fatalf("status %d, %q", code, stderr.String())
	}
	have, err := os.ReadFile("../../deploy/nats/users.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, out.Bytes()) {
		t.Error("deploy/nats/users.conf is not what tapctl users prints: make generate")
	}
}

// TestSettingsOfAllServices: everything that is wrong is said at once, before anything starts.
func TestSettingsOfAllServices(t *testing.T) {
	t.Parallel()
	check := func(environ ...string) (int, string, string) {
		var out, stderr bytes.Buffer
		code := tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"check", "--settings"}, Environ: environ, Stdout: &out, Stderr: &stderr})
		return code, out.String(), stderr.String()
	}
	code, _, said := check("SINK=elsewhere", "TAP_START_TIME=soon", "STREAM_REPLICAS=2", "ENRICHER_WORKERS=0", "DEVO_ADDRESS=nowhere", "LOG_FORMAT=xml")
	if code != 2 {
		t.Errorf("status %d", code)
	}
	for _, name := range []string{"TAP_PRINCIPAL", "TAP_SECRET", "TAP_START_TIME", "SINK", "STREAM_REPLICAS", "ENRICHER_WORKERS", "LOG_FORMAT"} {
		if strings.Count(said, name+"=")+strings.Count(said, name+" ")+strings.Count(said, name+":") == 0 {
			t.Errorf("nothing about %s in %q", name, said)
		}
	}
	if code, _, said := check("SINK=stdout", "TAP_PRINCIPAL=p", "TAP_SECRET=s", "TAP_START_TIME=2199-01-01T00:00:00Z"); code != 2 || !strings.Contains(said, "lies in the future") {
		t.Errorf("a start in the future: status %d, %q", code, said)
	}
	if code, out, said := check("SINK=stdout", "TAP_PRINCIPAL=p", "TAP_SECRET=s"); code != 0 || !strings.Contains(out, "can be used") {
		t.Errorf("usable settings: status %d, %q, %q", code, out, said)
	}
}

// TestCheckWarnsOfRoom: streams that may outgrow their disk are no error, and said before anything
// starts.
func TestCheckWarnsOfRoom(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		raw  string
		warn bool
	}{
		"room enough":          {"67108864", false},
		"a limit of 4 exabyte": {"4611686018427387904", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, stderr bytes.Buffer
			code := tapctl.Execute(t.Context(), tapctl.Process{
				Args:    []string{"check", "--settings", "--store", t.TempDir(), "--encryption", written(t, "# none\n")},
				Environ: []string{"SINK=stdout", "TAP_PRINCIPAL=p", "TAP_SECRET=s", "STREAM_RAW_MAX_BYTES=" + test.raw, "STREAM_EVENTS_MAX_BYTES=67108864"},
				Stdout:  &out, Stderr: &stderr,
			})
			if warns := strings.Contains(out.String(), "warning: ") && strings.Contains(out.String(), "STREAM_RAW_MAX_BYTES"); code != 0 || warns != test.warn {
				t.Errorf("status %d: %q, %q", code, out.String(), stderr.String())
			}
		})
	}
}
