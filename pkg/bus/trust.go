package bus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// endsSoon is how long before its end a server's certificate is worth a warning.
const endsSoon = 30 * 24 * time.Hour

// distrust adds to an error of TLS what an operator can do about it.
func distrust(err error) error {
	var (
		invalid  x509.CertificateInvalidError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		return fmt.Errorf("the certificate of the NATS server is valid from %s to %s: give the servers another one (deploy/init.sh rotate server), or correct the clock: %w",
			invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339), err)
	case errors.As(err, &unknown):
		return fmt.Errorf("NATS_CA_FILE does not have the authority that signed the certificate of the NATS server: %w", err)
	case errors.As(err, &hostname):
		return fmt.Errorf("the certificate of the NATS server has other names than NATS_URL: add the name (NATS_NAMES=%s deploy/init.sh): %w", hostname.Host, err)
	case errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("the NATS server does not speak TLS, and NATS_URL or NATS_CA_FILE asks for it: %w", err)
	}
	return err
}

// checkExpiry warns of a server's certificate that ends soon. Without TLS there is none.
func (b *Bus) checkExpiry(nc *nats.Conn) {
	state, err := nc.TLSConnectionState()
	if err != nil {
		return
	}
	if ends, soon := ending(state, time.Now()); soon {
		b.log.Warn("the certificate of the NATS server ends soon: deploy/init.sh rotate server", slog.Time("ends", ends))
	}
}

func ending(state tls.ConnectionState, now time.Time) (ends time.Time, soon bool) {
	for _, cert := range state.PeerCertificates {
		if ends.IsZero() || cert.NotAfter.Before(ends) {
			ends = cert.NotAfter
		}
	}
	return ends, !ends.IsZero() && ends.Before(now.Add(endsSoon))
}
