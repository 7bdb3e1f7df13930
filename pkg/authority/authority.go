// Package authority makes certificates: an authority, and what it signs. [Folder] keeps those of a
// deployment's NATS servers in files, renews them and exchanges the authority. All keys are
// Ed25519.
package authority

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"
)

// Options of an authority.
type Options struct {
	Name  string
	Valid time.Duration
	Now   time.Time
	// Chance is what keys and serial numbers are made of; nil means the system's.
	Chance io.Reader
}

// Authority signs certificates.
type Authority struct {
	cert   *x509.Certificate
	key    ed25519.PrivateKey
	chance io.Reader
}

// organization stands in every certificate made here.
var organization = []string{"Tapline"}

// skew is how far the clocks of two hosts may differ when a certificate is new.
const skew = time.Hour

// New makes an authority.
func New(o Options) (*Authority, error) {
	a := &Authority{chance: o.Chance}
	if a.chance == nil {
		a.chance = rand.Reader
	}
	begin := o.Now.Add(-skew)
	template := &x509.Certificate{
		SerialNumber: a.serial(), Subject: pkix.Name{CommonName: o.Name, Organization: organization},
		NotBefore: begin, NotAfter: begin.Add(o.Valid), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = a.newKey()
	der, err := x509.CreateCertificate(a.chance, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	a.cert, err = x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the authority: %w", err)
	}
	return a, nil
}

// Leaf is a certificate to sign.
type Leaf struct {
	Name  string
	Hosts []string // DNS names and addresses
	Usage []x509.ExtKeyUsage
	Valid time.Duration
	Now   time.Time
}

// Sign makes a key and a certificate for it, both in PEM.
func (a *Authority) Sign(l Leaf) (cert, key []byte, err error) {
	begin := l.Now.Add(-skew)
	template := &x509.Certificate{
		SerialNumber: a.serial(), Subject: pkix.Name{CommonName: l.Name, Organization: organization},
		NotBefore: begin, NotAfter: begin.Add(l.Valid), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: l.Usage,
	}
	for _, host := range l.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	own := a.newKey()
	der, err := x509.CreateCertificate(a.chance, template, a.cert, own.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign a certificate: %w", err)
	}
	key, err = encodeKey(own)
	return encode(certificateBlock, der), key, err
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return encode(certificateBlock, a.cert.Raw) }

func (a *Authority) bytes(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(a.chance, b); err != nil { // neither the system's chance nor a stream cipher fails
		panic(err)
	}
	return b
}

func (a *Authority) serial() *big.Int { return new(big.Int).SetBytes(a.bytes(15)) }

func (a *Authority) newKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(a.bytes(ed25519.SeedSize))
}

// Blocks of PEM.
const (
	certificateBlock = "CERTIFICATE"
	keyBlock         = "PRIVATE KEY"
)

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func encodeKey(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return encode(keyBlock, der), nil
}

var (
	errNoKey   = errors.New("want a certificate and its Ed25519 key in PEM")
	errNoBlock = errors.New("want a certificate in PEM")
)

// parse reads all certificates of a file in PEM, and its key if it has one.
func parse(data []byte) (certs []*x509.Certificate, key ed25519.PrivateKey, err error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case certificateBlock:
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("parse a certificate: %w", err)
			}
			certs = append(certs, cert)
		case keyBlock:
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("parse a key: %w", err)
			}
			var ok bool
			if key, ok = parsed.(ed25519.PrivateKey); !ok {
				return nil, nil, errNoKey
			}
		}
	}
	if len(certs) == 0 {
		return nil, nil, errNoBlock
	}
	return certs, key, nil
}
