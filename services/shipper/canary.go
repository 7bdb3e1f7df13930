package shipper

import (
	"github.com/tapline/tapline/pkg/devoquery"
	"github.com/tapline/tapline/services/shipper/internal/canary"
)

// startCanary makes the canary if it is on.
func (s *Shipper) startCanary() error {
	if !s.cfg.Canary.On {
		return nil
	}
	devo, err := devoquery.New(s.cfg.Query)
	if err != nil {
		return err
	}
	s.canary = canary.New(s.cfg.Canary, canary.Deps{
		Devo: devo, Settle: s.cfg.Query.Settle, Alarms: s.alarms, Log: s.log, Metrics: s.metrics.canary,
	})
	return nil
}
