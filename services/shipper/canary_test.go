package shipper_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/shipper"
)

const queryToken = "00112233445566778899aabbccddeeff"

// canaryAlarm reads the alarm from STATE; nil if there is none.
func canaryAlarm(t *testing.T, b *bus.Bus) *taplinev1.Alarm {
	t.Helper()
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	alarms, err := alarm.Read(t.Context(), state, "main", time.Now())
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, a := range alarms {
		if a.GetName() == string(alarm.Canary) {
			return a
		}
	}
	return nil
}

// TestCanaryFindsWhatWasAcknowledgedAndLost: Devo's balancer acknowledges rows that are stored
// nowhere. Nothing on the wire shows it; the canary does, and sees when a repetition has mended it.
func TestCanaryFindsWhatWasAcknowledgedAndLost(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	sink, env := endpoint(t, devosink.Full)
	api := httptest.NewServer(sink.Query(devosink.QueryConfig{Token: queryToken, Delay: 500 * time.Millisecond}))
	t.Cleanup(api.Close)
	env = append(env, "CANARY=true", "CANARY_INTERVAL=1s", "DEVO_QUERY_URL="+api.URL, "DEVO_QUERY_INSECURE=true", "DEVO_QUERY_TOKEN="+queryToken, "DEVO_QUERY_SETTLE=2s")
	out := &output{}
	start(t, b, out, env)
	fill(t, b, 0, 2, 5)
	settled(t, b)
	poll(t, "a row that is found", func() bool { return out.looked("found") > 0 })

	if err := sink.Inject(devosink.Fault{Kind: devosink.FaultDiscard}); err != nil {
		t.Fatal(err)
	}
	fill(t, b, 1000, 1, 1)
	settled(t, b) // confirmed, as far as the wire tells
	poll(t, "the alarm", func() bool {
		a := canaryAlarm(t, b)
		return a != nil && strings.Contains(a.GetDetail(), "000003e8")
	})
	if err := sink.Clear(); err != nil {
		t.Fatal(err)
	}
	fill(t, b, 2000, 1, 1) // another row does not mend it
	settled(t, b)
	before := out.looked("found")
	poll(t, "another row that is found", func() bool { return out.looked("found") > before })
	if canaryAlarm(t, b) == nil {
		t.Error("the alarm ended before the row was there")
	}
	again(t, b, 1000)
	settled(t, b)
	poll(t, "the end of the alarm", func() bool { return canaryAlarm(t, b) == nil })
	if n := out.looked("missing"); n != 1 {
		t.Errorf("%d rows were missing", n)
	}
}

// TestCanaryThatMayNotAsk: a refused token is an alarm, too, and is not shown.
func TestCanaryThatMayNotAsk(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	sink, env := endpoint(t, devosink.Full)
	api := httptest.NewServer(sink.Query(devosink.QueryConfig{Token: "another"}))
	t.Cleanup(api.Close)
	out := &output{}
	start(t, b, out, append(env, "CANARY=true", "CANARY_INTERVAL=1s", "DEVO_QUERY_URL="+api.URL, "DEVO_QUERY_INSECURE=true", "DEVO_QUERY_TOKEN="+queryToken))
	fill(t, b, 0, 1, 5)
	poll(t, "the alarm", func() bool {
		a := canaryAlarm(t, b)
		return a != nil && strings.Contains(a.GetDetail(), "DEVO_QUERY_TOKEN") && !strings.Contains(a.GetDetail(), queryToken)
	})
}

func TestCanaryConfig(t *testing.T) {
	t.Parallel()
	for want, env := range map[string][]string{
		"CANARY":           {"CANARY=true", "SINK=stdout", "DEVO_QUERY_TOKEN=x"},
		"DEVO_QUERY_TOKEN": {"CANARY=true", "SINK=stdout"},
		"CANARY_INTERVAL":  {"CANARY=true", "CANARY_INTERVAL=1ms", "SINK=stdout", "DEVO_QUERY_TOKEN=x"},
	} {
		var c shipper.Config
		if err := config.Load(&c, env); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
