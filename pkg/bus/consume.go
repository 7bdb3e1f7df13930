package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/step"
)

// Handler processes one message. What it was for must be durable when it
// returns nil.
type Handler func(ctx context.Context, d *Delivery) error

// Consumption configures [Bus.Consume].
type Consumption struct {
	Stage    string // for dead letters and logs
	Tenant   string // for dead letters that name no tenant
	Consumer Consumer
	Workers  int           // messages in work at once
	Grace    time.Duration // for work in hand after the end of taking; 0 means 10 s
	Log      *slog.Logger
	// Turn, if set, is called whenever a worker is alive, at least every few seconds while it works
	// or waits.
	Turn func()
}

// idleTurn is how often a worker that waits or works shows that it is alive.
const idleTurn = 5 * time.Second

// redelivery is when a message that failed is delivered again.
var redelivery = backoff.Doubling{Min: time.Second, Max: time.Minute, Jitter: 0.25}

// Consume hands messages to the handler until ctx ends, then lets the work in
// hand finish within the grace period and returns nil. An error means that the
// consumer cannot be used, or that the connection was closed.
func (b *Bus) Consume(ctx context.Context, c Consumption, handle Handler) error {
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	// The work in hand outlives ctx by the grace period.
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	stopTimer := context.AfterFunc(ctx, func() { time.AfterFunc(c.Grace, abort) })
	defer stopTimer()

	subs := make([]*Subscription, max(c.Workers, 1))
	for i := range subs {
		sub, err := b.Subscribe(ctx, c.Consumer, 1)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		defer sub.Stop()
		subs[i] = sub
	}
	var wg sync.WaitGroup
	for _, sub := range subs {
		wg.Go(func() { b.worker(ctx, work, c, sub, handle) })
	}
	wg.Wait()
	if ctx.Err() == nil { // a lane without a reader must not look like one in which nothing waits
		return fmt.Errorf("consume %s: %w", c.Consumer.Name, ErrClosed)
	}
	return nil
}

func (b *Bus) worker(take, work context.Context, c Consumption, sub *Subscription, handle Handler) {
	for take.Err() == nil {
		if c.Turn != nil {
			c.Turn()
		}
		next, cancel := context.WithTimeout(take, idleTurn)
		d, err := sub.Next(next)
		cancel()
		switch {
		case errors.Is(err, ErrClosed):
			return
		case errors.Is(err, context.DeadlineExceeded), take.Err() != nil && d == nil:
			continue
		case err != nil:
			c.Log.Warn("fetch from stream failed", slog.String("consumer", c.Consumer.Name), slog.Any("error", err))
			backoff.Sleep(take, redelivery.Min)
			continue
		}
		b.process(work, c, d, handle)
	}
}

// Take hands the next message to the handler if one waits, and reports whether one did. An
// error says that it is not known whether one waits. It serves queues of which the most
// important is to be read first.
func (b *Bus) Take(ctx context.Context, c Consumption, handle Handler) (bool, error) {
	consumer, err := b.js.Consumer(ctx, c.Consumer.Stream, c.Consumer.Name)
	if err != nil {
		return false, missing(err, "consumer", c.Consumer.Name)
	}
	if info := consumer.CachedInfo(); info.NumPending == 0 && info.NumAckPending == 0 {
		return false, nil
	}
	batch, err := consumer.FetchNoWait(1)
	if err != nil {
		return false, fmt.Errorf("take from %s: %w", c.Consumer.Name, err)
	}
	taken := false
	for msg := range batch.Messages() {
		d, err := b.delivery(ctx, msg, consumer)
		if err != nil {
			return taken, fmt.Errorf("take from %s: %w", c.Consumer.Name, err)
		}
		taken = true
		b.process(ctx, c, d, handle)
	}
	if err := batch.Error(); err != nil {
		return taken, fmt.Errorf("take from %s: %w", c.Consumer.Name, err)
	}
	if !taken && consumer.CachedInfo().NumPending > 0 { // the answer was late, or another process was faster
		return false, fmt.Errorf("take from %s: %w", c.Consumer.Name, ErrConflict)
	}
	return taken, nil
}

// process runs the handler with a heartbeat and lets its error decide.
func (b *Bus) process(ctx context.Context, c Consumption, d *Delivery, handle Handler) {
	stop := keepAlive(d, c.Turn)
	err := handle(d.Context(ctx), d)
	stop()
	if err != nil {
		fail(d.span, err)
	}
	step.At("bus.handled")
	if err := b.decide(ctx, c, d, err); err != nil {
		// The message is redelivered when AckWait is over.
		c.Log.Warn("cannot ack a message", slog.String("source", d.Source()), slog.Any("error", err))
	}
	step.At("bus.settled")
}

func (b *Bus) decide(ctx context.Context, c Consumption, d *Delivery, err error) error {
	var permanent *permanentError
	var retry *retryError
	switch {
	case err == nil:
		return d.Ack()
	case errors.As(err, &permanent):
		return b.deadLetter(ctx, c, d, err)
	case errors.As(err, &retry):
		c.Log.Debug("message waits", slog.String("source", d.Source()), slog.Any("error", err))
		return d.RetryAfter(retry.delay)
	case ctx.Err() != nil: // aborted by shutdown: nothing is wrong with the message
		return d.RetryAfter(time.Millisecond)
	}
	delay := redelivery.After(d.Attempts())
	c.Log.Warn("message failed; it will be redelivered", slog.String("source", d.Source()),
		slog.Int("attempt", d.Attempts()), slog.Duration("delay", delay), slog.Any("error", err))
	return d.RetryAfter(delay)
}

// deadLetter stores the message in DEAD and only then terminates it.
func (b *Bus) deadLetter(ctx context.Context, c Consumption, d *Delivery, cause error) error {
	letter := d.NewDeadLetter(c.Tenant, c.Stage, cause, d.Data())
	if err := b.PublishDead(ctx, letter, d.DeadID()); err != nil {
		return fmt.Errorf("%w (after: %w)", err, cause)
	}
	step.At("bus.buried")
	c.Log.Error("message went to DEAD", slog.String("source", d.Source()), slog.String("error", letter.GetReason()))
	return d.Terminate("see DEAD")
}

// keepAlive reports progress to the server until stop is called.
func keepAlive(d *Delivery, turn func()) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(min(d.ackWait/4, idleTurn)) // STREAM_ACK_WAIT may be minutes, what Turn promises is not
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				_ = d.Progress() // a failure only lets AckWait run out, which repeats the work
				if turn != nil {
					turn()
				}
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}
