package fetcher

import (
	"context"
	"log/slog"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/job"
)

// backlogTurn is how often the lanes are looked at.
const backlogTurn = 15 * time.Second

// watchLanes measures what waits in each lane. Only here expansions can be seen waiting: it is
// not the scheduler that orders them.
func (f *Fetcher) watchLanes(ctx context.Context) error {
	ticker := time.NewTicker(backlogTurn)
	defer ticker.Stop()
	for {
		for _, lane := range lanes {
			backlog, err := f.bus.Backlog(ctx, lane.consumer)
			if err != nil {
				f.log.Debug("cannot look at a lane", slog.String("lane", lane.name), slog.Any("error", err))
				continue
			}
			f.metrics.waiting.WithLabelValues(lane.name).Set(float64(backlog.Waiting) + float64(backlog.InWork))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// lanes that are read as they come, with the consumer of each. Forensics has queues of its own.
var lanes = []struct {
	name     string
	consumer bus.Consumer
}{
	{job.Live, bus.ConsumerFetcherLive},
	{job.Sweep, bus.ConsumerFetcherSweep},
	{job.Backfill, bus.ConsumerFetcherBackfill},
	{job.Aside, bus.ConsumerFetcherAside},
	{job.List, bus.ConsumerFetcherList},
	{job.Expand, bus.ConsumerFetcherExpand},
	{job.Retry, bus.ConsumerFetcherRetry},
}
