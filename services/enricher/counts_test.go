package enricher_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/services/enricher"
)

// counted are the counters of an enricher, by name and the value of their label.
func counted(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			sums[name] = m.GetCounter().GetValue()
		}
	}
	return sums
}

// TestWhatIsCounted: rows, dead records, and what became of what is named.
func TestWhatIsCounted(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	record := `{"id":"1","threatID":"t1"}`
	publish(t, b, siemJob, clicks(t, record, `{"id":"2","threatID":"t 2"}`, `no object`), clicks(t, record))
	r := run(t, b, "TAP_FEEDS=clicksBlocked,threats", "ENRICHER_EXPANDERS=1", "ENRICHER_WORKERS=1")
	for _, c := range []bus.Consumer{bus.ConsumerEnricher, bus.ConsumerExpander} {
		arrives(t, b, c, func(left bus.Backlog) bool { return left.Done >= 2 })
	}
	sums := counted(t, r)
	for name, want := range map[string]float64{
		"tapline_enricher_events_total mail.proofpoint.tapsiem_v2.clicksblocked": 3, "tapline_enricher_records_dead_total clicksBlocked": 1,
		"tapline_enricher_expansions_total ordered": 1, "tapline_enricher_expansions_total known": 1, "tapline_enricher_expansions_total dead": 1,
		"tapline_enricher_amendments_total": 0,
	} {
		if sums[name] != want {
			t.Errorf("%s is %v, want %v", name, sums[name], want)
		}
	}
}

// TestReadyWhenItTakes: an enricher is not ready before it asks for messages, and then it is.
func TestReadyWhenItTakes(t *testing.T) {
	t.Parallel()
	b, health := bustest.Start(t), telemetry.NewHealth()
	var c enricher.Config
	if err := config.Load(&c, nil); err != nil {
		t.Fatal(err)
	}
	e := enricher.New(c, enricher.Deps{Bus: b, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Health: health})
	if health.Report().Ready {
		t.Error("it is ready before it runs")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	arrives(t, b, bus.ConsumerEnricher, func(bus.Backlog) bool { return health.Report().Ready })
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
