// Package devocert makes the certificates of a stand-in for Devo: an authority,
// a server certificate, and a client certificate whose subject names the Devo
// domain. They are for tests and rehearsals: the authority's key is thrown away
// as soon as both are signed. With [Options.Seed] the same options make the same
// bytes, keys included, which nobody should trust outside a test.
package devocert

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"
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
	m := maker{chance: rand.Reader}
	if o.Seed != "" {
		m.chance = mathrand.NewChaCha8(sha256.Sum256([]byte(o.Seed)))
	}
	begin := o.Now.Add(-time.Hour)
	ca := &x509.Certificate{
		SerialNumber: m.serial(), Subject: pkix.Name{CommonName: "Tapline rehearsal CA", Organization: []string{"Tapline"}},
		NotBefore: begin, NotAfter: begin.Add(o.Valid), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey := m.key()
	der, err := x509.CreateCertificate(m.chance, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	s := &Set{Chain: encode("CERTIFICATE", der)}
	leaf := func(name string, usage x509.ExtKeyUsage) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: m.serial(), Subject: pkix.Name{CommonName: name, Organization: []string{"Tapline"}},
			NotBefore: begin, NotAfter: begin.Add(o.Valid), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		}
	}
	server := leaf("localhost", x509.ExtKeyUsageServerAuth)
	server.DNSNames = append([]string{"localhost"}, o.Names...)
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if s.ServerCert, s.ServerKey, err = m.sign(server, ca, caKey); err != nil {
		return nil, err
	}
	s.ClientCert, s.ClientKey, err = m.sign(leaf(o.Domain, x509.ExtKeyUsageClientAuth), ca, caKey)
	return s, err
}

// maker makes keys and numbers out of chance, or of what passes for it.
type maker struct{ chance io.Reader }

func (m maker) bytes(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(m.chance, b); err != nil { // neither source of chance fails
		panic(err)
	}
	return b
}

func (m maker) serial() *big.Int { return new(big.Int).SetBytes(m.bytes(15)) }

func (m maker) key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(m.bytes(ed25519.SeedSize)) }

func (m maker) sign(leaf, ca *x509.Certificate, caKey ed25519.PrivateKey) (cert, key []byte, err error) {
	k := m.key()
	der, err := x509.CreateCertificate(m.chance, leaf, ca, k.Public(), caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("sign a certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, nil, fmt.Errorf("encode a key: %w", err)
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", private), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
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
