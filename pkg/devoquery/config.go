package devoquery

import (
	"errors"
	"time"

	"github.com/tapline/tapline/pkg/config"
)

// Config of the query API.
type Config struct {
	URL      string        `env:"DEVO_QUERY_URL" envDefault:"https://apiv2-eu.devo.com" usage:"Devo's query API, for reading back what was delivered"`
	Token    config.Secret `env:"DEVO_QUERY_TOKEN" usage:"its token; or a key and a secret"`
	Key      config.Secret `env:"DEVO_QUERY_KEY" usage:"API key for the query API, instead of a token"`
	Secret   config.Secret `env:"DEVO_QUERY_SECRET" usage:"API secret that signs requests with DEVO_QUERY_KEY"`
	Timeout  time.Duration `env:"DEVO_QUERY_TIMEOUT" envDefault:"60s" usage:"wait for the answer to a query, and for 1 KiB more of it, or its end"`
	Settle   time.Duration `env:"DEVO_QUERY_SETTLE" envDefault:"5m" usage:"how long Devo may take from a confirmation until a query finds the row"`
	Insecure bool          `env:"DEVO_QUERY_INSECURE" envDefault:"false" usage:"allow plain http for queries, to loopback or a host without dots only"`
	Proxy    config.Proxy
}

// Check reports everything that is wrong at once. It is not called Validate: the
// variables matter only where something is read back.
func (c Config) Check() error {
	var problems []error
	u, err := config.Address("DEVO_QUERY_URL", c.URL, "want https://host, such as https://apiv2-eu.devo.com; credentials go into DEVO_QUERY_TOKEN")
	switch {
	case err != nil:
		problems = append(problems, err)
	case u.Scheme == "http" && (!c.Insecure || !config.Local(u.Hostname())):
		problems = append(problems, config.Invalid("DEVO_QUERY_URL", c.URL, "want https; plain http needs DEVO_QUERY_INSECURE=true and a local host"))
	}
	switch {
	case c.Token != "" && (c.Key != "" || c.Secret != ""):
		problems = append(problems, config.Invalid("DEVO_QUERY_TOKEN", config.Redacted, "give either a token, or DEVO_QUERY_KEY and DEVO_QUERY_SECRET"))
	case c.Token == "" && c.Key == "" && c.Secret == "":
		problems = append(problems, config.Invalid("DEVO_QUERY_TOKEN", "", "is required (or DEVO_QUERY_TOKEN_FILE): a token of Devo that may query the tables of Proofpoint"))
	case c.Token == "" && (c.Key == "" || c.Secret == ""):
		problems = append(problems, config.Invalid("DEVO_QUERY_SECRET", "", "DEVO_QUERY_KEY and DEVO_QUERY_SECRET belong together"))
	}
	if c.Timeout < time.Second || c.Timeout > time.Hour {
		problems = append(problems, config.Invalid("DEVO_QUERY_TIMEOUT", c.Timeout.String(), "want 1s to 1h"))
	}
	if c.Settle < 0 || c.Settle > 24*time.Hour {
		problems = append(problems, config.Invalid("DEVO_QUERY_SETTLE", c.Settle.String(), "want 0s to 24h"))
	}
	return errors.Join(problems...)
}
