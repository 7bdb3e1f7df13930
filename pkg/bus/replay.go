package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// replayPending bounds what one order has in work; its progress lists that much.
	replayPending = 512
	// probeLife is how long a consumer that only measures may outlive its maker.
	probeLife = 30 * time.Second
	// measureTries bounds how often an extent is measured while the stream grows.
	measureTries = 10
)

// Extent is a part of a stream: the messages of a selection from First to Last, both included.
type Extent struct{ First, Last, Messages uint64 }

// Empty reports whether nothing of the selection lies in the part.
func (e Extent) Empty() bool { return e.Messages == 0 }

// Extent measures what of a selection was stored from an instant on and before another;
// zero instants stand for the beginning of the stream and for what is stored now. A
// bounded selection bounds the extent, too. It makes consumers on the server: for tools.
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

// SequenceAt is where the first message lies that was stored at an instant or later; where the next will lie if there is
// none. It makes a consumer on the server: for tools.
func (b *Bus) SequenceAt(ctx context.Context, stream string, at time.Time) (uint64, error) {
	info, drop, err := b.probe(ctx, stream, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &at})
	if err != nil {
		return 0, err
	}
	defer drop()
	return info.CachedInfo().Delivered.Stream + 1, nil
}

// count asks twice for what lies after the part and once for what lies after its
// beginning: when the two agree, the stream did not grow in between.
func (b *Bus) count(ctx context.Context, s Selection, e Extent) (uint64, error) {
	from := func(first uint64) jetstream.ConsumerConfig {
		return jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first, FilterSubjects: s.filters}
	}
	whole, drop, err := b.probe(ctx, s.stream, from(e.First))
	if err != nil {
		return 0, err
	}
	defer drop()
	rest, drop, err := b.probe(ctx, s.stream, from(e.Last+1))
	if err != nil {
		return 0, err
	}
	defer drop()
	n := uint64(0)
	for range measureTries {
		var infos [3]*jetstream.ConsumerInfo
		for i, c := range []jetstream.Consumer{rest, whole, rest} {
			if infos[i], err = c.Info(ctx); err != nil {
				return 0, fmt.Errorf("measure %s: %w", s.stream, err)
			}
		}
		n = infos[1].NumPending - min(infos[1].NumPending, infos[0].NumPending)
		if infos[0].NumPending == infos[2].NumPending {
			break
		}
	}
	return n, nil
}

// probe makes a consumer that nobody pulls from.
func (b *Bus) probe(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (consumer jetstream.Consumer, drop func(), err error) {
	cfg.AckPolicy, cfg.InactiveThreshold, cfg.MemoryStorage = jetstream.AckExplicitPolicy, probeLife, true
	consumer, err = b.js.CreateConsumer(ctx, stream, cfg)
	if err != nil {
		return nil, nil, missing(err, "stream", stream)
	}
	return consumer, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		_ = b.js.DeleteConsumer(ctx, stream, consumer.CachedInfo().Name) // else it goes by itself
	}, nil
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

// RemoveReplay removes the consumer of an order, if there is one. For tools.
func (b *Bus) RemoveReplay(ctx context.Context, c Consumer) error {
	err := b.js.DeleteConsumer(ctx, c.Stream, c.Name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("remove consumer %s of %s: %w", c.Name, c.Stream, err)
	}
	return nil
}
