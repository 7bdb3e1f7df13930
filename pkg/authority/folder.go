package authority

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/config"
)

// Lifetimes of what a [Folder] holds.
const (
	authorityValid = 10 * 365 * 24 * time.Hour
	serverValid    = 397 * 24 * time.Hour
	// Soon is how long before its end a certificate is renewed when it is looked at.
	Soon = 30 * 24 * time.Hour
)

// hosts are the names of NATS servers in deploy/cluster.yml and deploy/k8s.
var hosts = []string{
	"localhost", "127.0.0.1", "::1", "nats", "nats-2", "nats-3",
	"nats.tapline", "nats.tapline.svc", "nats.tapline.svc.cluster.local",
	"*.nats", "*.nats.tapline.svc", "*.nats.tapline.svc.cluster.local",
}

// Folder keeps the certificates of a deployment's NATS servers:
//
//	ca.pem          the authority with its key; only the folder's owner needs it
//	ca/ca.crt       what clients trust: the authority, the one before it, and what an operator added
//	tls/ca.crt      the same, for servers: they verify each other
//	tls/server.pem  the certificate of all servers and its key, in one file: they are replaced together
//
// Every file is replaced as a whole, and trust before what is trusted: a run that was killed is
// completed by the next one.
type Folder struct {
	Dir   string
	Names []string // of servers, besides those of Tapline's own deployments
	Now   time.Time
}

// Report says what a run did.
type Report struct {
	Authority, Server bool // made new
	AuthorityEnds     time.Time
	ServerEnds        time.Time
	Hosts             []string
}

func (f Folder) path(name string) string { return filepath.Join(f.Dir, name) }

// Make makes what is missing, and renews what ends within [Soon].
func (f Folder) Make() (Report, error) { return f.run(false, false) }

// RenewServer signs another certificate for the servers.
func (f Folder) RenewServer() (Report, error) { return f.run(false, true) }

// RenewAuthority makes another authority and adds it to what is trusted. The servers keep their
// certificate until RenewServer, so that every client and server can learn to trust the new one
// before.
func (f Folder) RenewAuthority() (Report, error) { return f.run(true, false) }

func (f Folder) run(newAuthority, newServer bool) (Report, error) {
	var r Report
	if f.foreign() && !newAuthority && !newServer {
		return r, nil
	}
	a, err := f.authority()
	if err != nil {
		return r, err
	}
	var before *Authority
	if a == nil || newAuthority || f.ends(a.cert) {
		before, r.Authority = a, true
		if a, err = New(Options{Name: ownName + f.Now.UTC().Format(time.DateOnly), Valid: authorityValid, Now: f.Now}); err != nil {
			return r, err
		}
	}
	trusted, err := f.trust(a, before)
	if err != nil {
		return r, err
	}
	if r.Authority {
		key, err := encodeKey(a.key)
		if err != nil {
			return r, err
		}
		if err := f.replace("ca.pem", append(a.PEM(), key...)); err != nil {
			return r, err
		}
	}
	server, good := f.server(trusted)
	if !good || newServer || !f.covers(server) {
		r.Server = true
		if server, err = f.issue(a, server); err != nil {
			return r, err
		}
	}
	r.AuthorityEnds, r.ServerEnds, r.Hosts = a.cert.NotAfter, server.NotAfter, namesOf(server)
	return r, nil
}

func (f Folder) ends(cert *x509.Certificate) bool { return cert.NotAfter.Before(f.Now.Add(Soon)) }

// foreign reports whether the certificates come from an authority that is kept elsewhere. They are
// left alone.
func (f Folder) foreign() bool {
	_, own := os.Stat(f.path("ca.pem"))
	_, trusted := os.Stat(f.path("ca/ca.crt"))
	_, server := os.Stat(f.path("tls/server.pem"))
	return errors.Is(own, fs.ErrNotExist) && trusted == nil && server == nil
}

// authority reads the one that signs; nil if there is none yet.
func (f Folder) authority() (*Authority, error) {
	data, err := os.ReadFile(f.path("ca.pem"))
	if errors.Is(err, fs.ErrNotExist) {
		if f.foreign() {
			return nil, &config.ProblemError{Variable: "certificates", Value: f.path("ca.pem"), Reason: "is missing: the authority of ca/ca.crt is kept elsewhere; " +
				"have it sign another tls/server.pem, or remove ca and tls to begin with an authority of this deployment"}
		}
		return nil, nil // nil means none
	}
	if err != nil {
		return nil, &config.ProblemError{Variable: "certificates", Value: f.path("ca.pem"), Reason: "cannot be read: " + err.Error()}
	}
	certs, key, err := parse(data)
	if err == nil && !matches(certs[0], key) {
		err = errNoKey
	}
	if err != nil {
		return nil, &config.ProblemError{Variable: "certificates", Value: f.path("ca.pem"), Reason: err.Error()}
	}
	return &Authority{cert: certs[0], key: key, chance: rand.Reader}, nil
}

// ownName begins the names of authorities that are made here.
const ownName = "Tapline NATS "

// trust writes which authorities are trusted: the one that signs, one of ours before it, and
// whatever else an operator has put into a file.
func (f Folder) trust(now, before *Authority) (all []*x509.Certificate, err error) {
	ours := []*x509.Certificate{now.cert}
	if before != nil {
		ours = append(ours, before.cert)
	}
	foreign := make(map[string][]*x509.Certificate)
	for _, name := range []string{"ca/ca.crt", "tls/ca.crt"} {
		data, err := os.ReadFile(f.path(name))
		if err != nil {
			continue
		}
		old, _, err := parse(data)
		if err != nil {
			return nil, &config.ProblemError{Variable: "certificates", Value: f.path(name), Reason: err.Error()}
		}
		for _, cert := range old {
			if strings.HasPrefix(cert.Subject.CommonName, ownName) {
				ours = append(ours, cert)
			} else {
				foreign[name] = append(foreign[name], cert)
			}
		}
	}
	var kept []*x509.Certificate
	for _, cert := range ours {
		if len(kept) < 2 && !cert.NotAfter.Before(f.Now) && !slices.ContainsFunc(kept, cert.Equal) {
			kept = append(kept, cert)
		}
	}
	for _, name := range []string{"ca/ca.crt", "tls/ca.crt"} {
		if err := f.list(name, slices.Concat(kept, foreign[name])); err != nil {
			return nil, err
		}
	}
	return append(kept, foreign["ca/ca.crt"]...), nil
}

// list writes a file of certificates, unless it has them.
func (f Folder) list(name string, certs []*x509.Certificate) error {
	var text []byte
	for _, cert := range certs {
		text = append(text, encode(certificateBlock, cert.Raw)...)
	}
	if have, err := os.ReadFile(f.path(name)); err == nil && bytes.Equal(have, text) {
		return nil
	}
	return f.replace(name, text)
}

// server reads the certificate of the servers, if there is one, and whether a client would believe
// it.
func (f Folder) server(trusted []*x509.Certificate) (cert *x509.Certificate, good bool) {
	data, err := os.ReadFile(f.path("tls/server.pem"))
	if err != nil {
		return nil, false
	}
	certs, key, err := parse(data)
	if err != nil {
		return nil, false
	}
	signed := func(a *x509.Certificate) bool { return certs[0].CheckSignatureFrom(a) == nil }
	return certs[0], matches(certs[0], key) && slices.ContainsFunc(trusted, signed)
}

func matches(cert *x509.Certificate, key ed25519.PrivateKey) bool {
	public, ok := cert.PublicKey.(ed25519.PublicKey)
	return ok && key != nil && public.Equal(key.Public())
}

// covers reports whether a certificate has all names and does not end soon.
func (f Folder) covers(cert *x509.Certificate) bool {
	have := namesOf(cert)
	return !f.ends(cert) && !slices.ContainsFunc(f.hosts(nil), func(host string) bool { return !slices.Contains(have, host) })
}

func namesOf(cert *x509.Certificate) []string {
	names := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// hosts are all names of the servers; those that the certificate before had stay.
func (f Folder) hosts(before *x509.Certificate) []string {
	all := slices.Concat(hosts, f.Names)
	if before != nil {
		all = append(all, namesOf(before)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// issue makes the certificate of the servers. To each other they are clients, too.
func (f Folder) issue(a *Authority, before *x509.Certificate) (*x509.Certificate, error) {
	cert, key, err := a.Sign(Leaf{
		Name: "nats", Hosts: f.hosts(before), Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, Valid: serverValid, Now: f.Now,
	})
	if err != nil {
		return nil, err
	}
	if err := f.replace("tls/server.pem", append(cert, key...)); err != nil {
		return nil, err
	}
	certs, _, err := parse(cert)
	if err != nil {
		return nil, err
	}
	return certs[0], nil
}

// replace puts a file in place as a whole. One with a key is for its owner only, unless the
// file before it had another mode.
func (f Folder) replace(name string, data []byte) error {
	path, mode := f.path(name), fs.FileMode(0o600)
	if filepath.Ext(name) == ".crt" {
		mode = 0o644
	}
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	err := os.MkdirAll(filepath.Dir(path), 0o755) //nolint:gosec // certificates are public; keys have their own mode
	if err == nil {
		err = write(path, data, mode)
	}
	if err != nil {
		return &config.ProblemError{Variable: "certificates", Value: path, Reason: "cannot be written: " + err.Error()}
	}
	return nil
}

func write(path string, data []byte, mode fs.FileMode) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}
