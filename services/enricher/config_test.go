package enricher_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/enricher"
)

// TestEverySettingHasItsBounds: the first and the last value are taken; beyond them is one problem,
// which names the variable.
func TestEverySettingHasItsBounds(t *testing.T) {
	t.Parallel()
	load := func(name, value string) error {
		var c enricher.Config
		return config.Load(&c, []string{name + "=" + value})
	}
	for name, values := range map[string]struct{ good, bad string }{
		"FLATTEN":            {"on off", "yes"},
		"FLATTEN_CAMPAIGNS":  {"on off", "yes"},
		"FLATTEN_MAX_ROW":    {"1024 4194304", "1023 4194305"},
		"ENRICHER_WORKERS":   {"1 64", "0 65"},
		"ENRICHER_EXPANDERS": {"1 64", "0 65"},
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
