package devohttp_test

import (
	"testing"

	"github.com/tapline/tapline/pkg/config/configtest"
	"github.com/tapline/tapline/services/shipper/internal/devohttp"
)

// TestEverySettingHasItsBounds: the first and the last value are taken; beyond them is one problem,
// which names the variable.
func TestEverySettingHasItsBounds(t *testing.T) {
	t.Parallel()
	configtest.Check[checked](t, []string{"DEVO_HTTP_DOMAIN=d", "DEVO_HTTP_TOKEN=t"}, configtest.Bounds{
		"DEVO_HTTP_URL":     {"https://host https://host:444/x", "host https:// ftp://host https://user:word@host https://host/token!x http://127.0.0.1 http://a.b"},
		"DEVO_HTTP_DOMAIN":  {"a.b", "a/b a?b a#b"},
		"DEVO_HTTP_TOKEN":   {"abc", "a/b a?b a#b token!a"},
		"DEVO_HTTP_TIMEOUT": {"1s 10m", "999ms 10m1s"},
	})
}

// checked is checked although the sink is not chosen.
type checked struct{ devohttp.Config }

// Validate checks the values.
func (c checked) Validate() error { return c.Check() }
