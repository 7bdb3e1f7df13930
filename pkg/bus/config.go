package bus

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/config"
)

// Config is how a service reaches the bus.
type Config struct {
	URL      string        `env:"NATS_URL" envDefault:"nats://127.0.0.1:4222" usage:"address of the NATS server; those of a cluster with commas"`
	User     string        `env:"NATS_USER" usage:"user of this service"`
	Password config.Secret `env:"NATS_PASSWORD" usage:"password of NATS_USER"`
	// PasswordFile is read again at each connection, so that a password can be changed while a
	// service runs.
	PasswordFile string `env:"NATS_PASSWORD_FILE" usage:"file that holds the password; read again at each connection"`
	CredsFile    string `env:"NATS_CREDS_FILE" usage:"credentials file, instead of user and password"`
	CAFile       string `env:"NATS_CA_FILE" usage:"PEM file of the authority that signed the server's certificate"`
	CertFile     string `env:"NATS_CERT_FILE" usage:"PEM file of the client certificate"`
	KeyFile      string `env:"NATS_KEY_FILE" usage:"PEM file of the client certificate's key"`
}

// Validate checks what can be checked without a connection.
func (c Config) Validate() error {
	for one := range strings.SplitSeq(c.URL, ",") {
		if u, err := url.Parse(strings.TrimSpace(one)); err != nil || u.Host == "" {
			return config.Invalid("NATS_URL", c.URL, "want nats://host:port or tls://host:port, or several of them with commas")
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return config.Invalid("NATS_CERT_FILE", c.CertFile, "a certificate and NATS_KEY_FILE belong together")
	}
	return nil
}

// password is the password of now.
func (c Config) password() string {
	if c.PasswordFile != "" {
		if password, err := config.ReadSecret(c.PasswordFile); err == nil {
			return password
		}
	}
	return c.Password.Reveal()
}

// Limits bounds what the streams keep, and how long a message may be in work.
type Limits struct {
	RawMaxBytes    int64 `env:"STREAM_RAW_MAX_BYTES" envDefault:"21474836480" usage:"bytes that RAW may take on disk"`
	EventsMaxBytes int64 `env:"STREAM_EVENTS_MAX_BYTES" envDefault:"21474836480" usage:"bytes that EVENTS may take on disk"`
	// The others are far above what a healthy system has: they keep a fault or an attacker from
	// filling the disk.
	JobsMaxBytes   int64 `env:"STREAM_JOBS_MAX_BYTES" envDefault:"1073741824" usage:"bytes that JOBS may take on disk"`
	DeadMaxBytes   int64 `env:"STREAM_DEAD_MAX_BYTES" envDefault:"4294967296" usage:"bytes that DEAD may take on disk"`
	BucketMaxBytes int64 `env:"STREAM_BUCKET_MAX_BYTES" envDefault:"4294967296" usage:"bytes that each of the buckets LEDGER, SEEN and KNOWN may take on disk; QUOTA, REPLAY and STATE an eighth"`
	Replicas       int   `env:"STREAM_REPLICAS" envDefault:"1" usage:"copies of each stream; 3 for a cluster"`
	// AckWait is also how long the work of a killed process waits for another one.
	AckWait time.Duration `env:"STREAM_ACK_WAIT" envDefault:"15s" usage:"how long a message may be in work without a sign of life"`
}

// Validate checks the ranges.
func (l Limits) Validate() error {
	const least = 64 << 20
	switch {
	case l.RawMaxBytes < least:
		return config.Invalid("STREAM_RAW_MAX_BYTES", "", "want at least 67108864 (64 MiB)")
	case l.EventsMaxBytes < least:
		return config.Invalid("STREAM_EVENTS_MAX_BYTES", "", "want at least 67108864 (64 MiB)")
	case l.JobsMaxBytes < least:
		return config.Invalid("STREAM_JOBS_MAX_BYTES", "", "want at least 67108864 (64 MiB)")
	case l.DeadMaxBytes < least:
		return config.Invalid("STREAM_DEAD_MAX_BYTES", "", "want at least 67108864 (64 MiB)")
	case l.BucketMaxBytes < 8*least:
		return config.Invalid("STREAM_BUCKET_MAX_BYTES", "", "want at least 536870912 (512 MiB)")
	case l.AckWait < time.Second || l.AckWait > 10*time.Minute:
		return config.Invalid("STREAM_ACK_WAIT", l.AckWait.String(), "want 1s to 10m")
	case l.Replicas != 1 && l.Replicas != 3 && l.Replicas != 5:
		return config.Invalid("STREAM_REPLICAS", "", "want 1, 3 or 5")
	}
	return nil
}

var tenantName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

// ValidTenant reports whether the name can stand in subjects and keys.
func ValidTenant(name string) bool { return tenantName.MatchString(name) }

// Tenant is the variable that every stage shares.
type Tenant struct {
	Name string `env:"TENANT" envDefault:"main" usage:"name of the tenant: one Proofpoint credential and its Devo domain"`
}

// Validate checks the name.
func (t Tenant) Validate() error {
	if !ValidTenant(t.Name) {
		return config.Invalid("TENANT", t.Name, "want 1 to 32 of a-z, 0-9, _ and -, beginning with a letter or digit")
	}
	if slices.Contains(reserved(), t.Name) {
		return config.Invalid("TENANT", t.Name, "is the first word of keys in the bucket STATE: want another name")
	}
	return nil
}

// reserved are the words that keys in STATE begin with where they do not begin with a tenant.
func reserved() []string { return []string{"alarm", "heartbeat", "list", "memory", "retry", "shape"} }
