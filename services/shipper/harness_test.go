package shipper_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/devosink/devocert"
	"github.com/tapline/tapline/services/shipper"
)

// TestMain runs more tests at once than there are processors: they wait for the clock most of the
// time.
func TestMain(m *testing.M) {
	tier.Parallel(4)
	goleak.VerifyTestMain(m)
}

const (
	patience = 2 * time.Minute
	table    = "mail.proofpoint.tapsiem_v2.clicksblocked"
	pulled   = 1773216000123
)

// output is a standard output.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	metrics *prometheus.Registry
}

// looked counts the rows that the canary looked up with a result.
func (o *output) looked(result string) int {
	o.mu.Lock()
	r := o.metrics
	o.mu.Unlock()
	families, _ := r.Gather()
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "tapline_shipper_canary_rows_total" && m.GetLabel()[0].GetValue() == result {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// relay is a stand-in for a relay and the variables that lead to it.
func relay(tb testing.TB, mode devosink.Mode) (*devosink.Sink, []string) {
	tb.Helper()
	sink, err := devosink.New(devosink.Config{Mode: mode})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = sink.Close() })
	return sink, []string{"SINK=devo", "DEVO_TLS=false", "DEVO_ADDRESS=" + sink.Addr(), "DEVO_HOSTNAME=collector-1"}
}

// endpoint is a stand-in for Devo and the variables that lead to it.
func endpoint(tb testing.TB, mode devosink.Mode) (*devosink.Sink, []string) {
	tb.Helper()
	set, err := devocert.New(devocert.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	files, err := set.Write(filepath.Join(tb.TempDir(), "certs"))
	if err != nil {
		tb.Fatal(err)
	}
	conf, err := set.Server()
	if err != nil {
		tb.Fatal(err)
	}
	sink, err := devosink.New(devosink.Config{TLS: conf, Mode: mode})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = sink.Close() })
	return sink, []string{
		"SINK=devo", "DEVO_ADDRESS=" + sink.Addr(), "DEVO_CHAIN_FILE=" + files.Chain,
		"DEVO_CERT_FILE=" + files.ClientCert, "DEVO_KEY_FILE=" + files.ClientKey, "DEVO_HOSTNAME=collector-1",
	}
}

// problems is what is wrong with a configuration, or nothing.
func problems(environ []string) string {
	var c shipper.Config
	if err := config.Load(&c, environ); err != nil {
		return err.Error()
	}
	return ""
}

// running is a shipper at work.
type running struct {
	metrics *prometheus.Registry
	health  *telemetry.Health
	stop    func()
}

// start runs a shipper. It ends with the test, or by stop.
func start(tb testing.TB, b *bus.Bus, stdout *output, environ []string) (stop func()) {
	tb.Helper()
	return begin(tb, b, stdout, environ).stop
}

// begin does the same, for those who want to look at the metrics.
func begin(tb testing.TB, b *bus.Bus, stdout *output, environ []string) running {
	tb.Helper()
	return launch(tb, shipper.Deps{Bus: b, Stdout: stdout}, environ, nil)
}

// launch runs a shipper over any bus and, if open is set, with any sink.
func launch(tb testing.TB, d shipper.Deps, environ []string, open shipper.Opener) running {
	tb.Helper()
	return prepared(tb, d, environ, func(s *shipper.Shipper) {
		if open != nil {
			s.SetSink(open)
		}
	})
}

// prepared runs a shipper that was changed before.
func prepared(tb testing.TB, d shipper.Deps, environ []string, change func(*shipper.Shipper)) running {
	tb.Helper()
	var c shipper.Config
	if err := config.Load(&c, environ); err != nil {
		tb.Fatal(err)
	}
	metrics, health := prometheus.NewRegistry(), telemetry.NewHealth()
	if out, _ := d.Stdout.(*output); out != nil {
		out.mu.Lock()
		out.metrics = metrics
		out.mu.Unlock()
	}
	d.Metrics, d.Health = metrics, health
	if d.Log == nil {
		d.Log = slog.New(slog.NewTextHandler(tb.Output(), nil))
	}
	s, err := shipper.New(c, d)
	if err != nil {
		tb.Fatal(err)
	}
	change(s)
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(stop)
	return running{metrics, health, stop}
}

// value adds up the series of a counter or gauge.
func (r running) value(tb testing.TB, name string) (sum float64) {
	tb.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// row is the JSON of one row.
func row(i int) string { return rowWith(i, "Grüße") }

func rowWith(i int, text string) string {
	return fmt.Sprintf(`{"n":%d,"text":"%s","@tapline_id":"%032x"}`, i, text, i)
}

// fill publishes batches of rows, numbered throughout from first on.
func fill(tb testing.TB, b *bus.Bus, first, batches, rows int) {
	tb.Helper()
	fillWith(tb, b, load{first, batches, rows, "Grüße"})
}

// load is batches of rows, numbered throughout from first on.
type load struct {
	first, batches, rows int
	text                 string
}

func fillWith(tb testing.TB, b *bus.Bus, l load) {
	tb.Helper()
	for i := range l.batches {
		first := l.first + i*l.rows
		e := batch.Events{Tenant: "main", Table: table, Feed: "clicksBlocked", JobID: "job", SourceSequence: uint64(first + 1)}
		for j := range l.rows {
			e.Events = append(e.Events, batch.Event{PullMS: pulled, JSON: []byte(rowWith(first+j, l.text))})
		}
		publish(tb, b, &e)
	}
}

// again publishes one row once more, as a replay would: in a batch of another name.
func again(tb testing.TB, b *bus.Bus, i int) {
	tb.Helper()
	e := batch.Events{Tenant: "main", Table: table, Feed: "clicksBlocked", JobID: "job", SourceSequence: uint64(1e6 + i)}
	e.Events = []batch.Event{{PullMS: pulled, JSON: []byte(row(i))}}
	publish(tb, b, &e)
}

func publish(tb testing.TB, b *bus.Bus, e *batch.Events) {
	tb.Helper()
	meta := bus.EventMeta{Tenant: e.Tenant, Table: e.Table, MsgID: fmt.Sprint(e.SourceSequence)}
	if _, err := b.PublishEvents(tb.Context(), batch.AppendEvents(nil, e), meta); err != nil {
		tb.Fatal(err)
	}
}

// poll checks again and again until it is content or patience ends.
func poll(tb testing.TB, what string, check func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			tb.Fatalf("after %s still waiting for: %s", patience, what)
		case <-tick.C:
		}
	}
}

// settled waits until the bus holds nothing for the shipper.
func settled(tb testing.TB, b *bus.Bus) {
	tb.Helper()
	poll(tb, "an empty backlog", func() bool {
		have, err := b.Usage(tb.Context(), bus.StreamEvents)
		if err != nil {
			tb.Fatal(err)
		}
		left, err := b.Backlog(tb.Context(), bus.ConsumerShipper)
		if err != nil {
			tb.Fatal(err)
		}
		return left.Waiting == 0 && left.InWork == 0 && left.Done == have.Last
	})
}
