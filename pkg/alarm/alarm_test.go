package alarm_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAlarmIsToldInThreePlacesAndOnce(t *testing.T) {
	t.Parallel()
	state, err := bustest.Start(t).Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	gauge := alarm.Gauge(registry)
	if alarm.Gauge(registry) != gauge {
		t.Error("a second stage of the process has a metric of its own")
	}
	var log bytes.Buffer
	b := alarm.New(state, "main", "fetcher", slog.New(slog.NewTextHandler(&log, nil)), gauge)
	ctx := t.Context()
	holding := func(at time.Time) (names []string) {
		t.Helper()
		list, err := alarm.Read(ctx, state, "main", at)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			names = append(names, a.GetName()+": "+a.GetDetail())
		}
		return names
	}
	if got := holding(time.Now()); len(got) != 0 {
		t.Errorf("at first %q", got)
	}
	for range 3 {
		b.Raise(ctx, alarm.Refused, "401")
	}
	b.Hold(ctx, alarm.Lost, "two days", 24*time.Hour)
	if got := holding(time.Now()); len(got) != 2 || got[0] != "credential-refused: 401" {
		t.Errorf("holding %q", got)
	}
	if got := holding(time.Now().Add(time.Hour)); len(got) != 1 || got[0] != "lost: two days" {
		t.Errorf("an hour after the stage died %q holds", got)
	}
	if v := testutil.ToFloat64(gauge.WithLabelValues("credential-refused")); v != 1 {
		t.Errorf("the metric is %v", v)
	}
	for range 2 {
		b.Set(ctx, alarm.Refused, false, "")
	}
	if got := holding(time.Now()); len(got) != 1 {
		t.Errorf("after the end %q holds", got)
	}
	if v := testutil.ToFloat64(gauge.WithLabelValues("credential-refused")); v != 0 {
		t.Errorf("the metric is %v after the end", v)
	}
	if raised, over := strings.Count(log.String(), "msg=alarm "), strings.Count(log.String(), "is over"); raised != 2 || over != 1 {
		t.Errorf("%d beginnings and %d ends in the log:\n%s", raised, over, log.String())
	}
}

// TestHeldAlarmEndsInTime: metric and log agree with what is kept, though nobody
// clears an alarm that is held.
func TestHeldAlarmEndsInTime(t *testing.T) {
	t.Parallel()
	state, err := bustest.Start(t).Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	gauge := alarm.Gauge(prometheus.NewRegistry())
	b := alarm.New(state, "main", "scheduler", slog.New(slog.DiscardHandler), gauge)
	b.Hold(t.Context(), alarm.Edge, "still", time.Hour)
	b.Hold(t.Context(), alarm.Lost, "an hour", 50*time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for testutil.ToFloat64(gauge.WithLabelValues("lost")) != 0 {
		select {
		case <-ctx.Done():
			t.Fatal("the metric of an alarm that was held for 50 ms stands for a minute")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if v := testutil.ToFloat64(gauge.WithLabelValues("edge")); v != 1 {
		t.Errorf("the metric of an alarm that is held for an hour is %v", v)
	}
	b.Hold(t.Context(), alarm.Lost, "another hour", time.Hour)
	if v := testutil.ToFloat64(gauge.WithLabelValues("lost")); v != 1 {
		t.Errorf("the metric is %v when the alarm begins again", v)
	}
}
