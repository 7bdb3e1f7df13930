package fetcher_test

import (
	"testing"

	"github.com/tapline/tapline/pkg/config/configtest"
	"github.com/tapline/tapline/services/fetcher"
)

// TestEverySettingHasItsBounds: the first and the last value are taken; beyond them is one problem,
// which names the variable.
func TestEverySettingHasItsBounds(t *testing.T) {
	t.Parallel()
	configtest.Check[fetcher.Config](t, []string{"TAP_PRINCIPAL=p", "TAP_SECRET=s"}, configtest.Bounds{
		"EXPAND_RATE":          {"0.01 10000", "0.009 10000.1"},
		"EXPAND_CALLS":         {"1 32", "0 33"},
		"EXPAND_ATTEMPTS":      {"1 100", "0 101"},
		"EXPAND_RETRY_DELAY":   {"1ms 1h", "999us 1h0m1s"},
		"FETCHER_WORKERS":      {"1 32", "0 33"},
		"FETCHER_SPOOL_MEMORY": {"0", "-1"},
		"BATCH_RECORDS":        {"1 10000", "0 10001"},
		"BATCH_BYTES":          {"1024 2097152", "1023 2097153"},
		"TAP_TIMEOUT":          {"1s 10m", "999ms 10m1s"},
		"TAP_IDLE_TIMEOUT":     {"1s 10m", "999ms 10m1s"},
		"TAP_URL":              {"https://host https://host:444/path", "host https:// ftp://host https://user:word@host http://127.0.0.1 http://a.b"},
	})
}
