package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// readers are the consumers whose acknowledgement makes a message history.
func readers(stream string) []Consumer {
	switch stream {
	case StreamRaw:
		return []Consumer{ConsumerEnricher, ConsumerExpander}
	case StreamEvents:
		return []Consumer{ConsumerShipper}
	}
	return nil
}

// Confirmed is the sequence up to which every stage that reads the stream has acknowledged
// everything. It is 0 for a stream that no stage of that kind reads.
func (b *Bus) Confirmed(ctx context.Context, stream string) (uint64, error) {
	var done uint64
	for i, c := range readers(stream) {
		backlog, err := b.Backlog(ctx, c)
		if err != nil {
			return 0, err
		}
		if i == 0 || backlog.Done < done {
			done = backlog.Done
		}
	}
	return done, nil
}

// GiveUp removes the messages of RAW or EVENTS whose sequence is below before. It never removes
// what a stage has not acknowledged: it looks anew, and stops there. It returns the sequence below
// which nothing is left.
//
// Only the scheduler calls it: it also knows from ledger and replays what has to stay.
func (b *Bus) GiveUp(ctx context.Context, stream string, before uint64) (uint64, error) {
	done, err := b.Confirmed(ctx, stream)
	if err != nil {
		return 0, err
	}
	before = min(before, done+1)
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return 0, missing(err, "stream", stream)
	}
	first := s.CachedInfo().State.FirstSeq
	if before <= max(first, 1) { // to purge up to 0 is to purge everything
		return first, nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(before)); err != nil {
		return 0, fmt.Errorf("give up the history of %s: %w", stream, err)
	}
	return before, nil
}

// Next finds the first message of a selection that has this sequence or a later one. [ErrNotFound]:
// there is none. The selection must have one filter.
func (b *Bus) Next(ctx context.Context, s Selection, from uint64) (Stored, error) {
	if _, err := b.js.Stream(ctx, s.stream); err != nil {
		return Stored{}, missing(err, "stream", s.stream)
	}
	m, err := b.one(ctx, s.stream, directRequest{Seq: max(from, 1), NextFor: s.filters[0], Batch: 1})
	if err != nil {
		return Stored{}, fmt.Errorf("message after %s/%d: %w", s.stream, from, err)
	}
	return m.Stored, nil
}
