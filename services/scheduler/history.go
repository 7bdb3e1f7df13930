package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/replay"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// streams is what the scheduler needs of the bus to look after RAW and EVENTS.
type streams interface {
	Usage(ctx context.Context, stream string) (bus.Usage, error)
	Oldest(ctx context.Context, c bus.Consumer) (bus.Waiting, error)
	Backlog(ctx context.Context, c bus.Consumer) (bus.Backlog, error)
	Next(ctx context.Context, s bus.Selection, from uint64) (bus.Stored, error)
	GiveUp(ctx context.Context, stream string, before uint64) (uint64, error)
}

// Shares of a stream's bytes. Above the first, history goes until the second is reached, so that
// backfill is never held back for it. What sweeps are done with goes first. Above the third, what
// sweeps are not done with goes too.
const (
	historyFrom  = 0.75
	historyUntil = 0.70
	historyHard  = 0.78
)

const (
	// markersAtOnce bounds what one look reads of RAW.
	markersAtOnce = 2000
	// sweepSlack is how long after its age a sweep may still be under way.
	sweepSlack = time.Hour
	// logHistoryEvery is how often a log says that history goes.
	logHistoryEvery = 24 * time.Hour
)

// giveUpHistory makes room in a stream that is filling up: delivered messages go, the oldest first.
// It returns what the stream has then.
func (s *Scheduler) giveUpHistory(ctx context.Context, u bus.Usage) (bus.Usage, error) {
	if u.MaxBytes <= 0 || u.Messages == 0 || share(u) < historyFrom {
		return u, nil
	}
	limit, err := s.replaysNeed(ctx, u.Stream)
	if err != nil {
		return u, err
	}
	before := u
	for _, swept := range []bool{true, false} {
		if share(u) < historyFrom || !swept && (u.Stream == bus.StreamEvents || share(u) < historyHard) {
			break
		}
		want := u.First + uint64(float64(u.Messages)*(1-historyUntil/share(u))) + 1
		upTo, err := s.mayGo(ctx, u, min(want, limit), swept)
		if err != nil {
			return u, err
		}
		if upTo <= u.First {
			continue
		}
		if _, err := s.bus.GiveUp(ctx, u.Stream, upTo); err != nil {
			return u, fmt.Errorf("free space: %w", err)
		}
		if u, err = s.bus.Usage(ctx, u.Stream); err != nil {
			return u, fmt.Errorf("free space: %w", err)
		}
	}
	if u.First > before.First && time.Since(s.backpressure.logged[u.Stream]) > logHistoryEvery {
		s.backpressure.logged[u.Stream] = time.Now()
		s.log.Warn("a stream is filling up: delivered history goes, the oldest first", slog.String("stream", u.Stream), slog.String("detail", fmt.Sprintf(
			"%s holds %s of delivered %s and may hold %s: raise %s and run tapctl setup to keep more; replay reaches back to %s",
			u.Stream, mib(before.Bytes), contents(u.Stream), mib(uint64(u.MaxBytes)), limitOf(u.Stream), u.Oldest.UTC().Format(time.RFC3339))))
	}
	return u, nil
}

// mayGo is the sequence, at most limit, below which everything is delivered and recorded as such.
func (s *Scheduler) mayGo(ctx context.Context, u bus.Usage, limit uint64, swept bool) (uint64, error) {
	if u.Stream == bus.StreamRaw {
		return s.rawMayGo(ctx, u.First, limit, swept)
	}
	report, err := s.ledger.Load(ctx, s.cfg.Tenant.Name, s.now().AddDate(0, 0, -daysKept), s.now().Add(time.Hour))
	if err != nil {
		return 0, fmt.Errorf("free space: %w", err)
	}
	if waits := report.Undelivered(u.First); waits > 0 {
		limit = min(limit, waits)
	}
	return limit, nil
}

// rawMayGo goes from marker to marker: a job of which the ledger knows nothing yet still needs what
// it has stored.
func (s *Scheduler) rawMayGo(ctx context.Context, first, limit uint64, swept bool) (upTo uint64, err error) {
	upTo = first
	for range markersAtOnce {
		marker, err := s.bus.Next(ctx, bus.AllMarkers(), upTo)
		if errors.Is(err, bus.ErrNotFound) || err == nil && marker.Sequence >= limit {
			return upTo, nil
		}
		if err != nil {
			return 0, fmt.Errorf("free space: %w", err)
		}
		result := &taplinev1.JobResult{}
		if err := wire.Unmarshal(marker.Data, result); err == nil {
			done, err := s.doneWith(ctx, result.GetJobId(), swept)
			if err != nil || !done {
				return upTo, err
			}
		}
		upTo = marker.Sequence + 1
	}
	return upTo, nil
}

// doneWith reports whether a job is in the ledger and, if asked for, past the last sweep of its
// window.
func (s *Scheduler) doneWith(ctx context.Context, jobID string, swept bool) (bool, error) {
	id, err := job.Parse(jobID)
	if err != nil {
		return true, nil //nolint:nilerr // a marker of no job keeps nothing
	}
	if n := len(s.cfg.Sweeps); swept && n > 0 && id.Call.Kind() == feed.KindWindow && s.now().Sub(id.Window.End) < s.cfg.Sweeps[n-1]+window.MaxSpan+sweepSlack {
		return false, nil
	}
	known, err := s.ledger.Outcomes(ctx, jobID)
	if err != nil {
		return false, fmt.Errorf("free space: %w", err)
	}
	return known[jobID].GetState() == taplinev1.WindowState_WINDOW_STATE_FETCHED, nil
}

// replaysNeed is the lowest sequence that a replay in progress still reads.
func (s *Scheduler) replaysNeed(ctx context.Context, stream string) (uint64, error) {
	orders, err := s.bus.Bucket(ctx, bus.BucketReplay)
	if err != nil {
		return 0, fmt.Errorf("free space: %w", err)
	}
	replays, err := replay.NewStore(orders, s.cfg.Tenant.Name).List(ctx)
	if err != nil {
		return 0, fmt.Errorf("free space: %w", err)
	}
	limit := ^uint64(0)
	for _, r := range replays {
		needs := max(r.GetOrder().GetFirstSequence(), r.GetProgress().GetFloor()+1)
		if !replay.Over(r) && replay.Consumer(r.GetOrder()).Stream == stream && needs <= r.GetOrder().GetLastSequence() {
			limit = min(limit, needs)
		}
	}
	return limit, nil
}

func share(u bus.Usage) float64 {
	if u.MaxBytes <= 0 {
		return 0
	}
	return float64(u.Bytes) / float64(u.MaxBytes)
}

func mib(n uint64) string { return fmt.Sprintf("%d MiB", (n+1<<19)>>20) }

func contents(stream string) string {
	if stream == bus.StreamRaw {
		return "records"
	}
	return "rows"
}

func limitOf(stream string) string { return "STREAM_" + stream + "_MAX_BYTES" }
