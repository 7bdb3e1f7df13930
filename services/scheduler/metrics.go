package scheduler

import "github.com/prometheus/client_golang/prometheus"

// metrics of the scheduler. The names are part of the interface.
type metrics struct {
	planned     *prometheus.CounterVec // by lane
	outstanding *prometheus.GaugeVec   // by lane
	headLag     prometheus.Gauge
	backfill    prometheus.Gauge
	lost        prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		planned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_scheduler_jobs_planned_total", Help: "Jobs planned.",
		}, []string{"lane"}),
		outstanding: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tapline_scheduler_jobs_outstanding", Help: "Jobs planned and not known to be done.",
		}, []string{"lane"}),
		headLag: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tapline_scheduler_head_lag_seconds", Help: "How far the end of the last live window is behind Proofpoint's clock.",
		}),
		backfill: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tapline_scheduler_backfill_remaining_seconds", Help: "Time span that backfill has still to plan.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tapline_scheduler_lost_seconds_total", Help: "Time span given up because Proofpoint no longer serves it.",
		}),
	}
	r.MustRegister(m.planned, m.outstanding, m.headLag, m.backfill, m.lost)
	return m
}
