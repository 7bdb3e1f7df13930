package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
)

// Shares of a stream's bytes at which planning is held back, so that what was
// fetched always finds room.
const (
	backfillUntil = 0.80
	liveUntil     = 0.95
	lookEvery     = 5 * time.Second
)

// backpressure says what may be planned, by how full the streams are.
type backpressure struct {
	noBackfill, noLive bool
	looked             time.Time
	logged             map[string]time.Time // when a log said that the history of a stream goes
}

// look asks now and then how full RAW and EVENTS are. History goes before anything is held back.
func (s *Scheduler) look(ctx context.Context) error {
	if time.Since(s.backpressure.looked) < min(lookEvery, 5*s.cfg.Tick) {
		return nil
	}
	if s.backpressure.logged == nil {
		s.backpressure.logged = make(map[string]time.Time)
	}
	var fullest bus.Usage
	for _, stream := range []string{bus.StreamRaw, bus.StreamEvents} {
		usage, err := s.bus.Usage(ctx, stream)
		if err != nil {
			return fmt.Errorf("look at the streams: %w", err)
		}
		if usage, err = s.giveUpHistory(ctx, usage); err != nil {
			return err
		}
		if share(usage) > share(fullest) {
			fullest = usage
		}
	}
	next := backpressure{noBackfill: share(fullest) >= backfillUntil, noLive: share(fullest) >= liveUntil, looked: time.Now(), logged: s.backpressure.logged}
	detail := ""
	if next.noBackfill {
		detail = fullDetail(fullest)
	}
	if next.noBackfill != s.backpressure.noBackfill || next.noLive != s.backpressure.noLive {
		s.reportBackpressure(next, detail)
	}
	s.alarms.Set(ctx, alarm.StreamFull, next.noBackfill, detail)
	s.backpressure = next
	return s.watchBacklogs(ctx)
}

// fullDetail says what fills a stream: all that is delivered has gone by then, but for what a
// replay reads.
func fullDetail(u bus.Usage) string {
	cure := "mend the sink, pause no replay for long"
	if u.Stream == bus.StreamRaw {
		cure = "see that an enricher runs"
	}
	return fmt.Sprintf("%s holds %s of %s that are still needed and may hold %s; planning is held back: %s, or raise %s and run tapctl setup",
		u.Stream, mib(u.Bytes), contents(u.Stream), mib(uint64(u.MaxBytes)), cure, limitOf(u.Stream))
}

func (s *Scheduler) reportBackpressure(next backpressure, detail string) {
	switch {
	case next.noLive:
		s.log.Error("a stream is full: nothing is planned until something is delivered", slog.String("detail", detail))
	case next.noBackfill:
		s.log.Warn("a stream is filling up: no backfill is planned until something is delivered", slog.String("detail", detail))
	default:
		s.log.Info("the streams have space again")
		s.health.OK("streams")
		return
	}
	s.health.Degraded("streams", detail)
}
