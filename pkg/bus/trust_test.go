package bus_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tapline/tapline/pkg/authority"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// made makes the certificates of a deployment at some time.
func made(t *testing.T, at time.Time) authority.Folder {
	t.Helper()
	f := authority.Folder{Dir: t.TempDir(), Now: at}
	if _, err := f.Make(); err != nil {
		t.Fatal(err)
	}
	return f
}

func ca(f authority.Folder) string  { return filepath.Join(f.Dir, "ca/ca.crt") }
func own(f authority.Folder) string { return filepath.Join(f.Dir, "tls") }

// lines collects what is logged.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.all.String(), text)
}

// until polls with a deadline.
func poll(t *testing.T, what string, check func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !check() {
		select {
		case <-ctx.Done():
			t.Fatalf("still waiting for: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// shown is the certificate that a server shows to a client that trusts the folder.
func shown(t *testing.T, c bus.Config) *x509.Certificate {
	t.Helper()
	nc, err := nats.Connect(c.URL, nats.UserInfo(c.User, c.Password.Reveal()), nats.RootCAs(c.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	state, err := nc.TLSConnectionState()
	if err != nil {
		t.Fatal(err)
	}
	return state.PeerCertificates[0]
}

// TestCertificatesRotate: server certificate and authority are exchanged while a client works; it
// notices nothing, and finds its way back when its connection is cut.
func TestCertificatesRotate(t *testing.T) {
	t.Parallel()
	f := made(t, time.Now())
	server := bustest.StartEncrypted(t, deployed, own(f))
	c := server.As("admin")
	c.CAFile = ca(f)
	log := &lines{}
	b, err := bus.Connect(t.Context(), c, "tapctl", slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	back := make(chan bool, 16)
	b.OnState(func(connected bool) { back <- connected })
	limits := bustest.Limits
	if err := b.Setup(t.Context(), limits, nil); err != nil {
		t.Fatal(err)
	}
	before := shown(t, c)
	for _, renew := range []struct {
		what string
		do   func() (authority.Report, error)
		same bool // the certificate that is shown
	}{{"server", f.RenewServer, false}, {"authority", f.RenewAuthority, true}, {"server of the new authority", f.RenewServer, false}} {
		if _, err := renew.do(); err != nil {
			t.Fatal(err)
		}
		server.Reload(t, nil)
		if _, err := b.Usage(t.Context(), "RAW"); err != nil {
			t.Errorf("after a new %s: %v", renew.what, err)
		}
		if len(back) > 0 {
			t.Errorf("a new %s ended the connection", renew.what)
		}
		now := shown(t, c)
		if now.Equal(before) != renew.same {
			t.Errorf("after a new %s the server shows number %x, before %x", renew.what, now.SerialNumber, before.SerialNumber)
		}
		before = now
		server.Drop(t)
		poll(t, "the connection to be back", func() bool { return len(back) == 2 })
		<-back
		<-back
	}
	if log.has("certificate") {
		t.Errorf("the log complains: %s", log.all.String())
	}
}

// TestDistrustIsExplained: a server that cannot be believed is not, and the error names why and
// what to do.
func TestDistrustIsExplained(t *testing.T) {
	t.Parallel()
	good, old, other := made(t, time.Now()), made(t, time.Now().AddDate(-2, 0, 0)), made(t, time.Now())
	soon := made(t, time.Now().AddDate(0, 0, -380))
	named := elsewhere(t)
	plain := bustest.StartGuarded(t, deployed)
	for name, test := range map[string]struct {
		server *bustest.Guarded
		ca     string
		want   string
	}{
		"expired":           {bustest.StartEncrypted(t, deployed, own(old)), ca(old), "the certificate of the NATS server is valid from"},
		"another authority": {bustest.StartEncrypted(t, deployed, own(good)), ca(other), "NATS_CA_FILE does not have the authority"},
		"another name":      {bustest.StartEncrypted(t, deployed, own(named)), ca(named), "NATS_NAMES=127.0.0.1"},
		"no TLS":            {plain, ca(good), "the NATS server does not speak TLS"},
		"ends soon":         {bustest.StartEncrypted(t, deployed, own(soon)), ca(soon), "the certificate of the NATS server ends soon"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := test.server.As("shipper")
			c.CAFile = test.ca
			log := &lines{}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				b, err := bus.Connect(ctx, c, "shipper", slog.New(slog.NewTextHandler(log, nil)))
				if err == nil {
					b.Close()
				}
				done <- err
			}()
			poll(t, "the log to say "+test.want, func() bool { return log.has(test.want) })
			cancel()
			if err := <-done; (err == nil) != (name == "ends soon") {
				t.Errorf("connect: %v", err)
			}
		})
	}
}

// elsewhere has a certificate for a server of another name, from an authority that is kept
// elsewhere.
func elsewhere(t *testing.T) authority.Folder {
	t.Helper()
	a, err := authority.New(authority.Options{Name: "another", Valid: 90 * 24 * time.Hour, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := a.Sign(authority.Leaf{Name: "nats", Hosts: []string{"nats.example.org"}, Valid: 90 * 24 * time.Hour, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	f := made(t, time.Now())
	for path, data := range map[string][]byte{ca(f): a.PEM(), filepath.Join(own(f), "server.pem"): append(cert, key...)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// TestPlainClientsAreRefused: where certificates are, nothing crosses the network in clear.
func TestPlainClientsAreRefused(t *testing.T) {
	t.Parallel()
	f := made(t, time.Now())
	c := bustest.StartEncrypted(t, deployed, own(f)).As("shipper")
	if nc, err := nats.Connect(c.URL, nats.UserInfo(c.User, c.Password.Reveal())); err == nil || !errors.As(err, new(*tls.CertificateVerificationError)) {
		if nc != nil {
			nc.Close()
		}
		t.Errorf("a client that trusts no authority of the deployment: %v", err)
	}
}

// TestServersVerifyEachOther: a server whose certificate another authority signed does not join,
// though it knows the password of routes; certificates are exchanged while the others stay
// together.
func TestServersVerifyEachOther(t *testing.T) {
	t.Parallel()
	f, foreign := made(t, time.Now()), made(t, time.Now())
	nodes := bustest.Nodes(t, deployed, own(f), own(f), own(foreign))
	nodes[0].Meets(t, 1)
	nodes[1].Meets(t, 1)
	for _, renew := range []func() (authority.Report, error){f.RenewAuthority, f.RenewServer} {
		if _, err := renew(); err != nil {
			t.Fatal(err)
		}
		nodes[0].Reload(t)
		nodes[1].Reload(t)
		nodes[0].Meets(t, 1)
	}
	// The foreign one gets certificates of the deployment: the same server joins.
	if err := os.CopyFS(own(foreign)+"/new", os.DirFS(own(f))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "server.pem"} {
		if err := os.Rename(filepath.Join(own(foreign), "new", name), filepath.Join(own(foreign), name)); err != nil {
			t.Fatal(err)
		}
	}
	nodes[2].Reload(t)
	for _, n := range nodes {
		n.Meets(t, 2)
	}
}
