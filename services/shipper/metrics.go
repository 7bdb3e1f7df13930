package shipper

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/shipper/internal/canary"
)

// Reasons for which a row or a message goes to DEAD, as the metric has them.
const (
	deadMessage = "message"
	deadTooLong = "too-long"
	deadControl = "control-character"
	deadRefused = "refused"
)

// label is a table as a label of metrics: there are as many series as tables of ours, whatever
// EVENTS brings.
func label(table string) string {
	if slices.ContainsFunc(feed.All(), func(f feed.Feed) bool { return f.Table() == table }) {
		return table
	}
	return "other"
}

// metrics of the shipper. The names are part of the interface.
type metrics struct {
	shipped     *prometheus.CounterVec // by table
	confirmed   *prometheus.CounterVec // by table
	bytes       prometheus.Counter
	dead        *prometheus.CounterVec // by reason
	connections prometheus.Counter
	failures    prometheus.Counter
	repeated    prometheus.Counter
	recalled    prometheus.Counter
	certificate prometheus.Gauge
	up          prometheus.Gauge
	inFlight    prometheus.Gauge
	confirm     prometheus.Histogram
	lag         prometheus.Histogram
	lastLag     *prometheus.GaugeVec // by table
	canary      *canary.Metrics
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		canary: canary.NewMetrics(r),
		shipped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_shipper_events_shipped_total", Help: "Rows handed to the sink, repetitions included.",
		}, []string{"table"}),
		confirmed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_shipper_events_confirmed_total", Help: "Rows confirmed by the sink.",
		}, []string{"table"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tapline_shipper_sent_bytes_total", Help: "Bytes of rows handed to the sink, repetitions included.",
		}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_shipper_events_dead_total", Help: "Rows that went to DEAD.",
		}, []string{"reason"}),
		connections: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tapline_shipper_connections_total", Help: "Connections opened.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tapline_shipper_connection_failures_total", Help: "Connections that could not be opened, or broke.",
		}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tapline_shipper_redeliveries_total", Help: "Messages of EVENTS that were redelivered.",
		}),
		recalled: prometheus.NewCounter(prometheus.CounterOpts{Name: "tapline_shipper_events_recalled_total", Help: "Rows that EVENTS gave again and that were not sent again: LEDGER shows them as confirmed."}),
		certificate: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tapline_shipper_certificate_left_seconds", Help: "Time until the certificate for the sink ends; 0 without one.",
		}),
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tapline_shipper_sink_up", Help: "1 while the sink takes rows, 0 during an outage.",
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tapline_shipper_inflight_bytes", Help: "Bytes of rows pulled and not confirmed.",
		}),
		confirm: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tapline_shipper_confirm_seconds", Help: "From sending a batch to its confirmation.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2.5, 14),
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tapline_shipper_lag_seconds", Help: "From the pull of a batch to its confirmation.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2.5, 14),
		}),
		lastLag: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tapline_shipper_last_lag_seconds", Help: "From the pull to the confirmation, of the last batch confirmed.",
		}, []string{"table"}),
	}
	r.MustRegister(m.shipped, m.confirmed, m.bytes, m.dead, m.connections, m.failures, m.repeated, m.recalled, m.certificate, m.up, m.inFlight, m.confirm, m.lag, m.lastLag)
	m.zero()
	return m
}

// zero makes the series whose first count is worth an alert: a counter that appears
// as 1 has not increased.
func (m *metrics) zero() {
	for _, reason := range []string{deadMessage, deadTooLong, deadControl, deadRefused} {
		m.dead.WithLabelValues(reason)
	}
}
