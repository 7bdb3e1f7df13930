// Package devocert makes the certificates of a stand-in for Devo: an authority, a server
// certificate, and a client certificate whose subject names the Devo domain. They are for tests and
// rehearsals: the authority's key is thrown away as soon as both are signed. With [Options.Seed]
// the same options make the same bytes, keys included; never trust them outside a test.
package devocert

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/tapline/tapline/pkg/authority"
)

// Options of a set of certificates.
type Options struct {
	Domain string   // of the client; empty means "demo"
	Names  []string // of the server besides localhost and the loopback addresses
	Valid  time.Duration
	Seed   string    // tests only: what all keys follow from; empty means chance
	Now    time.Time // of the making; zero means now
}

// Set is a chain, a server and a client, all in PEM.
type Set struct {
	Chain, ServerCert, ServerKey, ClientCert, ClientKey []byte
}

const defaultValidity = 825 * 24 * time.Hour

// New makes a set.
func New(o Options) (*Set, error) {
	if o.Domain == "" {
		o.Domain = "demo"
	}
	if o.Valid == 0 {
		o.Valid = defaultValidity
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	var chance io.Reader
	if o.Seed != "" {
		chance = mathrand.NewChaCha8(sha256.Sum256([]byte(o.Seed)))
	}
	ca, err := authority.New(authority.Options{Name: "Tapline rehearsal CA", Valid: o.Valid, Now: o.Now, Chance: chance})
	if err != nil {
		return nil, err
	}
	s := &Set{Chain: ca.PEM()}
	server := authority.Leaf{
		Name: "localhost", Hosts: append([]string{"localhost", "127.0.0.1", "::1"}, o.Names...),
		Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, Valid: o.Valid, Now: o.Now,
	}
	if s.ServerCert, s.ServerKey, err = ca.Sign(server); err != nil {
		return nil, err
	}
	s.ClientCert, s.ClientKey, err = ca.Sign(authority.Leaf{Name: o.Domain, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, Valid: o.Valid, Now: o.Now})
	return s, err
}

// Server is a TLS configuration that demands a client of the same set.
func (s *Set) Server() (*tls.Config, error) { return ServerConfig(s.Chain, s.ServerCert, s.ServerKey) }

// ServerConfig is a TLS configuration that demands a client certificate signed by the chain.
func ServerConfig(chain, cert, key []byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("server certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(chain) {
		return nil, errNoChain
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}, nil
}

var errNoChain = errors.New("chain holds no certificate")

// Files names the files of a set below dir.
type Files struct{ Chain, ServerCert, ServerKey, ClientCert, ClientKey string }

// In gives the names of the files of a set.
func In(dir string) Files {
	at := func(name string) string { return filepath.Join(dir, name) }
	return Files{at("chain.crt"), at("server.crt"), at("server.key"), at("client.crt"), at("client.key")}
}

// Complete reports whether dir has all files of a set.
func Complete(dir string) bool {
	files := In(dir)
	for _, path := range []string{files.Chain, files.ServerCert, files.ServerKey, files.ClientCert, files.ClientKey} {
		if _, err := os.Stat(path); err != nil {
			return false
		}
	}
	return true
}

// Write puts the set into dir; keys are readable by their owner only. Files that
// exist are left alone, and that is an error.
func (s *Set) Write(dir string) (Files, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // certificates are public; keys have their own mode
		return Files{}, fmt.Errorf("make %s: %w", dir, err)
	}
	files := In(dir)
	for _, f := range []struct {
		path string
		data []byte
		mode fs.FileMode
	}{
		{files.Chain, s.Chain, 0o644},
		{files.ServerCert, s.ServerCert, 0o644},
		{files.ServerKey, s.ServerKey, 0o600},
		{files.ClientCert, s.ClientCert, 0o644},
		{files.ClientKey, s.ClientKey, 0o600},
	} {
		if err := create(f.path, f.data, f.mode); err != nil {
			return Files{}, err
		}
	}
	return files, nil
}

func create(path string, data []byte, mode fs.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the operator names the directory
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
