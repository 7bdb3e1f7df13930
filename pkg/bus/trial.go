package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	trialStream = "TRIAL_" // and an id
	// trialLeft is the age from which on a trial is over, and was interrupted.
	trialLeft = time.Hour
)

// try does with a stream of its own what every window takes, as RAW has it done: one atomic batch
// with a marker, a read of the marker, and a second batch that is refused because of it. A server
// that says the right version may still not be able to. The caller removes the stream with over,
// whatever the error.
func (b *Bus) try(ctx context.Context, replicas int) (over func(), err error) {
	if err := b.sweepTrials(ctx); err != nil {
		return func() {}, err
	}
	id := rand.Text()
	cfg := jetstream.StreamConfig{
		Name: trialStream + id, Subjects: []string{trialSubject(id, ">")}, Description: "made and removed by tapctl setup", Storage: jetstream.FileStorage,
		AllowAtomicPublish: true, AllowDirect: true, MaxAge: trialLeft, Replicas: replicas,
	}
	stream, err := b.js.CreateStream(ctx, cfg)
	if err != nil {
		return func() {}, b.unfit("make a stream that takes atomic batches", err)
	}
	over = func() { _ = b.js.DeleteStream(context.WithoutCancel(ctx), cfg.Name) } // else the next setup does
	mark := trialSubject(id, "mark")
	if err := b.tryBatch(ctx, id, mark); err != nil {
		return over, b.unfit("store an atomic batch", err)
	}
	if msg, err := stream.GetLastMsgForSubject(ctx, mark); err != nil || string(msg.Data) != id {
		return over, b.unfit("read the marker of an atomic batch", err)
	}
	if err := b.tryBatch(ctx, id, mark); !errors.Is(batchError(err), ErrAlreadyStored) {
		return over, b.unfit("refuse an atomic batch that is stored already", err)
	}
	return over, nil
}

// tryBatch stores two messages and a marker, or nothing.
func (b *Bus) tryBatch(ctx context.Context, id, mark string) error {
	p, err := jetstreamext.NewBatchPublisher(b.js, jetstreamext.BatchFlowControl{AckFirst: true, AckEvery: ackEvery, AckTimeout: requestTimeout})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	for range 2 {
		if err := p.Add(trialSubject(id, "row"), []byte("x")); err != nil {
			return errors.Join(err, p.Discard())
		}
	}
	if _, err := p.Commit(ctx, mark, []byte(id), jetstreamext.WithBatchExpectLastSequencePerSubject(0)); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// unfit says what a server cannot do. What only did not work at the moment may be tried once more.
func (b *Bus) unfit(what string, err error) error {
	if err == nil {
		err = errUnexpected
	}
	err = fmt.Errorf("nats-server %s did not %s, which every window takes: %w", b.nc.ConnectedServerVersion(), what, err)
	if transient(err) {
		return err
	}
	return fmt.Errorf("%w: %w; 2.15 or later is known to", ErrUnfit, err)
}

var errUnexpected = errors.New("it answers something else")

// sweepTrials removes what interrupted trials left.
func (b *Bus) sweepTrials(ctx context.Context) error {
	names := b.js.StreamNames(ctx, jetstream.WithStreamListSubject(trialPrefix+">"))
	var left []string
	for name := range names.Name() {
		if strings.HasPrefix(name, trialStream) {
			left = append(left, name)
		}
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("look for streams: %w", err)
	}
	for _, name := range left {
		stream, err := b.js.Stream(ctx, name)
		if err == nil && time.Since(stream.CachedInfo().Created) > trialLeft {
			_ = b.js.DeleteStream(ctx, name) // another setup may have
		}
	}
	return nil
}
