package devosink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/devosink/devocert"
)

// ProgramConfig is the configuration of the program.
type ProgramConfig struct {
	Addr      string        `env:"DEVOSINK_ADDR" envDefault:"127.0.0.1:6514" usage:"address of the TLS syslog endpoint"`
	HTTPAddr  string        `env:"DEVOSINK_HTTP_ADDR" envDefault:"127.0.0.1:6580" usage:"address of HTTP ingestion and of queries, plain http"`
	TLS       bool          `env:"DEVOSINK_TLS" envDefault:"true" usage:"false stands in for a relay: plain TCP, without certificates"`
	ChainFile string        `env:"DEVOSINK_CHAIN_FILE" envDefault:"certs/chain.crt" usage:"PEM file that client certificates are verified against"`
	CertFile  string        `env:"DEVOSINK_CERT_FILE" envDefault:"certs/server.crt" usage:"PEM file of the server certificate"`
	KeyFile   string        `env:"DEVOSINK_KEY_FILE" envDefault:"certs/server.key" usage:"PEM file of its key"`
	Domain    string        `env:"DEVOSINK_HTTP_DOMAIN" envDefault:"demo" usage:"domain that may send over HTTP"`
	Token     config.Secret `env:"DEVOSINK_HTTP_TOKEN" envDefault:"demo" usage:"its token"`
	Query     QueryConfig
	Mode      Mode          `env:"DEVOSINK_MODE" envDefault:"full" usage:"what is kept: full, index or count"`
	MaxBytes  int64         `env:"DEVOSINK_MAX_BYTES" envDefault:"268435456" usage:"bytes of events kept in mode full"`
	Idle      time.Duration `env:"DEVOSINK_IDLE" envDefault:"30s" usage:"close connections that are silent for so long; 0s for never"`
	Telemetry telemetry.Config
}

// Validate checks the values.
func (c ProgramConfig) Validate() error {
	var problems []error
	if c.Mode != Full && c.Mode != Index && c.Mode != Count {
		problems = append(problems, config.Invalid("DEVOSINK_MODE", string(c.Mode), "want full, index or count"))
	}
	if c.MaxBytes < 0 {
		problems = append(problems, config.Invalid("DEVOSINK_MAX_BYTES", fmt.Sprint(c.MaxBytes), "want 0 or more"))
	}
	if c.Query.Delay < 0 {
		problems = append(problems, config.Invalid("DEVOSINK_QUERY_DELAY", c.Query.Delay.String(), "want 0s or more"))
	}
	return errors.Join(problems...)
}

const name = "devosink"

// certificates are those of the server; none without TLS.
func (c ProgramConfig) certificates() (*tls.Config, error) {
	if !c.TLS {
		return nil, nil // nil means no TLS
	}
	var pem [3][]byte
	for i, f := range []struct{ name, path string }{
		{"DEVOSINK_CHAIN_FILE", c.ChainFile}, {"DEVOSINK_CERT_FILE", c.CertFile}, {"DEVOSINK_KEY_FILE", c.KeyFile},
	} {
		data, err := os.ReadFile(f.path)
		if err != nil {
			return nil, &config.ProblemError{Variable: f.name, Value: f.path, Reason: "cannot be read (make certs writes a set into certs): " + err.Error()}
		}
		pem[i] = data
	}
	conf, err := devocert.ServerConfig(pem[0], pem[1], pem[2])
	if err != nil {
		return nil, &config.ProblemError{Variable: "DEVOSINK_CERT_FILE", Value: c.CertFile, Reason: err.Error()}
	}
	return conf, nil
}

// Run serves until ctx ends.
func Run(ctx context.Context, c ProgramConfig, rt program.Runtime) error {
	conf, err := c.certificates()
	if err != nil {
		return err
	}
	sink, err := New(Config{Addr: c.Addr, TLS: conf, Mode: c.Mode, MaxBytes: c.MaxBytes, Idle: c.Idle, Log: rt.Log})
	if err != nil {
		return &config.ProblemError{Variable: "DEVOSINK_ADDR", Value: c.Addr, Reason: err.Error()}
	}
	defer sink.Close()
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", c.HTTPAddr)
	if err != nil {
		return &config.ProblemError{Variable: "DEVOSINK_HTTP_ADDR", Value: c.HTTPAddr, Reason: "cannot listen: " + err.Error()}
	}
	rt.Health.OK(name)
	rt.Log.Info("standing in for Devo", slog.String("syslog", sink.Addr()), slog.String("queries", "http://"+ln.Addr().String()))
	mux := http.NewServeMux()
	mux.Handle("/stream/", sink.Ingest(c.Domain, c.Token.Reveal()))
	mux.Handle("/search/", sink.Query(c.Query))
	mux.Handle("/", sink.Handler())
	server := telemetry.NewServer(mux)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(telemetry.Bounded(ln, telemetry.MaxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve queries: %w", err)
	}
	return nil
}

const certsUsage = "want certs [--keep] [--dir DIR] [--domain DOMAIN] [--name HOST]..."

// Certs is the command "devosink certs [--keep] [--dir certs] [--domain demo] [--name host]...".
// With --keep a set that is there already is left as it is.
func Certs(args []string, say func(format string, args ...any)) error {
	dir, keep, o := "certs", false, devocert.Options{}
	for len(args) > 0 {
		if args[0] == "--keep" {
			keep, args = true, args[1:]
			continue
		}
		flag, value, ok := strings.Cut(args[0], "=")
		args = args[1:]
		if !ok && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		switch {
		case value == "":
			return config.Invalid("argument", flag, certsUsage)
		case flag == "--dir":
			dir = value
		case flag == "--domain":
			o.Domain = value
		case flag == "--name":
			o.Names = append(o.Names, value)
		default:
			return config.Invalid("argument", flag, certsUsage)
		}
	}
	if keep && devocert.Complete(dir) {
		say("%s has certificates already\n", dir)
		return nil
	}
	set, err := devocert.New(o)
	if err != nil {
		return err
	}
	files, err := set.Write(dir)
	if err != nil {
		return err
	}
	say("wrote %s\n  for the sink: %s %s\n  for the shipper: DEVO_CHAIN_FILE=%s DEVO_CERT_FILE=%s DEVO_KEY_FILE=%s\n",
		dir, files.ServerCert, files.ServerKey, files.Chain, files.ClientCert, files.ClientKey)
	return nil
}
