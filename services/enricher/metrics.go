package enricher

import "github.com/prometheus/client_golang/prometheus"

// metrics of the enricher. The names are part of the interface.
type metrics struct {
	events *prometheus.CounterVec // by table
	dead   *prometheus.CounterVec // by feed
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_enricher_events_total", Help: "Rows made and stored in EVENTS.",
		}, []string{"table"}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_enricher_records_dead_total", Help: "Records that could not become a row.",
		}, []string{"feed"}),
	}
	r.MustRegister(m.events, m.dead)
	return m
}
