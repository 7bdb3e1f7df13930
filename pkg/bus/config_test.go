package bus_test

import (
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config/configtest"
)

// TestEverySettingHasItsBounds: the first and the last value are taken; beyond them is one problem,
// which names the variable.
func TestEverySettingHasItsBounds(t *testing.T) {
	t.Parallel()
	type settings struct {
		bus.Config
		bus.Limits
		bus.Tenant
	}
	configtest.Check[settings](t, nil, configtest.Bounds{
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
	})
}
