package e2e_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/overview"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/enricher"
	"github.com/tapline/tapline/services/fetcher"
	"github.com/tapline/tapline/services/scheduler"
	"github.com/tapline/tapline/services/shipper"
	"github.com/tapline/tapline/services/tapsim"
)

// crew is the four stages, each connected as its own user.
type crew struct {
	w       *world
	server  *bustest.Guarded
	environ []string
	logs    *logs
}

// runner is a stage.
type runner interface {
	Run(ctx context.Context) error
}

// start runs one stage until the test ends.
func (c *crew) start(t *testing.T, user string, cfg any, assemble func(*bus.Bus, *slog.Logger) (runner, error)) {
	t.Helper()
	if err := config.Load(cfg, c.environ); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(c.logs, nil)).With(slog.String("stage", user))
	b, err := bus.Connect(t.Context(), c.server.As(user), user, log)
	if err != nil {
		t.Fatal(err)
	}
	stage, err := assemble(b, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- stage.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", user, err)
		}
		b.Close()
	})
}

func (c *crew) startAll(t *testing.T) {
	t.Helper()
	now, health, registry := c.w.sim.Now, telemetry.NewHealth(), prometheus.NewRegistry
	var sc scheduler.Config
	c.start(t, "scheduler", &sc, func(b *bus.Bus, log *slog.Logger) (runner, error) {
		return scheduler.New(sc, scheduler.Deps{Bus: b, Log: log, Metrics: registry(), Health: health, Now: now})
	})
	var fc fetcher.Config
	c.start(t, "fetcher", &fc, func(b *bus.Bus, log *slog.Logger) (runner, error) {
		return fetcher.New(fc, fetcher.Deps{Bus: b, Log: log, Metrics: registry(), Health: health, Now: now})
	})
	var ec enricher.Config
	c.start(t, "enricher", &ec, func(b *bus.Bus, log *slog.Logger) (runner, error) {
		return enricher.New(ec, enricher.Deps{Bus: b, Log: log, Metrics: registry(), Health: health, Now: now}), nil
	})
	var hc shipper.Config
	c.start(t, "shipper", &hc, func(b *bus.Bus, log *slog.Logger) (runner, error) {
		return shipper.New(hc, shipper.Deps{Bus: b, Log: log, Metrics: registry(), Health: health, Now: now, Stdout: c.logs})
	})
}

// TestEachStageAsItsOwnUser runs everything that stages do against a server that is configured as
// docker-compose.yml does, and fails when one of them needs a right that it has not: dead letters
// of all of them, second questions, reports, people, quota, ledger, alarms.
func TestEachStageAsItsOwnUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) {
		c.Factor, c.Rate, c.Age, c.MalformedFraction, c.Threats, c.LimitForensicsThreat = 20, 1, 30*time.Minute, 0.02, 4, 500
	})
	if err := w.sim.Inject(tapsim.Fault{Kind: tapsim.FaultStatus, Status: 404, Count: 4, Path: "/v2/threat/summary/"}); err != nil {
		t.Fatal(err)
	}
	server := bustest.StartGuarded(t, "../../deploy/nats")
	c := &crew{w: w, server: server, logs: &logs{}, environ: w.environ(
		"TAP_FORENSICS=true", "QUOTA_FORENSICS_THREAT=500", "EXPAND_ATTEMPTS=2", "EXPAND_RETRY_DELAY=10ms",
		"EVENT_MAX_BYTES=2600", "ALARM_FRESHNESS=1s", "TAP_POLL_INTERVAL=30s",
	)}
	admin := server.As(bus.UserAdmin)
	o := operator{t, append(c.environ, "NATS_URL="+admin.URL, "NATS_USER="+admin.User, "NATS_PASSWORD="+admin.Password.Reveal())}
	o.run("setup")
	c.startAll(t)
	t.Cleanup(func() {
		if n := c.logs.count("ermissions"); n > 0 || t.Failed() {
			t.Errorf("%d calls were denied:\n%s", n, c.logs)
		}
	})
	var report overview.Report
	poll(t, "an account that adds up", func() bool {
		return o.read(&report, "verify") == 0 && report.Records > 1000
	})
	forge(t, admin)
	poll(t, "dead letters of all stages", func() bool {
		_, out := o.run("dead", "ls", "--limit", "10000")
		return strings.Contains(out, "  fetcher ") && strings.Contains(out, "  enricher ") && strings.Contains(out, "  shipper ")
	})
	peopleWork(t, server, c.environ, w.dir)
	if err := w.sink.Inject(devosink.Fault{Kind: devosink.FaultRefuse}); err != nil {
		t.Fatal(err)
	}
	if err := w.sink.Inject(devosink.Fault{Kind: devosink.FaultReset}); err != nil {
		t.Fatal(err)
	}
	c.alarms(t, o, alarm.Sink, alarm.Freshness)
	if err := w.sim.Inject(tapsim.Fault{Kind: tapsim.FaultStatus, Status: 401}); err != nil {
		t.Fatal(err)
	}
	c.alarms(t, o, alarm.Refused)
	for _, f := range w.sim.Faults() {
		if f.Count > 0 {
			t.Errorf("not used up: %+v", f)
		}
	}
}

func (c *crew) alarms(t *testing.T, o operator, names ...alarm.Name) {
	t.Helper()
	for _, name := range names {
		poll(t, "alarm "+string(name), func() bool {
			var s overview.Status
			o.read(&s, "status")
			return slices.ContainsFunc(s.Alarms, func(a overview.Alarm) bool { return a.Name == string(name) })
		})
	}
}

// forge stores a message in RAW that no stage can read.
func forge(t *testing.T, admin bus.Config) {
	t.Helper()
	b, err := bus.Connect(t.Context(), admin, "tapctl", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_, err = b.StoreJob(t.Context(), bus.JobOutput{
		Tenant: "main", JobID: "forged", Marker: []byte("no marker"),
		Batches: func(yield func(bus.RawMessage, error) bool) {
			yield(bus.RawMessage{Feed: "clicksBlocked", Data: []byte("no batch")}, nil)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}
