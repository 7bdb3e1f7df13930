package compare

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"sync"
)

// bare writes the file to connections and does nothing else: no program can be faster into this
// sink.
func bare(connections int) func(context.Context, scene) (*attempt, error) {
	return func(ctx context.Context, s scene) (*attempt, error) {
		conf, err := client(s)
		if err != nil {
			return nil, err
		}
		parts, err := s.rows.cut(connections)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		var wg sync.WaitGroup
		for _, p := range parts {
			wg.Go(func() {
				if err := send(ctx, conf, s, p); err != nil {
					cancel(err)
				}
			})
		}
		return &attempt{
			closers: []func(){wg.Wait, func() { cancel(nil) }},
			confirmed: func(context.Context) error {
				wg.Wait()
				return context.Cause(ctx)
			},
		}, nil
	}
}

func client(s scene) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(s.certs.ClientCert, s.certs.ClientKey)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	chain, err := os.ReadFile(s.certs.Chain)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, RootCAs: roots}, nil
}

// part is bytes of a file.
type part struct{ from, to int64 }

// cut makes parts of whole lines, as equal as they get.
func (r rows) cut(n int) ([]part, error) {
	parts := make([]part, 0, n)
	at := part{}
	for line, err := range r.lines() {
		if err != nil {
			return nil, err
		}
		at.to += int64(len(line)) + 1
		if at.to >= r.bytes*int64(len(parts)+1)/int64(n) {
			parts, at.from = append(parts, at), at.to
		}
	}
	return parts, nil
}

func send(ctx context.Context, conf *tls.Config, s scene, p part) error {
	file, err := os.Open(s.rows.path)
	if err != nil {
		return fmt.Errorf("bare connection: %w", err)
	}
	defer file.Close()
	dialer := tls.Dialer{Config: conf}
	conn, err := dialer.DialContext(ctx, "tcp", s.sink)
	if err != nil {
		return fmt.Errorf("bare connection: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := io.CopyBuffer(conn, io.NewSectionReader(file, p.from, p.to-p.from), make([]byte, 256<<10)); err != nil {
		return fmt.Errorf("bare connection: %w", err)
	}
	return nil
}
