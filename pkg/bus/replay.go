package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapline/tapline/pkg/backoff"
)

const (
	// replayPending bounds what one order has in work; its progress lists that much.
	replayPending = 512
	// measureTries bounds how often an extent is measured while the stream grows.
	measureTries = 10
)

// Extent is a part of a stream: the messages of a selection from First to Last, both included.
type Extent struct{ First, Last, Messages uint64 }

// Empty reports whether nothing of the selection lies in the part.
func (e Extent) Empty() bool { return e.Messages == 0 }

// Extent measures what of a selection was stored from an instant on and before another; zero
// instants stand for the beginning of the stream and for what is stored now. A bounded selection
// bounds the extent, too. What is stored or deleted meanwhile makes the number of messages inexact;
// it is never 0 while there is something.
func (b *Bus) Extent(ctx context.Context, s Selection, from, to time.Time) (Extent, error) {
	usage, err := b.Usage(ctx, s.stream)
	if err != nil {
		return Extent{}, err
	}
	e := Extent{First: max(usage.First, s.first, 1), Last: usage.Last}
	if s.last > 0 {
		e.Last = min(e.Last, s.last)
	}
	if !from.IsZero() {
		at, err := b.SequenceAt(ctx, s.stream, from)
		if err != nil {
			return Extent{}, err
		}
		e.First = max(e.First, at)
	}
	if !to.IsZero() {
		at, err := b.SequenceAt(ctx, s.stream, to)
		if err != nil {
			return Extent{}, err
		}
		e.Last = min(e.Last, at-1)
	}
	if e.First > e.Last || usage.Messages == 0 {
		return e, nil
	}
	e.Messages, err = b.count(ctx, s, e)
	return e, err
}

// SequenceAt is where the first message lies that was stored at an instant or later; where the next
// will lie if there is none. The leader of the stream answers.
func (b *Bus) SequenceAt(ctx context.Context, stream string, at time.Time) (uint64, error) {
	usage, err := b.Usage(ctx, stream) // before: what is stored in between is later
	if err != nil {
		return 0, err
	}
	sequence, err := b.leaderNext(ctx, stream, ">", 0, at)
	if errors.Is(err, ErrNotFound) {
		return usage.Last + 1, nil
	}
	return sequence, err
}

// count asks twice for what lies after the part and once for what lies from its beginning on: when
// the two agree, the stream did not grow in between. A replica that is behind counts less, but that
// there is nothing is the leader's word.
func (b *Bus) count(ctx context.Context, s Selection, e Extent) (n uint64, err error) {
	d, err := b.direct(s.stream)
	if err != nil {
		return 0, err
	}
	defer d.end()
	for range measureTries {
		var counts [3]uint64
		for i, first := range []uint64{e.Last + 1, e.First, e.Last + 1} {
			if counts[i], err = d.count(ctx, s.filters, first); err != nil {
				return 0, fmt.Errorf("measure %s: %w", s.stream, err)
			}
		}
		n = counts[1] - min(counts[1], counts[0])
		if counts[0] == counts[2] && n > 0 {
			return n, nil
		}
		if n == 0 {
			if n, err = b.least(ctx, s, e); err != nil || n == 0 {
				return n, err
			}
			backoff.Sleep(ctx, lagPause)
		}
	}
	return n, nil
}

// count is how many messages of some filters have a sequence or a later one.
func (d *direct) count(ctx context.Context, filters []string, first uint64) (n uint64, err error) {
	for _, filter := range filters {
		for _, err := range d.ask(ctx, directRequest{Seq: first, NextFor: filter, Batch: 1}) {
			if errors.Is(err, ErrNotFound) {
				d.pending = 0
				break
			}
			if err != nil {
				return 0, err
			}
			n++
		}
		n += d.pending
	}
	return n, nil
}

// least is 1 if the leader has something of the selection in the part, else 0.
func (b *Bus) least(ctx context.Context, s Selection, e Extent) (uint64, error) {
	for _, filter := range s.filters {
		at, err := b.leaderNext(ctx, s.stream, filter, e.First, time.Time{})
		switch {
		case err == nil && at <= e.Last:
			return 1, nil
		case err != nil && !errors.Is(err, ErrNotFound):
			return 0, fmt.Errorf("measure %s: %w", s.stream, err)
		}
	}
	return 0, nil
}

// MakeReplay makes the consumer of an order, unless it exists, which reads a selection from
// a sequence on. Forgotten, it goes when everything that it could read has gone. For tools.
func (b *Bus) MakeReplay(ctx context.Context, c Consumer, s Selection, first uint64) error {
	wait, err := b.ackWait(ctx, c.Stream)
	if err != nil {
		return err
	}
	_, err = b.js.CreateConsumer(ctx, c.Stream, jetstream.ConsumerConfig{
		Durable: c.Name, FilterSubjects: s.filters, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(first, 1),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: wait, MaxDeliver: -1, MaxAckPending: replayPending,
		InactiveThreshold: Horizon, Description: "a replay",
	})
	if err != nil && !errors.Is(err, jetstream.ErrConsumerExists) {
		return fmt.Errorf("make consumer %s on %s: %w", c.Name, c.Stream, err)
	}
	return nil
}

// ackWait is what setup gave the stream's own consumer.
func (b *Bus) ackWait(ctx context.Context, stream string) (time.Duration, error) {
	own := ConsumerShipper
	if stream == StreamRaw {
		own = ConsumerEnricher
	}
	consumer, err := b.js.Consumer(ctx, own.Stream, own.Name)
	if err != nil {
		return 0, missing(err, "consumer", own.Name)
	}
	return consumer.CachedInfo().Config.AckWait, nil
}

// RemoveReplay removes the consumer of an order, if there is one. For a user that may not, it
// stays: the server removes it when nothing is left that it could read. For tools.
func (b *Bus) RemoveReplay(ctx context.Context, c Consumer) error {
	if !permits(b.user, "$JS.API.CONSUMER.DELETE."+c.Stream+"."+c.Name) {
		return nil
	}
	err := b.js.DeleteConsumer(ctx, c.Stream, c.Name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("remove consumer %s of %s: %w", c.Name, c.Stream, err)
	}
	return nil
}
