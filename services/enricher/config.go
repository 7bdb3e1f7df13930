package enricher

import (
	"strconv"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
)

// Config of the enricher.
type Config struct {
	Tenant    bus.Tenant
	Workers   int  `env:"ENRICHER_WORKERS" envDefault:"4" usage:"batches in work at once"`
	PullID    bool `env:"EVENT_PULL_ID" envDefault:"true" usage:"add @devo_pulling_id to every row"`
	TaplineID bool `env:"EVENT_TAPLINE_ID" envDefault:"true" usage:"add @tapline_id to every row"`
}

// Validate checks the ranges.
func (c Config) Validate() error {
	if c.Workers < 1 || c.Workers > 64 {
		return config.Invalid("ENRICHER_WORKERS", strconv.Itoa(c.Workers), "want 1 to 64")
	}
	return nil
}
