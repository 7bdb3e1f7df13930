package devohttp_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/shipper/internal/devohttp"
)

// TestEverySettingHasItsBounds: the first and the last value are taken; beyond them is one problem,
// which names the variable.
func TestEverySettingHasItsBounds(t *testing.T) {
	t.Parallel()
	load := func(name, value string) error {
		var c checked
		return config.Load(&c, []string{"DEVO_HTTP_DOMAIN=d", "DEVO_HTTP_TOKEN=t", name + "=" + value})
	}
	for name, values := range map[string]struct{ good, bad string }{
		"DEVO_HTTP_URL":     {"https://host https://host:444/x", "host https:// ftp://host https://user:word@host https://host/token!x http://127.0.0.1 http://a.b"},
		"DEVO_HTTP_DOMAIN":  {"a.b", "a/b a?b a#b"},
		"DEVO_HTTP_TOKEN":   {"abc", "a/b a?b a#b token!a"},
		"DEVO_HTTP_TIMEOUT": {"1s 10m", "999ms 10m1s"},
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

// checked is checked although the sink is not chosen.
type checked struct{ devohttp.Config }

// Validate checks the values.
func (c checked) Validate() error { return c.Check() }
