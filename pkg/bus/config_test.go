package bus_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
)

// TestEverySettingHasItsBounds: the first and the last value are taken; beyond them is one problem,
// which names the variable.
func TestEverySettingHasItsBounds(t *testing.T) {
	t.Parallel()
	load := func(name, value string) error {
		var c struct {
			bus.Config
			bus.Limits
			bus.Tenant
		}
		return config.Load(&c, []string{name + "=" + value})
	}
	for name, values := range map[string]struct{ good, bad string }{
		"NATS_URL":                {"nats://host:4222 tls://a:1,tls://b:1", "host nats:// nats://a:1,b"},
		"NATS_CERT_FILE":          {"", "c.pem"},
		"STREAM_RAW_MAX_BYTES":    {"67108864", "67108863"},
		"STREAM_EVENTS_MAX_BYTES": {"67108864", "67108863"},
		"STREAM_JOBS_MAX_BYTES":   {"67108864", "67108863"},
		"STREAM_DEAD_MAX_BYTES":   {"67108864", "67108863"},
		"STREAM_BUCKET_MAX_BYTES": {"536870912", "536870911"},
		"STREAM_REPLICAS":         {"1 3 5", "0 2 4 6"},
		"STREAM_ACK_WAIT":         {"1s 10m", "999ms 10m1s"},
		"TENANT":                  {"a 0 a-b_c abcdefghijabcdefghijabcdefghij12", "-a A a.b abcdefghijabcdefghijabcdefghij123 shape alarm heartbeat list retry"},
	} {
		for value := range strings.FieldsSeq(values.good) {
			if err := load(name, value); err != nil {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
		for value := range strings.FieldsSeq(values.bad) {
			if err := load(name, value); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
}
