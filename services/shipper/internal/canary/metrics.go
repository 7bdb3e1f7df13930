package canary

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the canary. The names are part of the interface.
type Metrics struct {
	rows     *prometheus.CounterVec // by result
	missing  prometheus.Gauge
	delay    prometheus.Histogram
	failures prometheus.Counter
}

// NewMetrics makes and registers them.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_shipper_canary_rows_total", Help: "Confirmed rows that were looked up at Devo: found or missing.",
		}, []string{"result"}),
		missing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tapline_shipper_canary_missing_rows", Help: "Confirmed rows of the last 24 hours that were looked up and are not at Devo.",
		}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tapline_shipper_canary_delay_seconds", Help: "From the confirmation of a row to the query that found it; as exact as CANARY_INTERVAL.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 13),
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tapline_shipper_canary_failures_total", Help: "Queries of the canary that got no answer.",
		}),
	}
	r.MustRegister(m.rows, m.missing, m.delay, m.failures)
	return m
}
