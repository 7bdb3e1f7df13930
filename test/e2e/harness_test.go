package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/program"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/devosink/devocert"
	"github.com/tapline/tapline/services/tapline"
	"github.com/tapline/tapline/services/tapsim"
)

// patience bounds every wait; only a failing test takes so long.
const patience = 5 * time.Minute

// world is everything around a pipeline.
type world struct {
	sim   *tapsim.Sim
	url   string
	sink  *devosink.Sink
	certs devocert.Files
	dir   string

	traces trace.TracerProvider // nil for none

	mu      sync.Mutex
	arrives func(devosink.Event)

	read int // events of the sink that have is made of
	have map[string]*delivery
	rows map[feed.Feed][]row // of the other tables
}

// newWorld starts the simulators; they end with the test.
func newWorld(tb testing.TB, change func(*tapsim.Config)) *world {
	tb.Helper()
	return newWorldThat(tb, devosink.Full, direct, change)
}

// direct puts nothing before the simulator.
func direct(sim http.Handler) http.Handler { return sim }

// newWorldThat chooses what the sink keeps and what stands before the simulator.
func newWorldThat(tb testing.TB, keeps devosink.Mode, before func(sim http.Handler) http.Handler, change func(*tapsim.Config)) *world {
	tb.Helper()
	c := tapsim.Default()
	c.Rate, c.Factor, c.Age, c.IndexLag = tier.Pick(0.5, 0.5, 2), 60, 30*time.Minute, 5*time.Second
	if change != nil {
		change(&c)
	}
	sim, err := tapsim.New(c)
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{sim: sim, dir: dir(tb)}
	w.serve(tb, before(sim))
	certs, err := devocert.New(devocert.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	if w.certs, err = certs.Write(w.dir + "/certs"); err != nil {
		tb.Fatal(err)
	}
	conf, err := certs.Server()
	if err != nil {
		tb.Fatal(err)
	}
	if w.sink, err = devosink.New(devosink.Config{TLS: conf, Mode: keeps, OnEvent: w.arrived}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := w.sink.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			tb.Error(err)
		}
	})
	return w
}

// onEvent hands every row that arrives to a function, one at a time.
func (w *world) onEvent(arrives func(devosink.Event)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrives = arrives
}

func (w *world) arrived(e devosink.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.arrives != nil {
		w.arrives(e)
	}
}

func (w *world) serve(tb testing.TB, sim http.Handler) {
	tb.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	w.url = "http://" + ln.Addr().String()
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	served := make(chan error, 1)
	go func() { served <- tapsim.Serve(ctx, ln, sim) }()
	tb.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
}

// dir is a directory that may be removed while a killed process's files appear in it.
func dir(tb testing.TB) string {
	tb.Helper()
	d, err := os.MkdirTemp("", "tapline-e2e-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(d) })
	return d
}

// environ configures a pipeline for this world.
func (w *world) environ(extra ...string) []string {
	return append([]string{
		"DATA_DIR=" + w.dir + "/data", "TAP_URL=" + w.url, "TAP_INSECURE_HTTP=true", "TAP_PRINCIPAL=demo", "TAP_SECRET=demo",
		"TAP_START_TIME=" + w.sim.Epoch().Format(time.RFC3339), "SCHEDULER_TICK=20ms", "HTTP_ADDR=off", "LOG_FORMAT=text", "LOG_LEVEL=info",
		"DEVO_ADDRESS=" + w.sink.Addr(), "DEVO_CHAIN_FILE=" + w.certs.Chain, "DEVO_CERT_FILE=" + w.certs.ClientCert,
		"DEVO_KEY_FILE=" + w.certs.ClientKey, "DEVO_STALL_TIMEOUT=2s", "EXPAND_RATE=1000",
	}, extra...)
}

// logs collects log lines of a pipeline.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.buf.Bytes(), []byte(text))
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// pipeline is a running one.
type pipeline struct {
	logs    *logs
	metrics *prometheus.Registry
	stop    func()
}

// run starts a pipeline in this process. It ends with the test, or by stop.
func (w *world) run(tb testing.TB, extra ...string) *pipeline {
	tb.Helper()
	var cfg tapline.Config
	if err := config.Load(&cfg, w.environ(extra...)); err != nil {
		tb.Fatal(err)
	}
	p := &pipeline{logs: &logs{}, metrics: telemetry.NewRegistry()}
	rt := program.Runtime{
		Log:     slog.New(slog.NewTextHandler(p.logs, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Metrics: p.metrics, Health: telemetry.NewHealth(), Traces: w.traces, Stdout: p.logs,
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan error, 1)
	go func() { done <- tapline.Run(ctx, cfg, rt, w.sim.Now) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("pipeline: %v", err)
		}
		if tb.Failed() {
			tb.Logf("log of the pipeline:\n%s\nits metrics:\n%s", p.logs, metricsText(p.metrics))
		}
	})
	tb.Cleanup(p.stop)
	return p
}

// metricsText tells what a pipeline was doing when a test failed.
func metricsText(g prometheus.Gatherer) string {
	var b strings.Builder
	families, err := g.Gather()
	for _, f := range families {
		for _, m := range f.GetMetric() {
			fmt.Fprintln(&b, f.GetName(), m)
		}
	}
	fmt.Fprint(&b, err)
	return b.String()
}

// delivery is what the sink has of one record.
type delivery struct {
	rows int
	ids  map[string]bool // values of @tapline_id
}

// delivered reads the sink by natural keys.
func (w *world) delivered(tb testing.TB) map[string]*delivery {
	tb.Helper()
	byTable := map[string]feed.Feed{}
	for _, f := range feed.All() {
		byTable[f.Table()] = f
	}
	events := w.sink.Events("")
	if w.have == nil {
		w.have = map[string]*delivery{}
	}
	out := w.have
	for _, e := range events[w.read:] {
		if e.Frame.Partial {
			continue
		}
		f, ok := byTable[e.Tag]
		if !ok {
			tb.Fatalf("row with tag %q: %q", e.Tag, e.Frame.Raw)
		}
		if !f.IsSIEM() {
			w.take(tb, f, e.Message)
			continue
		}
		key, err := tapsim.NaturalKey(f, e.Message)
		if err != nil {
			tb.Fatal(err)
		}
		d := out[string(f)+" "+key]
		if d == nil {
			d = &delivery{ids: map[string]bool{}}
			out[string(f)+" "+key] = d
		}
		d.rows++
		d.ids[taplineID(tb, e.Message)] = true
	}
	w.read = len(events)
	return out
}

// complete waits until everything visible at a moment is at the sink, and
// returns what is there.
func (w *world) complete(tb testing.TB, at time.Time) map[string]*delivery {
	tb.Helper()
	var want []tapsim.Truth
	for truth := range w.sim.Truth(w.sim.Epoch(), at) {
		if !truth.Visible.After(at) {
			want = append(want, truth)
		}
	}
	if len(want) == 0 {
		tb.Fatal("the simulator made nothing; the test would prove nothing")
	}
	tb.Cleanup(func() {
		if len(want) > 0 && tb.Failed() {
			tb.Logf("%d records visible at %s, created from %s on, did not arrive, the last is %+v", len(want), at, w.sim.Epoch(), want[len(want)-1])
		}
	})
	poll(tb, "all that is visible at the sink", func() bool {
		have := w.delivered(tb)
		want = slices.DeleteFunc(want, func(r tapsim.Truth) bool { return have[string(r.Feed)+" "+r.Key] != nil })
		return len(want) == 0
	})
	return w.have
}
