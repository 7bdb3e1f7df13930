package scheduler_test

import (
	"testing"

	"github.com/tapline/tapline/pkg/config/configtest"
	"github.com/tapline/tapline/services/scheduler"
)

// TestEverySettingHasItsBounds: the first and the last value are taken; beyond them is one problem,
// which names the variable.
func TestEverySettingHasItsBounds(t *testing.T) {
	t.Parallel()
	configtest.Check[scheduler.Config](t, nil, configtest.Bounds{
		"TAP_POLL_INTERVAL":     {"30s 1h", "29s 1h1s"},
		"TAP_HEAD_MARGIN":       {"0s 1h", "-1s 1h1s"},
		"TAP_OVERLAP":           {"0s 45m", "-1s 45m1s"},
		"TAP_SWEEPS":            {"1m 166h 1m,2m off", "30s 90s 167h 2m,2m 3m,2m never 1m,off"},
		"SCHEDULER_TICK":        {"1ms 1m", "999us 1m1s"},
		"TAP_CAMPAIGN_INTERVAL": {"1m 24h", "59s 24h1s"},
		"TAP_PEOPLE_INTERVAL":   {"1m 24h", "59s 24h1s"},
		"TAP_PEOPLE_WINDOWS":    {"14 30,90 90,30,14", "15 14,14 14,30,14"},
		"TAP_PEOPLE_SNAPSHOT":   {"1h 168h", "59m 168h1s"},
		"ALARM_FRESHNESS":       {"1s 168h", "999ms 168h1s"},
		"ALARM_EDGE":            {"1s 168h", "999ms 168h1s"},
		"ALARM_CLOCK_SKEW":      {"1s 168h", "999ms 168h1s"},
		"ALARM_BACKLOG":         {"1s 168h", "999ms 168h1s"},
	})
}
