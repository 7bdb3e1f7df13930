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

// room says what may be planned, by how full the streams are.
type room struct {
	noBackfill, noLive bool
	looked             time.Time
}

// look asks now and then how full RAW and EVENTS are.
func (s *Scheduler) look(ctx context.Context) error {
	if time.Since(s.room.looked) < lookEvery {
		return nil
	}
	fullest, name := 0.0, ""
	for _, stream := range []string{bus.StreamRaw, bus.StreamEvents} {
		usage, err := s.bus.Usage(ctx, stream)
		if err != nil {
			return fmt.Errorf("look at the streams: %w", err)
		}
		if share := float64(usage.Bytes) / float64(usage.MaxBytes); usage.MaxBytes > 0 && share > fullest {
			fullest, name = share, stream
		}
	}
	next := room{noBackfill: fullest >= backfillUntil, noLive: fullest >= liveUntil, looked: time.Now()}
	if next.noBackfill != s.room.noBackfill || next.noLive != s.room.noLive {
		s.tellRoom(next, name, fullest)
	}
	s.alarms.Set(ctx, alarm.StreamFull, next.noBackfill, fmt.Sprintf("%s is %.0f %% full; planning is held back", name, fullest*100))
	s.room = next
	return s.watchBacklogs(ctx)
}

func (s *Scheduler) tellRoom(next room, stream string, share float64) {
	attrs := []any{slog.String("stream", stream), slog.Float64("share", share)}
	switch {
	case next.noLive:
		s.log.Error("a stream is nearly full: nothing is planned until the shipper has made room", attrs...)
	case next.noBackfill:
		s.log.Warn("a stream is filling up: no backfill is planned until the shipper has made room", attrs...)
	default:
		s.log.Info("the streams have room again")
		s.health.OK("streams")
		return
	}
	s.health.Degraded("streams", fmt.Sprintf("%s is %.0f %% full", stream, share*100))
}
