package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
)

// watchBacklogs tells when something waits so long in a stream that it may become too
// old for it, and when something has.
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
		if oldest.Gone > 0 && c == bus.ConsumerShipper { // RAW has messages that nobody reads
			detail := fmt.Sprintf("up to %d messages of %s became too old before the sink had them; tapctl ledger shows their rows as pending", oldest.Gone, c.Stream)
			s.alarms.Hold(ctx, alarm.Lost, detail, lostFor)
		}
	}
	s.alarms.Set(ctx, alarm.Backlog, worst > s.cfg.Alarms.Backlog,
		fmt.Sprintf("something has waited in %s for %s; it is kept for %s", where, worst.Round(time.Minute), bus.Horizon))
	return nil
}
