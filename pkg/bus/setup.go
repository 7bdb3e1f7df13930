package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/step"
)

// Ages and sizes that are part of the design, not of a deployment.
const (
	// Horizon is how long RAW and EVENTS keep a message: Proofpoint's seven days and one to notice.
	Horizon       = 8 * 24 * time.Hour
	deadHorizon   = 30 * 24 * time.Hour // DEAD
	seenHorizon   = 8 * 24 * time.Hour  // SEEN
	ledgerHorizon = 90 * 24 * time.Hour // LEDGER
	knownHorizon  = 30 * 24 * time.Hour // KNOWN: since it was asked about last
	replayHorizon = 30 * 24 * time.Hour // REPLAY: since the last change
	// dedupHorizon bounds how long a repeated publish of the same rows is recognised.
	// The server reads that much of the stream when it starts, so it is not longer.
	dedupHorizon = 2 * time.Hour
)

// Seed is a key that exists from the very first start on.
type Seed struct {
	Bucket, Key string
	Value       []byte
}

// Setup makes every stream, consumer and bucket, or brings those that exist up to date. Running it
// again changes nothing. Seeds are written only when there are no streams at all yet; a seed that
// is missing later stays missing. Servers that have just been started elect their leaders first; it
// waits a minute for them. [ErrRestoring]: see [Bus.Fence].
func (b *Bus) Setup(ctx context.Context, limits Limits, seeds []Seed) error {
	if err := supported(b.nc.ConnectedServerVersion()); err != nil {
		return err
	}
	return b.patiently(ctx, setupPatience, func() error { return b.setup(ctx, limits, seeds) })
}

// patiently repeats what may be repeated as long as servers start, or have taken a question down
// with them.
func (b *Bus) patiently(ctx context.Context, patience time.Duration, work func() error) error {
	began, before := time.Now(), b.denial.Load()
	for told := false; ; told = true {
		err := work()
		if denial := b.denial.Load(); err != nil && denial != before {
			return fmt.Errorf("%w: %w", err, *denial) // the right will not come by waiting
		}
		if err == nil || !transient(err) || ctx.Err() != nil || time.Since(began) > patience {
			return err
		}
		if !told {
			b.log.Warn("wait for the NATS server", slog.Any("error", err))
		}
		backoff.Sleep(ctx, time.Second)
	}
}

const (
	setupPatience = time.Minute      // three servers that start together
	startPatience = 20 * time.Second // one that starts again, for a stage that starts
)

func (b *Bus) setup(ctx context.Context, limits Limits, seeds []Seed) error {
	if err := b.unfenced(ctx); err != nil {
		return err
	}
	// The trial stays until the others are made: a server that deletes its only stream removes the
	// folder in which it may be making the next one.
	over, err := b.try(ctx, limits.Replicas)
	defer over()
	if err != nil {
		return err
	}
	fresh, err := b.fresh(ctx, limits)
	if err != nil {
		return err
	}
	// Buckets and seeds come before the streams: a crash in between leaves "no
	// streams", and the next run is a first start again.
	for _, cfg := range buckets(limits) {
		if err := b.makeStream(ctx, cfg); err != nil {
			return err
		}
		step.At("bus.bucket")
	}
	if fresh {
		if err := b.plant(ctx, seeds); err != nil {
			return err
		}
	}
	for _, cfg := range streams(limits) {
		if err := b.makeStream(ctx, cfg); err != nil {
			return err
		}
		step.At("bus.stream")
	}
	for _, c := range consumers() {
		if err := b.makeConsumer(ctx, c.Consumer, c.pending, limits.AckWait); err != nil {
			return err
		}
		step.At("bus.consumer")
	}
	return nil
}

// fresh reports whether there is no stream at all yet.
func (b *Bus) fresh(ctx context.Context, limits Limits) (bool, error) {
	fresh := true
	for _, cfg := range streams(limits) {
		switch _, err := b.js.Stream(ctx, cfg.Name); {
		case err == nil:
			fresh = false
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			return false, fmt.Errorf("look up stream %s: %w", cfg.Name, err)
		}
	}
	return fresh, nil
}

func (b *Bus) plant(ctx context.Context, seeds []Seed) error {
	for _, s := range seeds {
		bucket, err := b.Bucket(ctx, s.Bucket)
		if err != nil {
			return err
		}
		if _, err := bucket.Create(ctx, s.Key, s.Value); err != nil && !errors.Is(err, ErrConflict) {
			return fmt.Errorf("write the first value of %s %s: %w", s.Bucket, s.Key, err)
		}
		step.At("bus.seed")
	}
	return nil
}

// supported refuses servers without atomic batches, which came with 2.12.
func supported(version string) error {
	if atLeast(version, 2, 12) {
		return nil
	}
	return fmt.Errorf("%w: it says %q and Tapline needs 2.12 or later (2.15 recommended): upgrade nats-server", ErrServerTooOld, version)
}

// atLeast compares the version of a server.
func atLeast(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) != 3 {
		return false
	}
	x, err1 := strconv.Atoi(parts[0])
	y, err2 := strconv.Atoi(parts[1])
	return err1 == nil && err2 == nil && (x > major || (x == major && y >= minor))
}

type consumerSetting struct {
	Consumer
	pending int // deliveries that may be unacknowledged at once
}

func consumers() []consumerSetting {
	settings := []consumerSetting{
		{ConsumerFetcherLive, 256},
		{ConsumerFetcherSweep, 256},
		{ConsumerFetcherBackfill, 256},
		{ConsumerFetcherAside, 256},
		{ConsumerFetcherList, 256},
		{ConsumerFetcherExpand, 256},
		{ConsumerFetcherRetry, 1000},
		{ConsumerEnricher, 1000},
		{ConsumerExpander, 1000},
		{ConsumerShipper, 2000},
	}
	for _, call := range []feed.Call{feed.CallThreatForensics, feed.CallCampaignForensics} {
		for _, c := range ForensicsConsumers(call) {
			settings = append(settings, consumerSetting{c, 64})
		}
	}
	return settings
}

func (b *Bus) makeStream(ctx context.Context, want jetstream.StreamConfig) error {
	want.Storage = jetstream.FileStorage
	stream, err := b.js.Stream(ctx, want.Name)
	if err == nil {
		have := stream.CachedInfo().Config
		switch {
		case have.Storage != want.Storage:
			return immutable("stream", want.Name, "storage", have.Storage, want.Storage)
		case have.Retention != want.Retention:
			return immutable("stream", want.Name, "retention", have.Retention, want.Retention)
		}
		b.spare(&want, have.MaxBytes, stream.CachedInfo().State.Bytes)
	}
	if _, err := b.js.CreateOrUpdateStream(ctx, want); err != nil {
		return fmt.Errorf("make stream %s: %w", want.Name, err)
	}
	return nil
}

func (b *Bus) makeConsumer(ctx context.Context, c Consumer, pending int, wait time.Duration) error {
	want := jetstream.ConsumerConfig{
		Durable: c.Name, FilterSubject: c.filter, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: wait, MaxDeliver: -1, MaxAckPending: pending,
	}
	consumer, err := b.js.Consumer(ctx, c.Stream, c.Name)
	if err == nil {
		have := consumer.CachedInfo().Config
		switch {
		case have.AckPolicy != want.AckPolicy:
			return immutable("consumer", c.Name, "ack policy", have.AckPolicy, want.AckPolicy)
		case have.DeliverPolicy != want.DeliverPolicy:
			return immutable("consumer", c.Name, "deliver policy", have.DeliverPolicy, want.DeliverPolicy)
		}
	}
	if _, err := b.js.CreateOrUpdateConsumer(ctx, c.Stream, want); err != nil {
		return fmt.Errorf("make consumer %s on %s: %w", c.Name, c.Stream, err)
	}
	return nil
}

func immutable(kind, name, setting string, have, want any) error {
	return fmt.Errorf("%w: %s %s has %s %v and Tapline needs %v: back it up, delete the %s and run tapctl setup again",
		ErrImmutable, kind, name, setting, have, want, kind)
}

// Usage is how full one stream is.
type Usage struct {
	Stream   string
	Messages uint64
	Bytes    uint64
	MaxBytes int64  // -1 for no limit
	First    uint64 // sequence of the oldest message
	Last     uint64 // sequence of the newest message there ever was
	Oldest   time.Time
	Created  time.Time // when the stream was made
}

// Usage looks at one stream.
func (b *Bus) Usage(ctx context.Context, stream string) (Usage, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return Usage{}, missing(err, "stream", stream)
	}
	info := s.CachedInfo()
	return Usage{
		stream, info.State.Msgs, info.State.Bytes, info.Config.MaxBytes, info.State.FirstSeq, info.State.LastSeq, info.State.FirstTime, info.Created,
	}, nil
}

// Backlog is what a consumer has not finished.
type Backlog struct {
	Consumer string
	Waiting  uint64 // not delivered yet
	InWork   int    // delivered, not acknowledged
	// Done is the sequence up to which every message of the stream is acknowledged;
	// LastDone is when that last moved, zero if it never did.
	Done     uint64
	LastDone time.Time
	// Delivered is the sequence up to which every message was delivered at least once.
	Delivered uint64
	// Created is when the consumer was made, by the server's clock.
	Created time.Time
}

// Backlog looks at one consumer.
func (b *Bus) Backlog(ctx context.Context, c Consumer) (Backlog, error) {
	consumer, err := b.js.Consumer(ctx, c.Stream, c.Name)
	if err != nil {
		return Backlog{}, missing(err, "consumer", c.Name)
	}
	info := consumer.CachedInfo()
	backlog := Backlog{Consumer: c.Name, Waiting: info.NumPending, InWork: info.NumAckPending, Done: info.AckFloor.Stream, Delivered: info.Delivered.Stream, Created: info.Created}
	if info.AckFloor.Last != nil {
		backlog.LastDone = *info.AckFloor.Last
	}
	return backlog, nil
}

// Waiting is the oldest message that a consumer has not acknowledged.
type Waiting struct {
	Since time.Time // when it was stored; zero if nothing waits
	// Gone counts messages before it that became too old for the stream unacknowledged, those
	// included that the consumer does not read.
	Gone uint64
}

// Oldest looks at what a consumer has not acknowledged.
func (b *Bus) Oldest(ctx context.Context, c Consumer) (Waiting, error) {
	backlog, err := b.Backlog(ctx, c)
	if err != nil || (backlog.Waiting == 0 && backlog.InWork == 0) {
		return Waiting{}, err
	}
	stream, err := b.js.Stream(ctx, c.Stream)
	if err != nil {
		return Waiting{}, missing(err, "stream", c.Stream)
	}
	next := backlog.Done + 1
	var w Waiting
	if first := stream.CachedInfo().State.FirstSeq; first > next {
		w.Gone, next = first-next, first
	}
	m, err := b.one(ctx, c.Stream, directRequest{Seq: next, NextFor: c.filter, Batch: 1})
	if errors.Is(err, ErrNotFound) { // acknowledged and gone meanwhile
		return w, nil
	}
	if err != nil {
		return Waiting{}, fmt.Errorf("oldest message of %s: %w", c.Name, err)
	}
	w.Since = m.Time
	return w, nil
}

// missing turns "not found" of a part that setup makes into ErrNotSetUp.
func missing(err error, kind, name string) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) ||
		errors.Is(err, jetstream.ErrBucketNotFound) {
		return fmt.Errorf("%w: no %s %s", ErrNotSetUp, kind, name)
	}
	return fmt.Errorf("look up %s %s: %w", kind, name, err)
}
