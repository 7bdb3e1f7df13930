package scheduler

import (
	"errors"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
)

// Config of the scheduler.
type Config struct {
	Tenant bus.Tenant
	Feeds  feed.Selection
	Lists  Lists
	Quota  quota.Config
	Start  StartTime     `env:"TAP_START_TIME" envDefault:"7d" usage:"where collection begins at the first start: RFC 3339, or an age such as 7d or 12h, at most 7d; a value that is earlier than before has the time between read, too"`
	Poll   time.Duration `env:"TAP_POLL_INTERVAL" envDefault:"60s" usage:"shortest time between live calls"`
	plan.Settings
	Tick   time.Duration `env:"SCHEDULER_TICK" envDefault:"1s" usage:"how often the plan is looked at"`
	Alarms Alarms
}

// Validate checks the ranges.
func (c Config) Validate() error {
	var problems []error
	if c.Poll < window.MinSpan || c.Poll > window.MaxSpan {
		problems = append(problems, config.Invalid("TAP_POLL_INTERVAL", c.Poll.String(), "want 30s to 1h, the intervals Proofpoint serves"))
	}
	if c.Tick < time.Millisecond || c.Tick > time.Minute {
		problems = append(problems, config.Invalid("SCHEDULER_TICK", c.Tick.String(), "want 1ms to 1m"))
	}
	return errors.Join(problems...)
}

// Alarms says when an operator should look.
type Alarms struct {
	Freshness time.Duration `env:"ALARM_FRESHNESS" envDefault:"10m" usage:"alarm when rows of this age are not confirmed by the sink"`
	Edge      time.Duration `env:"ALARM_EDGE" envDefault:"24h" usage:"alarm when something unread will no longer be served this soon"`
	Backlog   time.Duration `env:"ALARM_BACKLOG" envDefault:"48h" usage:"alarm when something waits this long in a stream; streams keep eight days"`
	Skew      time.Duration `env:"ALARM_CLOCK_SKEW" envDefault:"30s" usage:"alarm when the local clock is this far from Proofpoint's"`
}

// Validate checks the ranges.
func (a Alarms) Validate() error {
	var problems []error
	for name, d := range map[string]time.Duration{"ALARM_FRESHNESS": a.Freshness, "ALARM_EDGE": a.Edge, "ALARM_CLOCK_SKEW": a.Skew, "ALARM_BACKLOG": a.Backlog} {
		if d < time.Second || d > window.Lookback {
			problems = append(problems, config.Invalid(name, d.String(), "want 1s to 168h"))
		}
	}
	return errors.Join(problems...)
}

// errBadStart carries Devo's number for a start time that cannot be used.
const errBadStart = 101

// StartTime is an instant, or an age that is turned into one when it is used. An age is of what
// Proofpoint serves. An instant may become too old while the system runs, so only the first start
// looks at that.
type StartTime struct {
	text string
	at   time.Time
	age  time.Duration
}

// UnmarshalText reads RFC 3339, or a number of days such as 7d, or a duration
// such as 12h.
func (s *StartTime) UnmarshalText(text []byte) error {
	raw := string(text)
	if at, err := time.Parse(time.RFC3339, raw); err == nil {
		*s = StartTime{text: raw, at: at.UTC()}
		return nil
	}
	age, err := config.ParseAge(raw)
	if err != nil || age < 0 {
		return fmt.Errorf("error %d: %w", errBadStart, errStartForm)
	}
	if age > window.Lookback {
		return fmt.Errorf("error %d: %w", errBadStart, errStartTooOld)
	}
	*s = StartTime{text: raw, age: age}
	return nil
}

// Instant is the start as seen from now. A start in the future is an error.
func (s StartTime) Instant(now time.Time) (time.Time, error) {
	at := s.at
	if at.IsZero() {
		at = now.Add(-s.age)
	}
	if at.After(now) {
		return time.Time{}, s.problem(at, "lies in the future; it is now "+now.UTC().Format(time.RFC3339))
	}
	return at, nil
}

// first refuses an instant that a first start cannot begin with.
func (s StartTime) first(now time.Time) error {
	if oldest := now.Add(-window.Lookback); !s.at.IsZero() && s.at.Before(oldest) {
		return s.problem(s.at, "is more than seven days ago, and Proofpoint serves from "+oldest.UTC().Format(time.RFC3339)+" on; want that or later, or an age such as 7d")
	}
	return nil
}

func (s StartTime) problem(at time.Time, reason string) error {
	return &config.ProblemError{Variable: "TAP_START_TIME", Value: at.Format(time.RFC3339), ID: errBadStart, Reason: reason}
}
