package devo

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/devosink/devocert"
)

// written makes certificates and the values that lead to them.
func written(t *testing.T, o devocert.Options) (*devocert.Set, map[string]string) {
	t.Helper()
	set, err := devocert.New(o)
	if err != nil {
		t.Fatal(err)
	}
	files, err := set.Write(filepath.Join(t.TempDir(), "certs"))
	if err != nil {
		t.Fatal(err)
	}
	return set, map[string]string{"DEVO_CHAIN_FILE": files.Chain, "DEVO_CERT_FILE": files.ClientCert, "DEVO_KEY_FILE": files.ClientKey, "DEVO_HOSTNAME": "collector-1"}
}

// loaded is a configuration of some values, and what is wrong with it.
func loaded(t *testing.T, values ...map[string]string) (Config, error) {
	t.Helper()
	var environ []string
	for _, some := range values {
		for name, value := range some {
			environ = append(environ, name+"="+value)
		}
	}
	var c Config
	if err := config.Load(&c, environ); err != nil {
		return c, err
	}
	_, err := c.Load()
	return c, err
}

// TestEverySettingHasItsBounds: the first value that is taken is, and the one beside it is one
// problem with its name. With TLS and without.
func TestEverySettingHasItsBounds(t *testing.T) {
	t.Parallel()
	_, keys := written(t, devocert.Options{})
	for base, name := range map[*map[string]string]string{&keys: "tls", {"DEVO_TLS": "false", "DEVO_ADDRESS": "relay:13000"}: "relay"} {
		for variable, values := range map[string]struct{ good, bad string }{
			"DEVO_ADDRESS":       {"relay:13000", "relay :13000 relay:"},
			"DEVO_CONFIRM":       {"acked rotate", "sent"},
			"DEVO_COMPRESS":      {"off gzip", "zip"},
			"DEVO_DATE_FORMAT":   {"devo rfc3339 rfc3164", "iso"},
			"DEVO_STALL_TIMEOUT": {"251ms", "9ms"},
			"DEVO_MAX_AGE":       {"10ms", "9ms"},
			"DEVO_ROTATE_AFTER":  {"10ms", "9ms"},
			"DEVO_IDLE":          {"10ms", "9ms"},
			"DEVO_SETTLE":        {"0s 19999ms", "-1ns 20s"},
			"DEVO_HOSTNAME":      {"a.b", "a:b"},
		} {
			for value := range strings.FieldsSeq(values.good) {
				if _, err := loaded(t, *base, map[string]string{variable: value}); err != nil {
					t.Errorf("%s: %s=%s: %v", name, variable, value, err)
				}
			}
			for value := range strings.FieldsSeq(values.bad) {
				if _, err := loaded(t, *base, map[string]string{variable: value}); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), variable) {
					t.Errorf("%s: %s=%s: %v", name, variable, value, err)
				}
			}
		}
	}
}

// TestARelayNeedsNoCertificates: what is of no use is refused, and so is sending to Devo in the
// clear.
func TestARelayNeedsNoCertificates(t *testing.T) {
	t.Parallel()
	relay := map[string]string{"DEVO_TLS": "false", "DEVO_ADDRESS": "relay:13000"}
	c, err := loaded(t, relay)
	if conf, _ := c.Load(); err != nil || conf != nil || !strings.Contains(c.Warning(), "in the clear") {
		t.Errorf("%v, warning %q", err, c.Warning())
	}
	for variable, value := range map[string]string{
		"DEVO_CHAIN_FILE": "f", "DEVO_CERT_FILE": "f", "DEVO_KEY_FILE": "f", "DEVO_SERVER_NAME": "f", "DEVO_VERIFY_HOSTNAME": "false", "DEVO_ADDRESS": "collector-eu.devo.io:443",
	} {
		if _, err := loaded(t, relay, map[string]string{variable: value}); err == nil || !strings.Contains(err.Error(), variable) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", variable, err)
		}
	}
	if _, err := loaded(t, relay, map[string]string{"DEVO_ADDRESS": "devo.io:443"}); err == nil {
		t.Error("devo.io itself")
	}
	if _, err := loaded(t, relay, map[string]string{"DEVO_ADDRESS": "notdevo.io:443"}); err != nil {
		t.Error(err)
	}
}

// TestCertificatesAreChecked: each error names the variable, and says what to do.
func TestCertificatesAreChecked(t *testing.T) {
	t.Parallel()
	set, keys := written(t, devocert.Options{})
	other, _ := written(t, devocert.Options{})
	expired, _ := written(t, devocert.Options{Now: time.Now().Add(-48 * time.Hour), Valid: 24 * time.Hour})
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c, err := loaded(t, keys)
	if err != nil || c.Warning() != "" {
		t.Fatalf("%v, warning %q", err, c.Warning())
	}
	if c, err := loaded(t, keys, map[string]string{"DEVO_VERIFY_HOSTNAME": "false"}); err != nil || !strings.Contains(c.Warning(), "DEVO_VERIFY_HOSTNAME") {
		t.Errorf("%v, warning %q", err, c.Warning())
	}
	bundle := file("bundle.p12", []byte{0x30, 0x82, 0x0a})
	for name, trial := range map[string]struct {
		change map[string]string
		want   []string
	}{
		"no chain":            {map[string]string{"DEVO_CHAIN_FILE": ""}, []string{"DEVO_CHAIN_FILE", "required"}},
		"a chain that is not": {map[string]string{"DEVO_CHAIN_FILE": filepath.Join(dir, "none")}, []string{"DEVO_CHAIN_FILE", "cannot be read"}},
		"an empty chain":      {map[string]string{"DEVO_CHAIN_FILE": bundle}, []string{"DEVO_CHAIN_FILE", "holds no certificate"}},
		"no pair":             {map[string]string{"DEVO_CERT_FILE": "", "DEVO_KEY_FILE": ""}, []string{"DEVO_CERT_FILE", "DEVO_KEY_FILE", "required"}},
		"a key that is not":   {map[string]string{"DEVO_KEY_FILE": filepath.Join(dir, "none")}, []string{"DEVO_KEY_FILE", "cannot be read"}},
		"an encrypted key":    {map[string]string{"DEVO_KEY_FILE": file("e", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"))}, []string{"DEVO_KEY_FILE", "is encrypted"}},
		"a bundle":            {map[string]string{"DEVO_CERT_FILE": bundle}, []string{"DEVO_CERT_FILE", "PKCS#12"}},
		"a bundle as the key": {map[string]string{"DEVO_KEY_FILE": bundle}, []string{"DEVO_KEY_FILE", "PKCS#12"}},
		"the key of another":  {map[string]string{"DEVO_KEY_FILE": file("k", other.ClientKey)}, []string{"DEVO_CERT_FILE", "does not make a pair"}},
		"an expired one": {
			map[string]string{"DEVO_CERT_FILE": file("xc", expired.ClientCert), "DEVO_KEY_FILE": file("xk", expired.ClientKey)}, []string{"DEVO_CERT_FILE", "expired on"},
		},
	} {
		_, err := loaded(t, keys, trial.change)
		for _, want := range trial.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	if len(set.ClientCert) == 0 {
		t.Error("no certificate was made")
	}
}

// TestChangedFilesAreTaken: once they can be used, and not at every look.
func TestChangedFilesAreTaken(t *testing.T) {
	t.Parallel()
	set, values := written(t, devocert.Options{})
	c, err := loaded(t, values)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDialer(c)
	if err != nil {
		t.Fatal(err)
	}
	first, generation := d.keys.current()
	change := func(path string, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change(c.KeyFile, []byte("half a file"))
	d.keys.looked = time.Now().Add(time.Hour) // it was looked at a moment ago
	if _, err := d.Expiry(); err != nil {
		t.Errorf("looked at too early: %v", err)
	}
	due := func() { d.keys.looked = time.Now().Add(-lookEvery) }
	due()
	now, same := d.keys.current()
	if expiry, err := d.Expiry(); err == nil || now != first || same != generation || !expiry.Equal(first.Certificates[0].Leaf.NotAfter) {
		t.Errorf("a bad file: %v, generation %d", err, same)
	}
	change(c.KeyFile, append(slices.Clone(set.ClientKey), '\n'))
	due()
	if now, next := d.keys.current(); now == first || next != generation+1 {
		t.Errorf("a good file: generation %d", next)
	}
	if _, err := d.Expiry(); err != nil {
		t.Errorf("a good file: %v", err)
	}
	due()
	if _, next := d.keys.current(); next != generation+1 {
		t.Errorf("nothing has changed: generation %d", next)
	}
}

// TestHost is one word, whatever the machine is called.
func TestHost(t *testing.T) {
	t.Parallel()
	if got := (Config{Hostname: "a b:c\x7fé~d"}).Host(); got != "a-b-c--~d" {
		t.Errorf("%q", got)
	}
	machine, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	if got := (Config{}).Host(); len(got) != len(machine) {
		t.Errorf("%q of %q", got, machine)
	}
}

// with is some values and others over them.
func with(values map[string]string, more ...map[string]string) map[string]string {
	all := maps.Clone(values)
	for _, m := range more {
		maps.Copy(all, m)
	}
	return all
}
