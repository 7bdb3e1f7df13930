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
	TLS          bool          `env:"DEVO_TLS" envDefault:"true" usage:"false sends plain TCP to a Devo relay in your own network, such as relay:13000, without certificates"`
	ChainFile    string        `env:"DEVO_CHAIN_FILE" usage:"PEM file of the chain from Devo, trusted besides the system's roots"`
	CertFile     string        `env:"DEVO_CERT_FILE" usage:"PEM file of the domain's certificate"`
	KeyFile      string        `env:"DEVO_KEY_FILE" usage:"PEM file of its key"`
	Hostname     string        `env:"DEVO_HOSTNAME" usage:"host in every row's header; this machine's name if empty"`
	ServerName   string        `env:"DEVO_SERVER_NAME" usage:"name in the server's certificate, if not the host of DEVO_ADDRESS"`
	VerifyName   bool          `env:"DEVO_VERIFY_HOSTNAME" envDefault:"true" usage:"false takes a server certificate with any name in it; its chain is verified all the same"`
	Compress     string        `env:"DEVO_COMPRESS" envDefault:"off" usage:"off, or gzip: rows travel in members that end where batches end"`
	Date         string        `env:"DEVO_DATE_FORMAT" envDefault:"devo" usage:"date in every row's header, in UTC: devo (2026-05-04 10:20:30.123), rfc3339 or rfc3164"`
	Confirm      string        `env:"DEVO_CONFIRM" envDefault:"acked" usage:"proof of delivery: acked (by the peer's kernel) or rotate (read to the end by the peer)"`
	RotateAfter  time.Duration `env:"DEVO_ROTATE_AFTER" envDefault:"5s" usage:"with rotate: how long a connection collects rows before it is ended"`
	StallTimeout time.Duration `env:"DEVO_STALL_TIMEOUT" envDefault:"20s" usage:"give a connection up when nothing is acknowledged for so long"`
	Settle       time.Duration `env:"DEVO_SETTLE" envDefault:"250ms" usage:"with acked: how long the connection must stand after the acknowledgement"`
	Idle         time.Duration `env:"DEVO_IDLE" envDefault:"25s" usage:"end a connection that had nothing to carry for so long, before a load balancer does"`
	MaxAge       time.Duration `env:"DEVO_MAX_AGE" envDefault:"55m" usage:"age at which a connection is replaced"`
}

// Confirmations.
const (
	ConfirmAcked  = "acked"
	ConfirmRotate = "rotate"
)

// Compressions.
const (
	CompressOff  = "off"
	CompressGzip = "gzip"
)

// Load reads the certificates and reports everything that is wrong at once. Without TLS
// it gives nil.
func (c Config) Load() (*tls.Config, error) {
	host, problems := c.check()
	if !c.TLS {
		problems = append(problems, c.checkPlain(host))
		return nil, errors.Join(problems...)
	}
	roots, err := c.roots()
	problems = append(problems, err)
	pair, err := c.pair()
	problems = append(problems, err)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	conf := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: roots, Certificates: []tls.Certificate{pair},
		DynamicRecordSizingDisabled: true, // rows come in large writes
	}
	if c.ServerName != "" {
		conf.ServerName = c.ServerName
	}
	if !c.VerifyName {
		conf.InsecureSkipVerify = true // what is left of it is done by
		conf.VerifyConnection = chainOnly(roots)
	}
	return conf, nil
}

// chainOnly verifies all of a server's certificate but its name.
func chainOnly(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, cert := range state.PeerCertificates[1:] {
			between.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		return err
	}
}

// check looks at all values but the certificates, and finds the host.
func (c Config) check() (host string, problems []error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" || port == "" {
		problems = append(problems, config.Invalid("DEVO_ADDRESS", c.Address, "want host:port, such as collector-eu.devo.io:443"))
	}
	if c.Confirm != ConfirmAcked && c.Confirm != ConfirmRotate {
		problems = append(problems, config.Invalid("DEVO_CONFIRM", c.Confirm, "want acked or rotate"))
	}
	if c.Compress != CompressOff && c.Compress != CompressGzip {
		problems = append(problems, config.Invalid("DEVO_COMPRESS", c.Compress, "want off or gzip"))
	}
	if layouts[c.Date] == "" {
		problems = append(problems, config.Invalid("DEVO_DATE_FORMAT", c.Date, "want devo, rfc3339 or rfc3164"))
	}
	for name, d := range map[string]time.Duration{
		"DEVO_STALL_TIMEOUT": c.StallTimeout, "DEVO_MAX_AGE": c.MaxAge, "DEVO_ROTATE_AFTER": c.RotateAfter, "DEVO_IDLE": c.Idle,
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
	return host, problems
}

// checkPlain makes sure that sending without TLS is intended.
func (c Config) checkPlain(host string) error {
	var problems []error
	if host == "devo.io" || strings.HasSuffix(host, ".devo.io") {
		problems = append(problems, config.Invalid("DEVO_ADDRESS", c.Address, "DEVO_TLS=false is for a relay in your own network, such as relay:13000"))
	}
	for name, value := range map[string]string{
		"DEVO_CHAIN_FILE": c.ChainFile, "DEVO_CERT_FILE": c.CertFile, "DEVO_KEY_FILE": c.KeyFile, "DEVO_SERVER_NAME": c.ServerName,
	} {
		if value != "" {
			problems = append(problems, config.Invalid(name, value, "is of no use with DEVO_TLS=false: take away one of them"))
		}
	}
	if !c.VerifyName {
		problems = append(problems, config.Invalid("DEVO_VERIFY_HOSTNAME", "false", "is of no use with DEVO_TLS=false: take away one of them"))
	}
	return errors.Join(problems...)
}

// Warning says what an operator should not forget having switched off; empty if nothing is.
func (c Config) Warning() string {
	switch {
	case !c.TLS:
		return "DEVO_TLS=false: rows travel in the clear, and the relay proves nothing"
	case !c.VerifyName:
		return "DEVO_VERIFY_HOSTNAME=false: every server with a certificate of a trusted authority may receive the rows"
	}
	return ""
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

// notPEM is about what is probably PKCS#12.
const notPEM = "is not in PEM form; of a PKCS#12 file make two: openssl pkcs12 -in file.p12"

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
		return tls.Certificate{}, config.Invalid("DEVO_KEY_FILE", c.KeyFile, "is encrypted, and a service cannot ask for the password: openssl pkey -in encrypted.key -out plain.key")
	case !bytes.Contains(cert, []byte("-----BEGIN")):
		return tls.Certificate{}, config.Invalid("DEVO_CERT_FILE", c.CertFile, notPEM+" -nokeys -out domain.crt")
	case !bytes.Contains(key, []byte("-----BEGIN")):
		return tls.Certificate{}, config.Invalid("DEVO_KEY_FILE", c.KeyFile, notPEM+" -nocerts -nodes -out domain.key")
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
