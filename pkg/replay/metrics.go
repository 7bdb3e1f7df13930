package replay

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of replays. The names are part of the interface.
type metrics struct {
	active   *prometheus.GaugeVec   // by stage
	rows     *prometheus.CounterVec // by stage
	progress *prometheus.GaugeVec   // by replay
}

// newMetrics makes the metrics, or finds them when another stage of the process has made them.
func newMetrics(r prometheus.Registerer) *metrics {
	return &metrics{
		active: register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tapline_replay_active", Help: "Replays in work in this process.",
		}, []string{"stage"})),
		rows: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tapline_replay_rows_total", Help: "Rows that replays have sent again (stage shipper) or made again (enricher).",
		}, []string{"stage"})),
		progress: register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tapline_replay_progress_ratio", Help: "Share of a replay's messages that are done, 0 to 1, while it is in work.",
		}, []string{"replay"})),
	}
}

func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if known, ok := errors.AsType[prometheus.AlreadyRegisteredError](r.Register(c)); ok {
		if have, ok := known.ExistingCollector.(C); ok {
			return have
		}
	}
	return c
}
