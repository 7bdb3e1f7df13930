package heartbeat_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/heartbeat"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/telemetry"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func runtime() program.Runtime {
	return program.Runtime{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Health: telemetry.NewHealth()}
}

func state(t *testing.T) (*bus.Bus, *bus.Bucket) {
	t.Helper()
	b := bustest.Start(t)
	bucket, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	return b, bucket
}

func read(t *testing.T, bucket *bus.Bucket, now time.Time) map[string]heartbeat.Program {
	t.Helper()
	programs, err := heartbeat.Read(t.Context(), bucket, "main", now)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]heartbeat.Program)
	for _, p := range programs {
		lines[p.Stage] = p
	}
	if len(lines) != 4 {
		t.Fatalf("%d lines for four stages", len(lines))
	}
	return lines
}

func poll(t *testing.T, check func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			t.Fatal("waited in vain")
		case <-tick.C:
		}
	}
}

// TestEachStageThatShouldRunHasALine: also one that never ran; and a heartbeat carries what the
// probes say.
func TestEachStageThatShouldRunHasALine(t *testing.T) {
	t.Parallel()
	b, bucket := state(t)
	rt := runtime()
	rt.Health.Degraded("sink", "refuses")
	rt.Health.NotReady("plan", "no state")
	stop := heartbeat.Start(t.Context(), b, rt, heartbeat.Shipper("main"), heartbeat.Fetcher("other"))
	poll(t, func() bool { return read(t, bucket, time.Now())["shipper"].Replicas == 1 })
	now := time.Now()
	lines := read(t, bucket, now)
	last := lines["shipper"].Last()
	if last.GetReady() || !last.GetAlive() || last.GetTroubles()["sink"] != "refuses" || last.GetTroubles()["plan"] != "no state" || last.GetVersion() == "" {
		t.Errorf("the heartbeat says %v", last)
	}
	if n := read(t, bucket, now.Add(heartbeat.Silence+time.Minute))["shipper"].Replicas; n != 0 {
		t.Errorf("%d replicas after three minutes of silence", n)
	}
	if p := lines["fetcher"]; p.Last() != nil || p.Replicas != 0 {
		t.Errorf("a stage of another tenant counts: %v", p)
	}
	stop()
	p := read(t, bucket, time.Now())["shipper"]
	if p.Replicas != 0 || !p.Last().GetEnded() || len(p.Beats) != 1 {
		t.Errorf("after the end: %d replicas, %v", p.Replicas, p.Beats)
	}
}

// TestSilenceIsAnAlarm: of the stage that is silent, not right after a start, and until it is
// heard.
func TestSilenceIsAnAlarm(t *testing.T) {
	t.Parallel()
	b, bucket := state(t)
	began := time.Now()
	w := &heartbeat.Watch{
		Tenant: "main", Stages: heartbeat.Scheduler("main").Watches, Since: began, State: bucket,
		Alarms: alarm.New(bucket, "main", "scheduler", slog.New(slog.DiscardHandler), alarm.Gauge(prometheus.NewRegistry())),
	}
	look := func(now time.Time) string {
		t.Helper()
		if err := w.Look(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		raised, err := alarm.Read(t.Context(), bucket, "main", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if len(raised) == 0 {
			return ""
		}
		return raised[0].GetName() + ": " + raised[0].GetDetail()
	}
	if got := look(began.Add(heartbeat.Silence)); got != "" {
		t.Errorf("right after the start: %s", got)
	}
	stop := heartbeat.Start(t.Context(), b, runtime(), heartbeat.Fetcher("main"), heartbeat.Shipper("main"))
	poll(t, func() bool {
		lines := read(t, bucket, time.Now())
		return lines["fetcher"].Replicas == 1 && lines["shipper"].Replicas == 1
	})
	w.Since = began.Add(-time.Hour)
	if got := look(time.Now()); !strings.HasPrefix(got, "stage-silent: no heartbeat of enricher") || strings.Contains(got, "shipper") {
		t.Errorf("without an enricher: %q", got)
	}
	stop()
	if got := look(time.Now()); !strings.Contains(got, "shipper dev ended at") || !strings.Contains(got, "fetcher dev ended at") {
		t.Errorf("after the end of two: %q", got)
	}
	stop = heartbeat.Start(t.Context(), b, runtime(), heartbeat.Fetcher("main"), heartbeat.Enricher("main"), heartbeat.Shipper("main"))
	defer stop()
	poll(t, func() bool { return look(time.Now()) == "" })
}

// away is a bus that cannot be written.
type away struct{}

var errAway = errors.New("away")

func (away) Bucket(context.Context, string) (*bus.Bucket, error) { return nil, errAway }

// TestNotReadyWhileTheBusCannotBeWritten: nothing else that the program says would be stored
// either.
func TestNotReadyWhileTheBusCannotBeWritten(t *testing.T) {
	t.Parallel()
	rt := runtime()
	stop := heartbeat.Start(t.Context(), away{}, rt, heartbeat.Enricher("main"))
	defer stop()
	poll(t, func() bool { return strings.Contains(rt.Health.Report().NotReady["heartbeat"], "cannot be written") })
	if !rt.Health.Report().Alive {
		t.Error("a bus that is away does not make a program dead")
	}
}

// TestOldHeartbeatsAreDeleted: each start of a program makes a key, and its last word stays a day.
func TestOldHeartbeatsAreDeleted(t *testing.T) {
	t.Parallel()
	_, bucket := state(t)
	now := time.Now()
	for instance, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": 23 * time.Hour} {
		data, err := proto.Marshal(&taplinev1.Heartbeat{Stage: "fetcher", Instance: instance, At: timestamppb.New(now.Add(-age))})
		if err != nil {
			t.Fatal(err)
		}
		if err := bucket.Put(t.Context(), "heartbeat.main.fetcher."+instance, data); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := heartbeat.Forget(t.Context(), bucket, "main", now); err != nil {
			t.Fatal(err)
		}
	}
	pairs, err := bucket.Select(t.Context(), "heartbeat.main.>")
	if err != nil || len(pairs) != 1 || pairs[0].Key != "heartbeat.main.fetcher.young" {
		t.Errorf("%v, %v", pairs, err)
	}
}

// TestTheSchedulerDeletesOldHeartbeats: nothing else does, and each start of a program leaves one.
func TestTheSchedulerDeletesOldHeartbeats(t *testing.T) {
	t.Parallel()
	b, bucket := state(t)
	const old = "heartbeat.main.enricher.old"
	data, err := proto.Marshal(&taplinev1.Heartbeat{Stage: "enricher", Instance: "old", At: timestamppb.New(time.Now().Add(-25 * time.Hour))})
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Put(t.Context(), old, data); err != nil {
		t.Fatal(err)
	}
	defer heartbeat.Start(t.Context(), b, runtime(), heartbeat.Scheduler("main"))()
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := bucket.Get(t.Context(), old)
		if errors.Is(err, bus.ErrNotFound) {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the old heartbeat is still there: %v", err)
		}
	}
}
