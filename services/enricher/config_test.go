package enricher_test

import (
	"testing"

	"github.com/tapline/tapline/pkg/config/configtest"
	"github.com/tapline/tapline/services/enricher"
)

// TestEverySettingHasItsBounds: the first and the last value are taken; beyond them is one problem,
// which names the variable.
func TestEverySettingHasItsBounds(t *testing.T) {
	t.Parallel()
	configtest.Check[enricher.Config](t, nil, configtest.Bounds{
		"FLATTEN":            {"on off", "yes"},
		"FLATTEN_CAMPAIGNS":  {"on off", "yes"},
		"FLATTEN_MAX_ROW":    {"1024 4194304", "1023 4194305"},
		"ENRICHER_WORKERS":   {"1 64", "0 65"},
		"ENRICHER_EXPANDERS": {"1 64", "0 65"},
	})
}
