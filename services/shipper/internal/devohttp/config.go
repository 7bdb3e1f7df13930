package devohttp

import (
	"errors"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/config"
)

// Config of the endpoint.
type Config struct {
	URL      string        `env:"DEVO_HTTP_URL" envDefault:"https://http-eu.devo.io" usage:"with SINK=devo-http: Devo's HTTP endpoint"`
	Domain   string        `env:"DEVO_HTTP_DOMAIN" usage:"with SINK=devo-http: the Devo domain"`
	Token    config.Secret `env:"DEVO_HTTP_TOKEN" usage:"with SINK=devo-http: its token of type HTTP"`
	Timeout  time.Duration `env:"DEVO_HTTP_TIMEOUT" envDefault:"60s" usage:"with SINK=devo-http: wait for the answer to a batch"`
	Insecure bool          `env:"DEVO_HTTP_INSECURE" envDefault:"false" usage:"with SINK=devo-http: allow plain http, to loopback or a host without dots only"`
	Proxy    config.Proxy
}

// Check reports everything that is wrong at once. It is not called Validate: the
// variables matter only when this sink is chosen.
func (c Config) Check() error {
	var problems []error
	u, err := config.Address("DEVO_HTTP_URL", c.URL, "want https://host, such as https://http-eu.devo.io; credentials go into DEVO_HTTP_DOMAIN and DEVO_HTTP_TOKEN")
	switch {
	case err != nil:
		problems = append(problems, err)
	case strings.Contains(u.Path, "token!"):
		problems = append(problems, config.Invalid("DEVO_HTTP_URL", config.Redacted, "no credentials here: use DEVO_HTTP_DOMAIN and DEVO_HTTP_TOKEN"))
	case u.Scheme == "http" && (!c.Insecure || !config.Local(u.Hostname())):
		problems = append(problems, config.Invalid("DEVO_HTTP_URL", c.URL, "want https; plain http needs DEVO_HTTP_INSECURE=true and a local host"))
	}
	if c.Domain == "" || strings.ContainsAny(c.Domain, "/?# ") {
		problems = append(problems, config.Invalid("DEVO_HTTP_DOMAIN", c.Domain, "want the name of the Devo domain"))
	}
	token := c.Token.Reveal()
	if token == "" {
		problems = append(problems, config.Invalid("DEVO_HTTP_TOKEN", "", "is required (or DEVO_HTTP_TOKEN_FILE): Devo, Administration, Credentials, Authentication tokens, type HTTP"))
	} else if strings.ContainsAny(token, "/?#! \r\n") {
		problems = append(problems, config.Invalid("DEVO_HTTP_TOKEN", config.Redacted, "want letters and digits only, without token! in front"))
	}
	if c.Timeout < time.Second || c.Timeout > 10*time.Minute {
		problems = append(problems, config.Invalid("DEVO_HTTP_TIMEOUT", c.Timeout.String(), "want 1s to 10m"))
	}
	return errors.Join(problems...)
}
