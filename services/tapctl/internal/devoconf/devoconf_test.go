package devoconf_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/tapctl/internal/devoconf"
)

const secret = "s3cr3t-of-proofpoint"

var now = time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC)

func parse(text, input string) (*devoconf.Migration, error) {
	return devoconf.Parse([]byte(text), devoconf.Options{Name: "x/config/config.yaml", Input: input, Now: now})
}

func file(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// lines puts the settings together.
func lines(t *testing.T, m *devoconf.Migration) string {
	t.Helper()
	var all []string
	for _, s := range m.Env {
		line, err := s.Line()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, line)
	}
	for _, c := range m.Certificates {
		all = append(all, c.Variable+"="+c.Path)
	}
	return strings.Join(all, "\n")
}

func TestOnPremise(t *testing.T) {
	t.Parallel()
	m, err := parse(file(t, "onprem.yaml"), "")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"DEVO_ADDRESS=collector-eu.devo.io:443", "SHIPPER_CONNECTIONS=3", "TAP_PRINCIPAL=0a1b-principal",
		"TAP_FEEDS=clicksBlocked,messagesDelivered,threats", "TAP_START_TIME=2026-05-01T00:00:00Z", "TAP_POLL_INTERVAL=5m0s",
		"TAP_FORENSICS=true", "TAP_CAMPAIGN_FORENSICS=true",
		"DEVO_CHAIN_FILE=x/certs/chain.crt", "DEVO_CERT_FILE=x/certs/acme.crt", "DEVO_KEY_FILE=/etc/devo/acme.key",
	}, "\n")
	if got := lines(t, m); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if m.Secret.Reveal() != secret {
		t.Error("the secret is lost")
	}
	noted := map[string]bool{}
	for _, n := range m.Notes {
		if n.Line == 0 || strings.Contains(n.Text, secret) {
			t.Errorf("note %+v", n)
		}
		noted[n.Key] = true
	}
	for _, key := range []string{
		"globals.persistence", "globals.queue_max_size_in_messages", "globals.devo_sender_compression_level", "outputs.console_1", "outputs.relay_1",
		"outputs.devo_1.config.sending_timeout", "inputs.other_thing", "inputs.proofpoint_tap.id", "inputs.proofpoint_tap.environment",
		"inputs.proofpoint_tap.services", "inputs.proofpoint_tap.services.messagesDelivered.override_tag_base", "inputs.proofpoint_tap.services.sandwiches",
	} {
		if !noted[key] {
			t.Errorf("no note about %s", key)
		}
	}
}

func TestHosted(t *testing.T) {
	t.Parallel()
	m, err := parse(file(t, "hosted.json"), "")
	if err != nil {
		t.Fatal(err)
	}
	want := "TAP_PRINCIPAL='principal with spaces'\nTAP_FEEDS=campaigns,people_topclicks\nTAP_START_TIME=7d\nTAP_FORENSICS=true"
	if got := lines(t, m); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestOtherOutputs(t *testing.T) {
	t.Parallel()
	inputs := "inputs: {proofpoint_tap: {credentials: {username: a, password: b}, services: {clicksBlocked: {}}}}\n"
	for outputs, want := range map[string]string{
		"{r: {type: sidecar, config: {address: relay, concurrent_connections: 99}}, c: {type: stdout}}": "DEVO_ADDRESS=relay:13000\nSHIPPER_CONNECTIONS=64\nDEVO_TLS=false",
		"{c: {type: stdout}}": "SINK=stdout",
		"{a: {type: relay, config: {url: h, chain_loc: /c, cert_loc: /d, key_loc: /k}}}": "DEVO_ADDRESS=h:443",
	} {
		m, err := parse("outputs: "+outputs+"\n"+inputs, "")
		if err != nil {
			t.Errorf("%s: %v", outputs, err)
			continue
		}
		if got := lines(t, m); !strings.HasPrefix(got, want+"\nTAP_PRINCIPAL=a") {
			t.Errorf("%s: %s", outputs, got)
		}
	}
	for threshold, want := range map[string]string{"-1": "DEVO_COMPRESS=gzip\nSINK=stdout", "0.5": "SINK=stdout", "1.1": "SINK=stdout"} {
		m, err := parse("globals: {devo_sender_threshold_for_using_gzip_in_transport_layer: "+threshold+"}\noutputs: {c: {type: console}}\n"+inputs, "")
		if err != nil || !strings.HasPrefix(lines(t, m), want) || (len(m.Notes) > 0) != (threshold == "0.5") {
			t.Errorf("%s: %+v, %v", threshold, m, err)
		}
	}
	two := strings.Replace(inputs, "inputs: {", "inputs: {tap2: {credentials: {username: c, password: d}, services: {threats: {}}}, ", 1)
	if m, err := parse(two, "tap2"); err != nil || m.Secret.Reveal() != "d" {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestBadFiles: one error that names file, line and key, and never a secret.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	good := file(t, "onprem.yaml")
	for _, c := range []struct{ old, new, want string }{
		{good, "", "config.yaml: want globals, outputs and inputs"},
		{good, "- a", "config.yaml: want globals, outputs and inputs"},
		{good, "a: [", "config.yaml: is neither YAML nor JSON"},
		{good, "a: *s3cr3t-of-proofpoint", "config.yaml: is neither YAML nor JSON"},
		{good, "globals: {}", "config.yaml: inputs: has no proofpoint_tap"},
		{good, strings.Repeat("#", 1<<20+1), "larger than 1 MiB"},
		{"password: s3cr3t-of-proofpoint", "password:", "config.yaml:34: inputs.proofpoint_tap.credentials.password: is required"},
		{"username: 0a1b-principal", `username: "a'b"`, "config.yaml:34: inputs.proofpoint_tap.credentials.username: has a quotation mark"},
		{"username: 0a1b-principal", `username: "a\nb"`, "config.yaml:34: inputs.proofpoint_tap.credentials.username: has a control character"},
		{"username: 0a1b-principal", "username: [s3cr3t-of-proofpoint]", "config.yaml:34: inputs.proofpoint_tap.credentials.username: want a single value"},
		{"enabled: true", "enabled: maybe", "config.yaml:33: inputs.proofpoint_tap.enabled: want true or false"},
		{"\"2026-05-01T00:00:00Z\"", "soon", "config.yaml:39: inputs.proofpoint_tap.services.clicksBlocked.start_time_in_utc_format: want a time"},
		{"request_period_in_seconds: 300", "request_period_in_seconds: often", "config.yaml:38: inputs.proofpoint_tap.services.clicksBlocked.request_period_in_seconds: want a number"},
		{"type: SSL", "type: TCP", "config.yaml:19: outputs.devo_1.config.type: want SSL"},
		{"port: 443", "port: 99999", "config.yaml:18: outputs.devo_1.config.port: want 1 to 65535"},
		{"address: collector-eu.devo.io", "address: https://x", "config.yaml:17: outputs.devo_1.config.address: want the name of a host"},
		{"cert: acme.crt", "", "outputs.devo_1.config.cert: is required"},
		{"type: console", "type: fax", "config.yaml:13: outputs.console_1.type: want devo_platform"},
		{"concurrent_connections: 3", "concurrent_connections: none", "config.yaml:23: outputs.devo_1.config.concurrent_connections: want a number"},
		{"id: 1\n", "id: 1\n    id: 2\n", "config.yaml:31: inputs.other_thing.id: stands here for the second time"},
		{"id: 1\n", "id: &x 1\n    no: *x\n", "config.yaml:31: inputs.other_thing.no: an alias"},
		{"other_thing", "my_proofpoint_tap_2", "is the second input of Proofpoint TAP"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		_, err := parse(text, "")
		if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%q for %.30q: %v\nwant %s", c.new, c.old, err, c.want)
		}
	}
	only := "outputs: {r: {type: syslog, config: {address: collector-eu.devo.io}}}\n"
	if _, err := parse(only+good[strings.Index(good, "inputs:"):], ""); err == nil || !strings.Contains(err.Error(), "config.yaml:1: outputs.r.config.address: is Devo itself") {
		t.Errorf("%v", err)
	}
	if _, err := parse(good, "nothing"); err == nil || !strings.Contains(err.Error(), "has no nothing (--input)") {
		t.Errorf("%v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"onprem.yaml", "hosted.json"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("a: &a [*a]")
	f.Add("")                             // no document
	f.Add("`")                            // not YAML
	f.Add("globals: {id: a, id: b}")      // a key twice
	f.Add("inputs: {proofpoint_tap: {}}") // no credentials
	f.Add("inputs: {proofpoint_tap: {credentials: {username: a, password: b}, services: {clicksBlocked: {start_time_in_utc_format: 2026-05-01}}}}")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parse(text, "")
		switch {
		case err != nil && !errors.Is(err, config.ErrInvalid):
			t.Errorf("%v", err)
		case err == nil:
			for _, s := range m.Env { // what is accepted can be written
				if line, err := s.Line(); err != nil || strings.ContainsAny(line, "\n\r") {
					t.Errorf("%+v: %q, %v", s, line, err)
				}
			}
		}
	})
}
