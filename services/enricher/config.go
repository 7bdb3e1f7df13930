package enricher

import (
	"errors"
	"strconv"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/known"
	"github.com/tapline/tapline/pkg/replay"
)

// Config of the enricher.
type Config struct {
	Tenant    bus.Tenant
	Feeds     feed.Selection
	Known     known.Config
	Flatten   Flatten
	Replay    replay.Config
	Workers   int  `env:"ENRICHER_WORKERS" envDefault:"4" usage:"batches in work at once"`
	Expanders int  `env:"ENRICHER_EXPANDERS" envDefault:"2" usage:"batches at once that are searched for threats and campaigns"`
	PullID    bool `env:"EVENT_PULL_ID" envDefault:"true" usage:"add @devo_pulling_id to every row"`
	Identity  identity.Config
}

// Flatten says how nested answers become rows.
type Flatten struct {
	Reports string `env:"FLATTEN" envDefault:"on" usage:"on: a row for each evidence of a forensic report; off: the report as it is"`
	Members string `env:"FLATTEN_CAMPAIGNS" envDefault:"off" usage:"on: a row for each member of a campaign; off: the campaign as it is"`
	MaxRow  int    `env:"FLATTEN_MAX_ROW" envDefault:"1048576" usage:"bytes of a flattened row; a larger one goes to DEAD"`
}

// Validate checks the values.
func (f Flatten) Validate() error {
	var problems []error
	for name, value := range map[string]string{"FLATTEN": f.Reports, "FLATTEN_CAMPAIGNS": f.Members} {
		if value != "on" && value != "off" {
			problems = append(problems, config.Invalid(name, value, "want on or off"))
		}
	}
	if f.MaxRow < 1024 || f.MaxRow > 4<<20 {
		problems = append(problems, config.Invalid("FLATTEN_MAX_ROW", strconv.Itoa(f.MaxRow), "want 1024 to 4194304"))
	}
	return errors.Join(problems...)
}

// Validate checks the ranges.
func (c Config) Validate() error {
	var problems []error
	if c.Workers < 1 || c.Workers > 64 {
		problems = append(problems, config.Invalid("ENRICHER_WORKERS", strconv.Itoa(c.Workers), "want 1 to 64"))
	}
	if c.Expanders < 1 || c.Expanders > 64 {
		problems = append(problems, config.Invalid("ENRICHER_EXPANDERS", strconv.Itoa(c.Expanders), "want 1 to 64"))
	}
	return errors.Join(problems...)
}
