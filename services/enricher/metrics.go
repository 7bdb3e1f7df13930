package enricher

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/feed"
)

// metrics of the enricher. The names are part of the interface.
type metrics struct {
	events  *prometheus.CounterVec // by table
	dead    *prometheus.CounterVec // by feed
	lookups *prometheus.CounterVec // by result
	amended prometheus.Counter
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
	m.lookups = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tapline_enricher_expansions_total", Help: "Threats and campaigns that batches name: known (answered or ordered before), ordered, or dead (not to be asked for).",
	}, []string{"result"})
	m.amended = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "tapline_enricher_amendments_total", Help: "Threats that were ordered again because they turned out to belong to a campaign.",
	})
	r.MustRegister(m.events, m.dead, m.lookups, m.amended)
	for _, f := range feed.All() {
		m.dead.WithLabelValues(string(f)) // a counter that appears as 1 has not increased, as an alert sees it
	}
	return m
}
