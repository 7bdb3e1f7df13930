package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// streamFence is there while a restore is not finished. It holds no messages.
const streamFence = "RESTORE"

// Fence begins the replacement of streams. Until [Bus.Unfence], setup creates nothing, even if the
// restore crashes: mixing restored and fresh streams would lose every record that SEEN remembers
// but RAW lacks.
func (b *Bus) Fence(ctx context.Context, limits Limits) error {
	_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: streamFence, Subjects: []string{"restore.>"}, Description: "a restore is not finished", Storage: jetstream.FileStorage, Replicas: limits.Replicas,
	})
	if err != nil {
		return fmt.Errorf("begin a restore: %w", err)
	}
	return nil
}

// Unfence says that every stream is as the backup wants it.
func (b *Bus) Unfence(ctx context.Context) error {
	if err := b.js.DeleteStream(ctx, streamFence); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("end a restore: %w", err)
	}
	return nil
}

func (b *Bus) unfenced(ctx context.Context) error {
	_, err := b.js.Stream(ctx, streamFence)
	switch {
	case err == nil:
		return ErrRestoring
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("look up stream %s: %w", streamFence, err)
	}
	return nil
}
