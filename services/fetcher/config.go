package fetcher

import (
	"errors"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/known"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
)

// Config of the fetcher.
type Config struct {
	Tenant       bus.Tenant
	API          API
	Quota        quota.Config
	Workers      int    `env:"FETCHER_WORKERS" envDefault:"1" usage:"calls at once in each lane"`
	SpoolDir     string `env:"FETCHER_SPOOL_DIR" usage:"directory for large responses; the system's temporary directory if empty"`
	SpoolMemory  int    `env:"FETCHER_SPOOL_MEMORY" envDefault:"8388608" usage:"bytes of a response that are kept in memory before the directory is used"`
	BatchRecords int    `env:"BATCH_RECORDS" envDefault:"500" usage:"records in one message on the bus"`
	Expand       Expand
	Known        known.Config
	BatchBytes   int `env:"BATCH_BYTES" envDefault:"524288" usage:"bytes in one message on the bus; a larger record gets a message of its own"`
}

// Expand is how single threats and campaigns are asked for.
type Expand struct {
	Rate     float64       `env:"EXPAND_RATE" envDefault:"20" usage:"calls in a second to endpoints without a limit, at most"`
	Calls    int           `env:"EXPAND_CALLS" envDefault:"4" usage:"of them, calls at once"`
	Attempts int           `env:"EXPAND_ATTEMPTS" envDefault:"8" usage:"times that an id is asked for before it goes to DEAD"`
	Delay    time.Duration `env:"EXPAND_RETRY_DELAY" envDefault:"30s" usage:"wait before an id is asked for again, doubled each time up to an hour"`
}

// Validate checks the ranges.
func (e Expand) Validate() error {
	var problems []error
	if e.Rate < 0.01 || e.Rate > 10_000 {
		problems = append(problems, config.Invalid("EXPAND_RATE", fmt.Sprint(e.Rate), "want 0.01 to 10000"))
	}
	if e.Calls < 1 || e.Calls > 32 {
		problems = append(problems, config.Invalid("EXPAND_CALLS", fmt.Sprint(e.Calls), "want 1 to 32"))
	}
	if e.Attempts < 1 || e.Attempts > 100 {
		problems = append(problems, config.Invalid("EXPAND_ATTEMPTS", fmt.Sprint(e.Attempts), "want 1 to 100"))
	}
	if e.Delay < time.Millisecond || e.Delay > time.Hour {
		problems = append(problems, config.Invalid("EXPAND_RETRY_DELAY", e.Delay.String(), "want 1ms to 1h"))
	}
	return errors.Join(problems...)
}

// API is how Proofpoint is reached.
type API struct {
	URL          string        `env:"TAP_URL" envDefault:"https://tap-api-v2.proofpoint.com" usage:"base URL of the Proofpoint TAP API"`
	InsecureHTTP bool          `env:"TAP_INSECURE_HTTP" envDefault:"false" usage:"allow plain http, to loopback or a host without dots only"`
	Principal    string        `env:"TAP_PRINCIPAL,required" usage:"principal of the service credential"`
	Secret       config.Secret `env:"TAP_SECRET,required" usage:"secret of the service credential"`
	Timeout      time.Duration `env:"TAP_TIMEOUT" envDefault:"60s" usage:"wait for the beginning of a response"`
	IdleTimeout  time.Duration `env:"TAP_IDLE_TIMEOUT" envDefault:"30s" usage:"wait for 1 KiB more of a response, or its end; for its first byte what TAP_TIMEOUT leaves, if that is longer"`
	Proxy        config.Proxy
}

// Validate checks the address: credentials travel in clear over plain http.
func (a API) Validate() error {
	var problems []error
	u, err := config.Address("TAP_URL", a.URL, "want https://host; credentials go into TAP_PRINCIPAL and TAP_SECRET")
	switch {
	case err != nil:
		problems = append(problems, err)
	case u.Scheme == "http" && !a.InsecureHTTP:
		problems = append(problems, config.Invalid("TAP_URL", a.URL, "want https; plain http needs TAP_INSECURE_HTTP=true and a local host"))
	case u.Scheme == "http" && !config.Local(u.Hostname()):
		problems = append(problems, config.Invalid("TAP_URL", a.URL, "plain http is allowed to loopback or a host name without dots only"))
	}
	if a.Timeout < time.Second || a.Timeout > 10*time.Minute {
		problems = append(problems, config.Invalid("TAP_TIMEOUT", a.Timeout.String(), "want 1s to 10m"))
	}
	if a.IdleTimeout < time.Second || a.IdleTimeout > 10*time.Minute {
		problems = append(problems, config.Invalid("TAP_IDLE_TIMEOUT", a.IdleTimeout.String(), "want 1s to 10m"))
	}
	return errors.Join(problems...)
}

// Validate checks the ranges.
func (c Config) Validate() error {
	var problems []error
	if c.Workers < 1 || c.Workers > 32 {
		problems = append(problems, config.Invalid("FETCHER_WORKERS", fmt.Sprint(c.Workers), "want 1 to 32"))
	}
	if c.SpoolMemory < 0 {
		problems = append(problems, config.Invalid("FETCHER_SPOOL_MEMORY", fmt.Sprint(c.SpoolMemory), "want 0 or more"))
	}
	if c.BatchRecords < 1 || c.BatchRecords > 10_000 {
		problems = append(problems, config.Invalid("BATCH_RECORDS", fmt.Sprint(c.BatchRecords), "want 1 to 10000"))
	}
	if c.BatchBytes < 1024 || c.BatchBytes > 2<<20 {
		problems = append(problems, config.Invalid("BATCH_BYTES", fmt.Sprint(c.BatchBytes), "want 1024 to 2097152"))
	}
	return errors.Join(problems...)
}

// servable reports whether Proofpoint accepts an interval of this length.
func servable(w window.Window) bool { return w.Span() >= window.MinSpan && w.Span() <= window.MaxSpan }
