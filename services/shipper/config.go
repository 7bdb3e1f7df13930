package shipper

import (
	"errors"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/devoquery"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/replay"
	"github.com/tapline/tapline/services/shipper/internal/canary"
	"github.com/tapline/tapline/services/shipper/internal/devo"
	"github.com/tapline/tapline/services/shipper/internal/devohttp"
	"github.com/tapline/tapline/services/shipper/internal/jsonl"
)

// Sinks.
const (
	SinkDevo     = "devo"
	SinkDevoHTTP = "devo-http"
	SinkFile     = "file"
	SinkStdout   = "stdout"
)

// Sinks lists them.
func Sinks() []string { return []string{SinkDevo, SinkDevoHTTP, SinkFile, SinkStdout} }

// Config of the shipper.
type Config struct {
	Tenant      bus.Tenant
	Sink        string `env:"SINK" envDefault:"devo" usage:"where rows go: devo, devo-http, file or stdout"`
	Devo        devo.Config
	HTTP        devohttp.Config
	File        jsonl.FileConfig
	Canary      canary.Config
	Query       devoquery.Config
	Replay      replay.Config
	Identity    identity.Config
	Connections int           `env:"SHIPPER_CONNECTIONS" envDefault:"2" usage:"connections at once"`
	MaxInFlight int64         `env:"SHIPPER_MAX_INFLIGHT_BYTES" envDefault:"67108864" usage:"bytes of rows sent and not confirmed, over all connections"`
	MaxEvent    int           `env:"EVENT_MAX_BYTES" envDefault:"1048576" usage:"longer rows go to DEAD"`
	Renew       time.Duration `env:"ALARM_CERTIFICATE" envDefault:"336h" usage:"alarm when Devo's certificate holds for less than this"`
	Drain       time.Duration `env:"SHIPPER_DRAIN_TIMEOUT" envDefault:"10s" usage:"wait for confirmations when the program ends"`
}

// Validate checks the ranges and, for the sink devo, the certificates.
func (c Config) Validate() error {
	var problems []error
	switch c.Sink {
	case SinkDevo:
		_, err := c.Devo.Load()
		problems = append(problems, err)
	case SinkFile, SinkStdout:
	case SinkDevoHTTP:
		problems = append(problems, c.HTTP.Check())
	default:
		problems = append(problems, config.Invalid("SINK", c.Sink, "want devo, devo-http, file or stdout"))
	}
	if c.Canary.On {
		problems = append(problems, c.Canary.Check(), c.Query.Check())
		if c.Sink != SinkDevo && c.Sink != SinkDevoHTTP {
			problems = append(problems, config.Invalid("CANARY", "true", "works with SINK=devo and SINK=devo-http only: nothing else can be queried"))
		}
	}
	if c.Connections < 1 || c.Connections > 64 {
		problems = append(problems, config.Invalid("SHIPPER_CONNECTIONS", fmt.Sprint(c.Connections), "want 1 to 64"))
	}
	if c.MaxInFlight < 1<<20 {
		problems = append(problems, config.Invalid("SHIPPER_MAX_INFLIGHT_BYTES", fmt.Sprint(c.MaxInFlight), "want at least 1048576"))
	}
	if c.MaxEvent < 1024 {
		problems = append(problems, config.Invalid("EVENT_MAX_BYTES", fmt.Sprint(c.MaxEvent), "want at least 1024"))
	}
	if c.Renew < 0 {
		problems = append(problems, config.Invalid("ALARM_CERTIFICATE", c.Renew.String(), "want 0s or more"))
	}
	if c.Drain < 0 || c.Drain > 5*time.Minute {
		problems = append(problems, config.Invalid("SHIPPER_DRAIN_TIMEOUT", c.Drain.String(), "want 0s to 5m"))
	}
	return errors.Join(problems...)
}
