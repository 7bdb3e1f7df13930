package tapline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/services/devosink/devocert"
	"github.com/tapline/tapline/services/tapline"
	"github.com/tapline/tapline/services/tapsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func execute(t *testing.T, args, environ []string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a mistake that is not noticed would run for ever
	defer cancel()
	code = tapline.Execute(ctx, tapline.Process{Args: args, Environ: environ, Stdout: &out, Stderr: &err})
	return code, out.String(), err.String()
}

// good is an environment that would work against the given API.
func good(t *testing.T, url string) []string {
	t.Helper()
	dir := t.TempDir()
	set, err := devocert.New(devocert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := set.Write(filepath.Join(dir, "certs"))
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"DATA_DIR=" + filepath.Join(dir, "data"), "HTTP_ADDR=off", "LOG_FORMAT=json", "TAP_PRINCIPAL=demo", "TAP_SECRET=s3cret-value",
		"TAP_URL=" + url, "TAP_INSECURE_HTTP=true", "DEVO_ADDRESS=127.0.0.1:1", "DEVO_CHAIN_FILE=" + files.Chain,
		"DEVO_CERT_FILE=" + files.ClientCert, "DEVO_KEY_FILE=" + files.ClientKey,
	}
}

// TestBadConfigurationIsOneClearMessage: each mistake ends the program with
// status 2 and a line that names the variable.
func TestBadConfigurationIsOneClearMessage(t *testing.T) {
	t.Parallel()
	sim, err := tapsim.New(tapsim.Default())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close) // not deferred: the parallel cases run after this function
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ set, want string }{
		"wrong secret":           {"TAP_PRINCIPAL=demo", "error 100: TAP_PRINCIPAL=\"demo\": Proofpoint refuses this principal"},
		"start in the future":    {"TAP_START_TIME=2199-01-01T00:00:00Z", "error 101: TAP_START_TIME="},
		"malformed start":        {"TAP_START_TIME=yesterday", "error 101"},
		"unreadable certificate": {"DEVO_CERT_FILE=/nowhere/client.crt", `DEVO_CERT_FILE="/nowhere/client.crt": cannot be read`},
		"garbage certificate":    {"DEVO_CHAIN_FILE=" + garbage, "holds no certificate in PEM form"},
		"address without port":   {"DEVO_ADDRESS=collector-eu.devo.io", `DEVO_ADDRESS="collector-eu.devo.io": want host:port`},
		"unknown feed":           {"TAP_FEEDS=clicksBlocked,klicks", `TAP_FEEDS="clicksBlocked,klicks"`},
		"threats of nothing":     {"TAP_FEEDS=threats", `TAP_FEEDS="threats": threats are found in clicks and messages`},
		"half of forensics":      {"TAP_CAMPAIGN_FORENSICS=true", `TAP_CAMPAIGN_FORENSICS="true": want TAP_FORENSICS=true, too`},
		"flattening":             {"FLATTEN=yes", `FLATTEN="yes": want on or off`},
		"lists of people":        {"TAP_PEOPLE_WINDOWS=14,15", `TAP_PEOPLE_WINDOWS="[14 15]": want each of 14, 30, 90`},
		"rate of expansion":      {"EXPAND_RATE=0", `EXPAND_RATE="0": want 0.01 to 10000`},
		"no secret":              {"TAP_SECRET=", "TAP_SECRET: is required"},
		"plain http":             {"TAP_URL=http://tap.example.com", "plain http is allowed to loopback"},
		"unknown sink":           {"SINK=carrier-pigeon", `SINK="carrier-pigeon": want devo, devo-http, file or stdout`},
		"listens to all":         {"NATS_LISTEN=:4222", `NATS_LISTEN=":4222": want 127.0.0.1:PORT`},
		"listens to a network":   {"NATS_LISTEN=192.0.2.7:4222", `NATS_LISTEN="192.0.2.7:4222": want 127.0.0.1:PORT`},
		"listens to a name":      {"NATS_LISTEN=tapline:4222", `NATS_LISTEN="tapline:4222": want 127.0.0.1:PORT`},
		"proxy":                  {"HTTPS_PROXY=htps://user:s3cret-value@proxy:3128", `HTTPS_PROXY="htps://[redacted]@proxy:3128": want http://host:port`},
		"bad tenant":             {"TENANT=No Good", `TENANT="No Good"`},
		"bad probe address":      {"HTTP_ADDR=9090", `HTTP_ADDR="9090"`},
		"data directory":         {"DATA_DIR=" + garbage + "/data", `DATA_DIR=`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, _, stderr := execute(t, []string{"run"}, append(good(t, server.URL), c.set))
			var lines []string
			for line := range strings.Lines(stderr) {
				if strings.HasPrefix(line, "tapline: ") {
					lines = append(lines, line)
				}
			}
			if code != 2 || len(lines) != 1 || !strings.Contains(lines[0], c.want) {
				t.Errorf("status %d, messages %q; want one with %s", code, lines, c.want)
			}
			if strings.Contains(stderr, "s3cret-value") {
				t.Error("the secret shows")
			}
		})
	}
}

func TestAllProblemsComeAtOnce(t *testing.T) {
	t.Parallel()
	code, _, stderr := execute(t, []string{"run"}, []string{"TAP_FEEDS=x", "SINK=y", "LOG_LEVEL=loud"})
	for _, want := range []string{"TAP_FEEDS", "LOG_LEVEL", "TAP_PRINCIPAL", "TAP_SECRET"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%s is not mentioned in %s", want, stderr)
		}
	}
	if code != 2 {
		t.Errorf("status %d", code)
	}
}

func TestHelpListsEveryVariable(t *testing.T) {
	t.Parallel()
	code, stdout, _ := execute(t, []string{"run", "--help"}, nil)
	for _, want := range []string{"TAP_PRINCIPAL", "(required)", "DATA_DIR", "./data", "DEVO_CONFIRM", "STREAM_ACK_WAIT", "LOG_LEVEL", "TAP_SECRET_FILE"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %s in the help", want)
		}
	}
	if code != 0 || strings.Count(stdout, "\n  TENANT ") != 1 {
		t.Errorf("status %d, help:\n%s", code, stdout)
	}
}

func TestBadCommandLine(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"walk"}, {"--nonsense"}, {"demo", "--for", "-1s"}, {"demo", "--summary", "xml"}, {"demo", "--rate", "x"}, {"run", "now"}} {
		if code, _, stderr := execute(t, args, nil); code != 2 || stderr == "" {
			t.Errorf("%v: status %d, %q", args, code, stderr)
		}
	}
}

func TestDemoAccountAddsUp(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := execute(t, []string{"demo", "--for", "2s", "--rate", "200", "--backfill", "20m", "--summary", "json"}, []string{"LOG_LEVEL=error"})
	var a tapline.Account
	if err := json.Unmarshal([]byte(stdout), &a); err != nil {
		t.Fatalf("%v: %q\n%s", err, stdout, stderr)
	}
	if code != 0 || a.Generated < 1000 || a.Visible == 0 || a.Visible != a.Delivered || a.Missing != 0 {
		t.Errorf("status %d, account %+v\n%s", code, a, stderr)
	}
}
