package alarm_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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
	if raised, over := strings.Count(log.String(), "msg=alarm "), strings.Count(log.String(), "alarm cleared"); raised != 2 || over != 1 {
		t.Errorf("%d beginnings and %d ends in the log:\n%s", raised, over, log.String())
	}
}

// TestHeldAlarmEndsInTime: metric and log agree with what is kept, although the alarm is never
// cleared.
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

// TestAWritingThatFails: an alarm that is held is logged once, and stands in STATE all the same
// when the server was away at that moment; so does its end.
func TestAWritingThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := &away{kept: make(map[string][]byte), failures: 2}
		b := alarm.New(state, "main", "scheduler", slog.New(slog.DiscardHandler), alarm.Gauge(prometheus.NewRegistry()))
		holds := func() int {
			list, err := alarm.Read(t.Context(), state, "main", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		b.Hold(t.Context(), alarm.Lost, "two hours", time.Hour)
		if n := holds(); n != 0 {
			t.Fatalf("%d alarms were written to nobody", n)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if n := holds(); n != 1 {
			t.Errorf("%d alarms a minute later, want 1", n)
		}
		state.fail(2)
		b.Clear(t.Context(), alarm.Lost)
		<-time.After(time.Minute)
		synctest.Wait()
		if n := holds(); n != 0 {
			t.Errorf("%d alarms a minute after the end", n)
		}
		state.fail(1)
		b.Hold(t.Context(), alarm.Lost, "again", time.Hour)
		b.Clear(t.Context(), alarm.Lost) // before the first writing is repeated
		<-time.After(time.Minute)
		synctest.Wait()
		if n := holds(); n != 0 {
			t.Errorf("%d alarms, though it was over before it could be written", n)
		}
	})
}

// away is a bucket that is away for some writings.
type away struct {
	mu       sync.Mutex
	kept     map[string][]byte
	failures int
}

func (a *away) fail(times int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failures = times
}

var errAway = errors.New("away")

func (a *away) Put(_ context.Context, key string, value []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failures > 0 {
		a.failures--
		return errAway
	}
	a.kept[key] = value
	return nil
}

func (a *away) Select(context.Context, ...string) (pairs []bus.Pair, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, value := range a.kept {
		pairs = append(pairs, bus.Pair{Key: key, Entry: bus.Entry{Value: value}})
	}
	return pairs, nil
}

// TestAnAlarmEndsWithItsLastCause: success of one thing says nothing about another.
func TestAnAlarmEndsWithItsLastCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		state := &away{kept: make(map[string][]byte)}
		b := alarm.New(state, "main", "fetcher", slog.New(slog.DiscardHandler), alarm.Gauge(prometheus.NewRegistry()))
		details := func() string {
			list, err := alarm.Read(t.Context(), state, "main", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, a := range list {
				all = append(all, a.GetDetail())
			}
			return strings.Join(all, " | ")
		}
		b.HoldCause(t.Context(), alarm.Forbidden, "people", "403 for people", time.Minute)
		b.HoldCause(t.Context(), alarm.Forbidden, "forensics", "403 for forensics", time.Hour)
		b.ClearCause(t.Context(), alarm.Forbidden, "siem")
		b.Clear(t.Context(), alarm.Forbidden)
		if got := details(); got != "403 for forensics; 403 for people" {
			t.Errorf("two causes read %q", got)
		}
		b.ClearCause(t.Context(), alarm.Forbidden, "people")
		if got := details(); got != "403 for forensics" {
			t.Errorf("after one success: %q", got)
		}
		b.HoldCause(t.Context(), alarm.Forbidden, "people", "403 for people", time.Minute)
		<-time.After(2 * time.Minute) // of the bubble: it is not renewed
		b.ClearCause(t.Context(), alarm.Forbidden, "forensics")
		if got := details(); got != "" {
			t.Errorf("after the last cause: %q", got)
		}
	})
}
