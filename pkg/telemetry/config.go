package telemetry

import (
	"log/slog"
	"net"

	"github.com/tapline/tapline/pkg/config"
)

// Config is what every service needs to be seen.
type Config struct {
	HTTPAddr  string     `env:"HTTP_ADDR" envDefault:"127.0.0.1:9090" usage:"address of probes and metrics; \"off\" serves none"`
	LogLevel  slog.Level `env:"LOG_LEVEL" envDefault:"info" usage:"debug, info, warn or error"`
	Trace     TraceConfig
	LogFormat string `env:"LOG_FORMAT" envDefault:"auto" usage:"auto (text on a terminal, json otherwise), text or json"`
}

// Off as an address means: do not listen.
const Off = "off"

// Validate checks the address and the format.
func (c Config) Validate() error {
	if c.HTTPAddr != Off {
		if _, _, err := net.SplitHostPort(c.HTTPAddr); err != nil {
			return config.Invalid("HTTP_ADDR", c.HTTPAddr, `want host:port, such as 127.0.0.1:9090, or "off"`)
		}
	}
	switch c.LogFormat {
	case "auto", "text", "json":
		return nil
	default:
		return config.Invalid("LOG_FORMAT", c.LogFormat, "want auto, text or json")
	}
}
