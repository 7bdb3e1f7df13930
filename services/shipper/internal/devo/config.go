package devo

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/config"
)

// Config of the connection to Devo.
type Config struct {
	Address      string        `env:"DEVO_ADDRESS" envDefault:"collector-eu.devo.io:443" usage:"host:port of Devo's syslog endpoint"`
	ChainFile    string        `env:"DEVO_CHAIN_FILE" usage:"PEM file of the chain from Devo, trusted besides the system's roots"`
	CertFile     string        `env:"DEVO_CERT_FILE" usage:"PEM file of the domain's certificate"`
	KeyFile      string        `env:"DEVO_KEY_FILE" usage:"PEM file of its key"`
	Hostname     string        `env:"DEVO_HOSTNAME" usage:"host in every row's header; this machine's name if empty"`
	ServerName   string        `env:"DEVO_SERVER_NAME" usage:"name in the server's certificate, if not the host of DEVO_ADDRESS"`
	Confirm      string        `env:"DEVO_CONFIRM" envDefault:"acked" usage:"proof of delivery: acked (by the other kernel) or rotate (read to the end by the other side)"`
	RotateAfter  time.Duration `env:"DEVO_ROTATE_AFTER" envDefault:"5s" usage:"with rotate: how long a connection collects rows before it is ended"`
	StallTimeout time.Duration `env:"DEVO_STALL_TIMEOUT" envDefault:"20s" usage:"give a connection up when nothing is acknowledged for so long"`
	Settle       time.Duration `env:"DEVO_SETTLE" envDefault:"250ms" usage:"with acked: how long the connection must stand after the acknowledgement"`
	MaxAge       time.Duration `env:"DEVO_MAX_AGE" envDefault:"55m" usage:"age at which a connection is replaced"`
}

// Confirmations.
const (
	ConfirmAcked  = "acked"
	ConfirmRotate = "rotate"
)

// Load reads the certificates and reports everything that is wrong at once.
func (c Config) Load() (*tls.Config, error) {
	var problems []error
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" || port == "" {
		problems = append(problems, config.Invalid("DEVO_ADDRESS", c.Address, "want host:port, such as collector-eu.devo.io:443"))
	}
	if c.Confirm != ConfirmAcked && c.Confirm != ConfirmRotate {
		problems = append(problems, config.Invalid("DEVO_CONFIRM", c.Confirm, "want acked or rotate"))
	}
	for name, d := range map[string]time.Duration{
		"DEVO_STALL_TIMEOUT": c.StallTimeout, "DEVO_MAX_AGE": c.MaxAge, "DEVO_ROTATE_AFTER": c.RotateAfter,
	} {
		if d < 10*time.Millisecond {
			problems = append(problems, config.Invalid(name, d.String(), "want a time of some seconds"))
		}
	}
	if c.Settle < 0 || c.Settle >= c.StallTimeout {
		problems = append(problems, config.Invalid("DEVO_SETTLE", c.Settle.String(), "want at least 0s and less than DEVO_STALL_TIMEOUT"))
	}
	if strings.ContainsAny(c.Hostname, " :\n\t") {
		problems = append(problems, config.Invalid("DEVO_HOSTNAME", c.Hostname, "want one word without colons"))
	}
	roots, err := c.roots()
	problems = append(problems, err)
	pair, err := c.pair()
	problems = append(problems, err)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	name := c.ServerName
	if name == "" {
		name = host
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: name, RootCAs: roots, Certificates: []tls.Certificate{pair},
		DynamicRecordSizingDisabled: true, // rows come in large writes
		ClientSessionCache:          nil,
	}, nil
}

// roots trusts the system's authorities and the chain: which of them signs
// Devo's servers is not documented.
func (c Config) roots() (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if c.ChainFile == "" {
		return nil, config.Invalid("DEVO_CHAIN_FILE", "", "is required: the Chain CA from Devo, Administration, Credentials, X.509 Certificates")
	}
	data, err := os.ReadFile(c.ChainFile)
	if err != nil {
		return nil, config.Invalid("DEVO_CHAIN_FILE", c.ChainFile, "cannot be read: "+err.Error())
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, config.Invalid("DEVO_CHAIN_FILE", c.ChainFile, "holds no certificate in PEM form")
	}
	return pool, nil
}

func (c Config) pair() (tls.Certificate, error) {
	var problems []error
	read := func(name, path, what string) []byte {
		if path == "" {
			problems = append(problems, config.Invalid(name, "", "is required: the "+what+" from Devo, Administration, Credentials, X.509 Certificates"))
			return nil
		}
		data, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		if err != nil {
			problems = append(problems, config.Invalid(name, path, "cannot be read: "+err.Error()))
		}
		return data
	}
	cert := read("DEVO_CERT_FILE", c.CertFile, "certificate")
	key := read("DEVO_KEY_FILE", c.KeyFile, "private key")
	if len(problems) > 0 {
		return tls.Certificate{}, errors.Join(problems...)
	}
	switch {
	case bytes.Contains(key, []byte("ENCRYPTED")):
		return tls.Certificate{}, config.Invalid("DEVO_KEY_FILE", c.KeyFile, "is encrypted, and nobody is there to type the password: openssl pkey -in encrypted.key -out plain.key")
	case !bytes.Contains(cert, []byte("-----BEGIN")):
		return tls.Certificate{}, config.Invalid("DEVO_CERT_FILE", c.CertFile, "is not in PEM form; of a PKCS#12 file make two: openssl pkcs12 -in file.p12 -nodes")
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return pair, config.Invalid("DEVO_CERT_FILE", c.CertFile, fmt.Sprintf("does not make a pair with DEVO_KEY_FILE %s: %v", c.KeyFile, err))
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		return pair, config.Invalid("DEVO_CERT_FILE", c.CertFile, "expired on "+pair.Leaf.NotAfter.Format(time.DateOnly)+": renew it in Devo")
	}
	return pair, nil
}

// Host is the machine's name as it may stand in a header.
func (c Config) Host() string {
	name := c.Hostname
	if name == "" {
		name, _ = os.Hostname()
	}
	name = strings.Map(func(r rune) rune {
		if r <= ' ' || r == ':' || r > '~' {
			return '-'
		}
		return r
	}, name)
	if name == "" {
		return "tapline"
	}
	return name
}
