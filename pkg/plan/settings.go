package plan

import (
	"errors"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/window"
)

// Settings are what an operator decides about windows: for the scheduler, and for the imagined one
// of tapctl what-if.
type Settings struct {
	Margin  time.Duration `env:"TAP_HEAD_MARGIN" envDefault:"5s" usage:"how far live windows end behind Proofpoint's clock"`
	Overlap time.Duration `env:"TAP_OVERLAP" envDefault:"5m" usage:"how much of what was read a live window reads again, for records that become visible late; costs no call"`
	Sweeps  Ages          `env:"TAP_SWEEPS" envDefault:"35m,6h,24h" usage:"ages at which each hour is read again for late records, separated by commas; off for never"`
}

// Validate checks the ranges.
func (s Settings) Validate() error {
	var problems []error
	if s.Margin < 0 || s.Margin > time.Hour {
		problems = append(problems, config.Invalid("TAP_HEAD_MARGIN", s.Margin.String(), "want 0s to 1h"))
	}
	if s.Overlap < 0 || s.Overlap > 45*time.Minute {
		problems = append(problems, config.Invalid("TAP_OVERLAP", s.Overlap.String(), "want 0s to 45m"))
	}
	for i, age := range s.Sweeps {
		if age < time.Minute || age > window.Lookback-2*window.MaxSpan || age%time.Minute != 0 {
			problems = append(problems, config.Invalid("TAP_SWEEPS", age.String(), "want ages of whole minutes, 1m to 166h"))
		}
		if i > 0 && age <= s.Sweeps[i-1] {
			problems = append(problems, config.Invalid("TAP_SWEEPS", fmt.Sprint(s.Sweeps), "want each age once, the youngest first"))
		}
	}
	return errors.Join(problems...)
}
