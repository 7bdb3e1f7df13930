package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
)

const (
	// boundUntil is the share of its bytes up to which a stream or bucket is as it should be: a
	// healthy system has far less.
	boundUntil  = 0.75
	boundsEvery = 15 * time.Second
	boundHolds  = 3 * time.Minute
)

// watchBounds raises the alarm before JOBS, DEAD or a bucket takes nothing more. RAW and EVENTS
// have an alarm of their own.
func (s *Scheduler) watchBounds(ctx context.Context) error {
	if time.Since(s.bounds) < min(boundsEvery, 5*s.cfg.Tick) {
		return nil
	}
	s.bounds = time.Now()
	for _, stream := range bus.Parts() {
		u, err := s.bus.Usage(ctx, stream)
		if err != nil {
			return fmt.Errorf("look at the bounds of streams: %w", err)
		}
		s.metrics.filled.WithLabelValues(stream).Set(share(u))
		switch {
		case stream == bus.StreamRaw || stream == bus.StreamEvents:
		case share(u) > boundUntil:
			s.alarms.HoldCause(ctx, alarm.Disk, stream, fmt.Sprintf("%s holds %s and may hold %s: find what fills it (docs/runbook.md#disk)",
				stream, mib(u.Bytes), mib(uint64(u.MaxBytes))), boundHolds)
		default:
			s.alarms.ClearCause(ctx, alarm.Disk, stream)
		}
	}
	return nil
}
