package scheduler

import "github.com/prometheus/client_golang/prometheus"

// metrics of the scheduler. The names are part of the interface.
type metrics struct {
	planned     *prometheus.CounterVec // by lane
	outstanding *prometheus.GaugeVec   // by lane
	headLag     prometheus.Gauge
	backfill    prometheus.Gauge
	lost        prometheus.Counter
	sealed      prometheus.Counter
	cadence     prometheus.Gauge
	unproven    prometheus.Gauge
	lag         prometheus.Gauge

	quotaLeft     *prometheus.GaugeVec // by pool
	quotaExternal *prometheus.GaugeVec // by pool

	freshness  *prometheus.GaugeVec // by feed
	pending    *prometheus.GaugeVec // by feed
	violations prometheus.Gauge
	edge       prometheus.Gauge
	backlogAge *prometheus.GaugeVec // by stream
	filled     *prometheus.GaugeVec // by stream or bucket
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		planned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_scheduler_jobs_planned_total", Help: "Jobs planned.",
		}, []string{"lane"}),
		outstanding: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tapline_scheduler_jobs_outstanding", Help: "Jobs that the scheduler planned and does not know to be done; tapline_fetcher_jobs_waiting has those of others, too.",
		}, []string{"lane"}),
		headLag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tapline_scheduler_head_lag_seconds", Help: "How far the end of the last live window is behind Proofpoint's clock.",
		}),
		backfill: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tapline_scheduler_backfill_remaining_seconds", Help: "Time span that backfill has still to plan.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tapline_scheduler_lost_seconds_total", Help: "Time span given up because Proofpoint no longer serves it, summed over feeds.",
		}),
	}
	m.pace()
	m.account()
	r.MustRegister(m.unproven, m.lag, m.planned, m.outstanding, m.headLag, m.backfill, m.lost, m.sealed, m.cadence, m.quotaLeft, m.quotaExternal,
		m.freshness, m.pending, m.violations, m.edge, m.backlogAge, m.filled)
	return m
}

// pace makes the metrics of how calls are spent.
func (m *metrics) pace() {
	m.unproven = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tapline_scheduler_windows_unproven", Help: "Windows that were asked for in vain and wait to be asked for once more.",
	})
	m.lag = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tapline_scheduler_learned_lag_seconds", Help: "How far Proofpoint serves behind its clock, as its answers say.",
	})
	m.cadence = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tapline_scheduler_cadence_seconds", Help: "Time between live calls that the budget allows at the moment.",
	})
	m.quotaLeft = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tapline_quota_left_calls", Help: "Calls that may be made now.",
	}, []string{"pool"})
	m.quotaExternal = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tapline_quota_external_calls", Help: "Calls of the last 24 hours that others made with the same credential, as far as known.",
	}, []string{"pool"})
}

// account makes the metrics of what the ledger says.
func (m *metrics) account() {
	m.sealed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "tapline_scheduler_sealed_seconds_total", Help: "Time span found complete, summed over feeds.",
	})
	m.freshness = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tapline_freshness_seconds", Help: "Age of the oldest instant that live reading has not brought to the sink.",
	}, []string{"feed"})
	m.pending = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tapline_ledger_pending_records", Help: "Records of the last hours that were published and are not confirmed by the sink.",
	}, []string{"feed"})
	m.violations = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tapline_ledger_violations", Help: "Entries of the ledger that cannot be, as last audited.",
	})
	m.backlogAge = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tapline_stream_backlog_age_seconds", Help: "How long the oldest message of a stream has waited that is not acknowledged.",
	}, []string{"stream"})
	m.filled = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tapline_stream_filled_ratio", Help: "Bytes of a stream or bucket by those that it may have; a full one takes nothing more.",
	}, []string{"stream"})
	m.edge = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tapline_scheduler_edge_seconds", Help: "Time until the oldest unread instant is no longer served; seven days when nothing is unread.",
	})
}
