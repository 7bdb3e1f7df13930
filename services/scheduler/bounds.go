package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
)

const (
	// boundUntil is the share of its bytes up to which a stream or bucket is as it should be: a
	// healthy system has far less.
	boundUntil  = 0.75
	boundsEvery = 15 * time.Second
	// boundsRetry is how long a stream is left alone that cannot be looked at. A server that denies
	// it does not answer, and plans wait for that. It is less than boundHolds.
	boundsRetry = 2 * time.Minute
	boundHolds  = 3 * time.Minute
)

// bounds is when the bounds of streams were looked at.
type bounds struct {
	looked time.Time
	failed map[string]error     // by stream: why it cannot be looked at
	retry  map[string]time.Time // by stream: not before
}

// watchBounds raises the alarm before JOBS, DEAD or a bucket takes nothing more. RAW and EVENTS
// have an alarm of their own. A stream that cannot be looked at hinders neither plans nor the
// others: NATS users of an older version may not look at JOBS.
func (s *Scheduler) watchBounds(ctx context.Context) {
	if time.Since(s.bounds.looked) < min(boundsEvery, 5*s.cfg.Tick) {
		return
	}
	s.bounds.looked = time.Now()
	before := len(s.bounds.failed)
	for _, stream := range bus.Parts() {
		if time.Now().Before(s.bounds.retry[stream]) {
			continue
		}
		u, err := s.bus.Usage(ctx, stream)
		s.turn()
		if ctx.Err() != nil {
			return
		}
		s.bounds.tried(stream, err, min(boundsRetry, 60*s.cfg.Tick))
		if err == nil {
			s.watchBound(ctx, u)
		}
	}
	s.reportBounds(before)
}

func (b *bounds) tried(stream string, err error, wait time.Duration) {
	delete(b.failed, stream)
	if err == nil {
		return
	}
	if b.failed == nil {
		b.failed, b.retry = make(map[string]error), make(map[string]time.Time)
	}
	b.failed[stream], b.retry[stream] = err, time.Now().Add(wait)
}

// reportBounds logs once that streams cannot be looked at, and once that they can.
func (s *Scheduler) reportBounds(before int) {
	var problems []error
	for _, stream := range slices.Sorted(maps.Keys(s.bounds.failed)) {
		problems = append(problems, s.bounds.failed[stream])
	}
	err := errors.Join(problems...)
	switch {
	case err != nil:
		s.health.Degraded("bounds", err.Error())
		if before == 0 {
			s.log.Warn("cannot look at the bounds of streams; retrying", slog.Any("error", err))
		}
	case before > 0:
		s.health.OK("bounds")
		s.log.Info("looking at the bounds of streams works again")
	}
}

func (s *Scheduler) watchBound(ctx context.Context, u bus.Usage) {
	s.metrics.filled.WithLabelValues(u.Stream).Set(share(u))
	switch {
	case u.Stream == bus.StreamRaw || u.Stream == bus.StreamEvents:
	case share(u) > boundUntil:
		s.alarms.HoldCause(ctx, alarm.Disk, u.Stream, fmt.Sprintf("%s holds %s and may hold %s: find what fills it (docs/runbook.md#disk)",
			u.Stream, mib(u.Bytes), mib(uint64(u.MaxBytes))), boundHolds)
	default:
		s.alarms.ClearCause(ctx, alarm.Disk, u.Stream)
	}
}
