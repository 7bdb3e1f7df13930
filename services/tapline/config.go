package tapline

import (
	"net"
	"path/filepath"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/enricher"
	"github.com/tapline/tapline/services/fetcher"
	"github.com/tapline/tapline/services/scheduler"
	"github.com/tapline/tapline/services/shipper"
)

// Config of the whole.
type Config struct {
	DataDir   string `env:"DATA_DIR" envDefault:"./data" usage:"directory of the streams"`
	Listen    string `env:"NATS_LISTEN" usage:"loopback address, such as 127.0.0.1:4222, on which other processes of this host reach the embedded NATS server; none if empty"`
	Keys      embedded.Keys
	Limits    bus.Limits
	Scheduler scheduler.Config
	Fetcher   fetcher.Config
	Enricher  enricher.Config
	Shipper   shipper.Config
	Telemetry telemetry.Config
}

// Validate checks what is not a stage's.
func (c Config) Validate() error {
	if c.DataDir == "" {
		return config.Invalid("DATA_DIR", "", "want a directory")
	}
	if c.Listen == "" {
		return nil
	}
	// The embedded server asks for no password.
	if host, _, err := net.SplitHostPort(c.Listen); err != nil || !config.Loopback(host) {
		return config.Invalid("NATS_LISTEN", c.Listen, "want 127.0.0.1:PORT: a client that reaches the embedded server can do everything; for other hosts run a NATS server with users (docs/install.md)")
	}
	return nil
}

func (c Config) natsDir() string { return filepath.Join(c.DataDir, "nats") }

// spoolDir keeps large responses beside the streams rather than in a temporary
// directory that may be small.
func (c Config) spoolDir() string {
	if c.Fetcher.SpoolDir != "" {
		return c.Fetcher.SpoolDir
	}
	return filepath.Join(c.DataDir, "spool")
}
