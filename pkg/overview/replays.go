package overview

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/replay"
)

// Replay is an order to send or make stored rows again that is not over.
type Replay struct {
	ID        string    `json:"id"`
	State     string    `json:"state"` // ordered, running or paused
	Reason    string    `json:"reason,omitempty"`
	Progress  float64   `json:"progress"` // 0 to 1
	Settled   uint64    `json:"settled"`  // messages
	Messages  uint64    `json:"messages"`
	Rows      uint64    `json:"rows"` // resent, or reprocessed
	Reprocess bool      `json:"reprocess"`
	Changed   time.Time `json:"changed"` // when the state changed
}

// replays lists those that are not over. A bus that was set up by a version without replays has no
// bucket of them, and is worth a look all the same.
func (r *Reader) replays(ctx context.Context, s *Status, _ []set) error {
	bucket, err := r.src.Bucket(ctx, bus.BucketReplay)
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("overview: %w", err)
	}
	all, err := replay.NewStore(bucket, r.tenant).List(ctx)
	if err != nil {
		return fmt.Errorf("overview: %w", err)
	}
	for _, one := range all {
		if replay.Over(one) {
			continue
		}
		o, p := one.GetOrder(), one.GetProgress()
		s.Replays = append(s.Replays, Replay{
			ID: o.GetId(), State: replay.StateName(one), Reason: one.GetReason(), Progress: replay.Share(one), Settled: p.GetMessages(),
			Messages: o.GetMessages(), Rows: p.GetRows(), Reprocess: o.GetReprocess(), Changed: one.GetChangedAt().AsTime(),
		})
	}
	return nil
}
