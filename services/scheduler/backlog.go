package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
)

// watchBacklogs reports when something waits so long in a stream that it may become too old for it.
// What has become too old undelivered is found by the audit of the ledger.
func (s *Scheduler) watchBacklogs(ctx context.Context) error {
	worst, where := time.Duration(0), ""
	for _, c := range []bus.Consumer{bus.ConsumerEnricher, bus.ConsumerShipper} {
		oldest, err := s.bus.Oldest(ctx, c)
		if err != nil {
			return fmt.Errorf("look at the backlogs: %w", err)
		}
		age := time.Duration(0)
		if !oldest.Since.IsZero() {
			age = time.Since(oldest.Since)
		}
		s.metrics.backlogAge.WithLabelValues(c.Stream).Set(age.Seconds())
		if age > worst {
			worst, where = age, c.Stream
		}
	}
	s.alarms.Set(ctx, alarm.Backlog, worst > s.cfg.Alarms.Backlog,
		fmt.Sprintf("something has waited in %s for %s; it is kept for %s", where, worst.Round(time.Minute), bus.Horizon))
	return nil
}
