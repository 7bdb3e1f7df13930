package authority_test

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/authority"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func run(t *testing.T, what func() (authority.Report, error)) authority.Report {
	t.Helper()
	r, err := what()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, parts ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// believed checks what a client and another server check.
func believed(t *testing.T, dir, ca, host string, now time.Time) error {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls/server.pem"), filepath.Join(dir, "tls/server.pem"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ca))
	_, err = pair.Leaf.Verify(x509.VerifyOptions{
		Roots: roots, DNSName: host, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err == nil && !slices.Contains(pair.Leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		t.Error("the certificate is none of a server")
	}
	return err
}

// TestAnOperatorsAuthoritiesStay: a bundle in ca.crt is kept as a whole by every run, beside at
// most two authorities of ours.
func TestAnOperatorsAuthoritiesStay(t *testing.T) {
	t.Parallel()
	f := authority.Folder{Dir: t.TempDir(), Now: start}
	bundle := ""
	for _, name := range []string{"one", "two", "three"} {
		a, err := authority.New(authority.Options{Name: name, Valid: time.Hour, Now: start})
		if err != nil {
			t.Fatal(err)
		}
		bundle += string(a.PEM())
	}
	if err := os.MkdirAll(filepath.Join(f.Dir, "ca"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.Dir, "ca/ca.crt"), []byte(bundle), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, f.Make)
	for range 3 {
		f.Now = f.Now.Add(24 * time.Hour)
		run(t, f.RenewAuthority)
		run(t, f.Make)
	}
	if trust := string(read(t, f.Dir, "ca/ca.crt")); !strings.HasSuffix(trust, bundle) || strings.Count(trust, "BEGIN") != 5 {
		t.Errorf("%d authorities are trusted, the operator's among them: %v", strings.Count(trust, "BEGIN"), strings.HasSuffix(trust, bundle))
	}
	if trust := string(read(t, f.Dir, "tls/ca.crt")); strings.Count(trust, "BEGIN") != 2 {
		t.Errorf("servers trust %d authorities, want 2", strings.Count(trust, "BEGIN"))
	}
	if err := believed(t, f.Dir, string(read(t, f.Dir, "ca/ca.crt")), "nats", f.Now); err != nil {
		t.Error(err)
	}
}

// TestMakeIsDoneOnce: a second run changes nothing, a missing name or a near end renews the
// server's certificate only.
func TestMakeIsDoneOnce(t *testing.T) {
	t.Parallel()
	f := authority.Folder{Dir: t.TempDir(), Now: start}
	if r := run(t, f.Make); !r.Authority || !r.Server {
		t.Errorf("the first run made %+v", r)
	}
	for name, want := range map[string]fs.FileMode{"ca.pem": 0o600, "ca/ca.crt": 0o644, "tls/ca.crt": 0o644, "tls/server.pem": 0o600} {
		info, err := os.Stat(filepath.Join(f.Dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", name, info.Mode(), want, err)
		}
	}
	if strings.Contains(string(read(t, f.Dir, "ca/ca.crt")), "PRIVATE") {
		t.Error("clients get a key")
	}
	for _, host := range []string{"nats", "nats-3", "127.0.0.1", "nats.tapline.svc.cluster.local", "nats-1.nats.tapline.svc.cluster.local"} {
		if err := believed(t, f.Dir, string(read(t, f.Dir, "ca/ca.crt")), host, start); err != nil {
			t.Error(err)
		}
	}
	before := read(t, f.Dir, "tls/server.pem")
	if r := run(t, f.Make); r.Authority || r.Server || string(read(t, f.Dir, "tls/server.pem")) != string(before) {
		t.Errorf("the second run made %+v", r)
	}
	f.Names = []string{"nats-a.example.org", "192.0.2.7"}
	if r := run(t, f.Make); r.Authority || !r.Server {
		t.Errorf("with more names: %+v", r)
	}
	f.Names = nil // the names stay
	f.Now = start.AddDate(1, 0, 10)
	if r := run(t, f.Make); r.Authority || !r.Server {
		t.Errorf("near the end: %+v", r)
	}
	for _, host := range []string{"nats-a.example.org", "192.0.2.7"} {
		if err := believed(t, f.Dir, string(read(t, f.Dir, "ca/ca.crt")), host, f.Now); err != nil {
			t.Error(err)
		}
	}
}

// TestAuthorityIsExchanged: who learned to trust at any step believes the servers at the next.
func TestAuthorityIsExchanged(t *testing.T) {
	t.Parallel()
	f := authority.Folder{Dir: t.TempDir(), Now: start}
	run(t, f.Make)
	if err := os.Chmod(filepath.Join(f.Dir, "tls/server.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	first := string(read(t, f.Dir, "ca/ca.crt"))
	if r := run(t, f.RenewAuthority); !r.Authority || r.Server {
		t.Errorf("a new authority: %+v", r)
	}
	both := string(read(t, f.Dir, "ca/ca.crt"))
	for _, ca := range []string{first, both} {
		if err := believed(t, f.Dir, ca, "nats", start); err != nil {
			t.Error(err)
		}
	}
	if r := run(t, f.RenewServer); r.Authority || !r.Server {
		t.Errorf("a new server: %+v", r)
	}
	if err := believed(t, f.Dir, both, "nats", start); err != nil {
		t.Error(err)
	}
	if err := believed(t, f.Dir, first, "nats", start); err == nil {
		t.Error("the new authority did not sign")
	}
	if info, err := os.Stat(filepath.Join(f.Dir, "tls/server.pem")); err != nil || info.Mode() != 0o644 {
		t.Errorf("the mode did not stay: %v %v", info.Mode(), err)
	}
	run(t, f.RenewAuthority)
	if all := string(read(t, f.Dir, "ca/ca.crt")); strings.Contains(all, first) || strings.Count(all, "BEGIN") != 2 {
		t.Error("the first authority is trusted for ever")
	}
}

// TestInterruptedRunsAreCompleted: whatever a run that was killed has left out, the next one makes.
func TestInterruptedRunsAreCompleted(t *testing.T) {
	t.Parallel()
	for _, lost := range [][]string{{"tls/server.pem"}, {"tls/server.pem", "ca/ca.crt"}, {"ca/ca.crt", "tls/ca.crt", "tls/server.pem"}, {"tls/ca.crt"}} {
		f := authority.Folder{Dir: t.TempDir(), Now: start}
		run(t, f.Make)
		for _, name := range lost {
			if err := os.Remove(filepath.Join(f.Dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		run(t, f.Make)
		if err := believed(t, f.Dir, string(read(t, f.Dir, "tls/ca.crt")), "nats", start); err != nil {
			t.Errorf("without %v: %v", lost, err)
		}
	}
}

// TestForeignCertificatesAreLeftAlone: those of an organisation's own authority.
func TestForeignCertificatesAreLeftAlone(t *testing.T) {
	t.Parallel()
	f := authority.Folder{Dir: t.TempDir(), Now: start}
	run(t, f.Make)
	if err := os.Remove(filepath.Join(f.Dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	before := read(t, f.Dir, "tls/server.pem")
	f.Now = start.AddDate(3, 0, 0)
	if r := run(t, f.Make); r.Server || r.Authority {
		t.Errorf("made %+v", r)
	}
	if _, err := f.RenewServer(); err == nil || !strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("rotate without the authority's key: %v", err)
	}
	if string(read(t, f.Dir, "tls/server.pem")) != string(before) {
		t.Error("the certificate was replaced")
	}
	if err := os.WriteFile(filepath.Join(f.Dir, "ca.pem"), before[:100], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Make(); err == nil || !strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("a broken authority: %v", err)
	}
}
