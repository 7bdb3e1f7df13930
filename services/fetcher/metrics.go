package fetcher

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// metrics of the fetcher. The names are part of the interface.
type metrics struct {
	calls    *prometheus.CounterVec // by endpoint and result
	records  *prometheus.CounterVec // by feed and outcome
	bytes    prometheus.Counter
	duration prometheus.Histogram
	skew     prometheus.Gauge
	waiting  *prometheus.GaugeVec     // by lane
	late     *prometheus.CounterVec   // by feed
	lateness *prometheus.HistogramVec // by feed
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_fetcher_calls_total", Help: "Calls to Proofpoint.",
		}, []string{"endpoint", "result"}),
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_fetcher_records_total", Help: "Records received: new, revision, duplicate or dead.",
		}, []string{"feed", "fate"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tapline_fetcher_received_bytes_total", Help: "Bytes of response bodies, decompressed.",
		}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tapline_fetcher_call_duration_seconds", Help: "From the request to the end of the body.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 12),
		}),
		late: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_fetcher_late_records_total", Help: "Records that a sweep found and the first reading had missed.",
		}, []string{"feed"}),
		lateness: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tapline_fetcher_lateness_seconds", Help: "How long after the end of its window a record that only a sweep found was found.",
			Buckets: []float64{600, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 16 * 3600, 86400, 2 * 86400, 4 * 86400},
		}, []string{"feed"}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tapline_fetcher_jobs_waiting", Help: "Jobs in a lane that wait or are in work, at all fetchers together.",
		}, []string{"lane"}),
		skew: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tapline_clock_skew_seconds", Help: "How far the local clock is ahead of Proofpoint's.",
		}),
	}
	r.MustRegister(m.calls, m.records, m.bytes, m.duration, m.skew, m.late, m.lateness, m.waiting)
	m.zero()
	return m
}

// zero makes the series whose first count is worth an alert: a counter that appears
// as 1 has not increased.
func (m *metrics) zero() {
	for _, f := range feed.All() {
		m.records.WithLabelValues(string(f), "dead")
	}
	for _, e := range feed.SIEMEndpoints() {
		m.calls.WithLabelValues(e.Path, string(proofpoint.TooManyRequests))
	}
	for _, c := range []feed.Call{feed.CallCampaignIDs, feed.CallVAP, feed.CallTopClickers, feed.CallThreatForensics} {
		m.calls.WithLabelValues(c.Path(), string(proofpoint.TooManyRequests))
	}
}
