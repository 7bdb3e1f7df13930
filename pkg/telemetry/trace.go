package telemetry

import "github.com/tapline/tapline/pkg/config"

// TraceConfig says where traces go.
type TraceConfig struct {
	Endpoint string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" usage:"base URL of an OTLP collector over HTTP, such as http://127.0.0.1:4318; no traces if empty"`
	Proxy    config.Proxy
}

// Validate checks the address.
func (c TraceConfig) Validate() error {
	if c.Endpoint == "" {
		return nil
	}
	_, err := config.Address("OTEL_EXPORTER_OTLP_ENDPOINT", c.Endpoint, "want http://host:port or https://host:port")
	return err
}
