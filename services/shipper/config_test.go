package shipper_test

import (
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/config/configtest"
	"github.com/tapline/tapline/services/shipper"
)

// TestEverySettingHasItsBounds: the first and the last value are taken; beyond them is one problem,
// which names the variable.
func TestEverySettingHasItsBounds(t *testing.T) {
	t.Parallel()
	configtest.Check[shipper.Config](t, []string{"SINK=stdout"}, configtest.Bounds{
		"SINK":                       {"file stdout", "syslog"},
		"SHIPPER_CONNECTIONS":        {"1 64", "0 65"},
		"SHIPPER_MAX_INFLIGHT_BYTES": {"1048576", "1048575"},
		"EVENT_MAX_BYTES":            {"1024", "1023"},
		"ALARM_CERTIFICATE":          {"0s", "-1s"},
		"SHIPPER_DRAIN_TIMEOUT":      {"0s 5m", "-1s 5m1s"},
	})
}

// TestWhatASinkNeeds is asked for only when it is chosen; canaries need a sink that can be queried.
func TestWhatASinkNeeds(t *testing.T) {
	t.Parallel()
	http := []string{"SINK=devo-http", "DEVO_HTTP_DOMAIN=d", "DEVO_HTTP_TOKEN=t"}
	canary := []string{"CANARY=true", "DEVO_QUERY_TOKEN=t"}
	for name, c := range map[string]struct {
		environ []string
		want    string // in the error; empty for none
	}{
		"no certificates":  {[]string{"SINK=devo"}, "DEVO_CHAIN_FILE"},
		"no token":         {[]string{"SINK=devo-http"}, "DEVO_HTTP_TOKEN"},
		"nothing needed":   {[]string{"SINK=file"}, ""},
		"a token":          {http, ""},
		"canaries":         {append(canary, http...), ""},
		"canaries to file": {append(canary, "SINK=file"), "CANARY"},
		"canaries of none": {append([]string{"CANARY=true"}, http...), "DEVO_QUERY_TOKEN"},
	} {
		var loaded shipper.Config
		err := config.Load(&loaded, c.environ)
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
