package e2e_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/shipper"
	"github.com/tapline/tapline/services/tapsim"
)

// TestSixHoursWithoutASink: in each half of an outage of one and a half simulated hours, in the
// long tier in each quarter of one of six hours, the whole process, with its NATS server and its
// store, is restarted, and a second shipper comes and goes. The first and the last record of the
// outage, and all between them, arrive.
func TestSixHoursWithoutASink(t *testing.T) {
	t.Parallel()
	outage, quarters := tier.Pick(90*time.Minute, 90*time.Minute, 6*time.Hour), tier.Pick(2, 2, 4)
	w := newWorld(t, func(c *tapsim.Config) { c.Factor, c.Rate, c.Age = 600, 0.1, 20*time.Minute })
	address := freeAddress(t)
	p := w.run(t, "NATS_LISTEN="+address)
	w.complete(t, w.sim.Now())
	for _, f := range []devosink.Fault{{Kind: devosink.FaultRefuse}, {Kind: devosink.FaultReset, Bytes: 1}} {
		if err := w.sink.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	p.await(t, "the sink does not take rows")
	poll(t, "the end of every connection", func() bool { return w.sink.Snapshot().Open == 0 })
	began, before := w.sim.Now(), w.sink.Snapshot().Events
	for quarter := range quarters {
		t.Run("a second shipper", func(t *testing.T) {
			w.shipper(t, address)
			poll(t, "a quarter of the outage", func() bool {
				return w.sim.Now().After(began.Add(outage * time.Duration(quarter+1) / time.Duration(quarters)))
			})
		})
		p.stop()
		p = w.run(t, "NATS_LISTEN="+address)
	}
	p.await(t, "the sink does not take rows")
	ended := w.sim.Now()
	if now := w.sink.Snapshot().Events; now != before {
		t.Errorf("%d rows arrived during the outage", now-before)
	}
	if err := w.sink.Clear(); err != nil {
		t.Fatal(err)
	}
	have := w.complete(t, ended)
	var first, last tapsim.Truth
	n := 0
	for truth := range w.sim.Truth(began, ended) {
		if truth.Visible.After(ended) {
			continue
		}
		if n == 0 || truth.Created.Before(first.Created) {
			first = truth
		}
		if truth.Created.After(last.Created) {
			last = truth
		}
		n++
	}
	for _, truth := range []tapsim.Truth{first, last} {
		d := have[string(truth.Feed)+" "+truth.Key]
		if d == nil || len(d.ids) != 1 {
			t.Errorf("%+v arrived as %+v", truth, d)
			continue
		}
		for id := range d.ids {
			t.Logf("%s %s, created %s: %d rows with id %s", truth.Feed, truth.Key, truth.Created.Format(time.RFC3339), d.rows, id)
		}
	}
	if n < int(outage.Hours()*150) {
		t.Errorf("only %d records in %s", n, ended.Sub(began))
	}
	t.Logf("%d records in an outage of %s; %d rows, %d duplicates", n, ended.Sub(began).Round(time.Minute), w.sink.Snapshot().Events, w.sink.Snapshot().Duplicates)
}

// shipper runs a shipper beside a pipeline until the test ends.
func (w *world) shipper(t *testing.T, address string) {
	t.Helper()
	beside(t, address, func(ctx context.Context, b *bus.Bus) error {
		var c shipper.Config
		if err := config.Load(&c, w.environ()); err != nil {
			return err
		}
		s, err := shipper.New(c, shipper.Deps{
			Bus: b, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Health: telemetry.NewHealth(), Now: w.sim.Now,
		})
		if err != nil {
			return err
		}
		return s.Run(ctx)
	})
}
