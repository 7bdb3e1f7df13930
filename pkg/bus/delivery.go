package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/tapline/tapline/pkg/job"
)

// Delivery is one message that a consumer is working on.
type Delivery struct {
	msg     jetstream.Msg
	meta    *jetstream.MsgMetadata
	ackWait time.Duration
	span    trace.Span
}

// Context carries the span of the message, for what is published because of it.
func (d *Delivery) Context(ctx context.Context) context.Context {
	return trace.ContextWithSpan(ctx, d.span)
}

// Data is the message's body. It must not be changed.
func (d *Delivery) Data() []byte { return d.msg.Data() }

// Subject is where the message was published.
func (d *Delivery) Subject() string { return d.msg.Subject() }

// Orders reports whether the message stands on the subject of a job. The server lets a user publish
// on the subjects of the jobs that it may order, and looks at no content.
func (d *Delivery) Orders(id job.ID, aside bool) bool {
	return d.msg.Subject() == jobSubject(id, aside)
}

// Sequence is the message's place in its stream.
func (d *Delivery) Sequence() uint64 { return d.meta.Sequence.Stream }

// Stored is when the server stored the message.
func (d *Delivery) Stored() time.Time { return d.meta.Timestamp }

// Attempts counts deliveries, this one included.
func (d *Delivery) Attempts() int { return int(d.meta.NumDelivered) }

// Source names the message for people: stream and sequence.
func (d *Delivery) Source() string { return fmt.Sprintf("%s/%d", d.meta.Stream, d.Sequence()) }

// Ack says that the message's output is durable. It may be lost in a crash of the server; then the
// message is redelivered.
func (d *Delivery) Ack() error { return d.verdict("ack", d.msg.Ack()) }

// RetryAfter asks for the message again after the delay.
func (d *Delivery) RetryAfter(delay time.Duration) error {
	return d.verdict("release", d.msg.NakWithDelay(delay))
}

// Progress extends the wait for the ack. Without an ack or progress the server redelivers the
// message to another consumer. Call it well within [Subscription.AckWait].
func (d *Delivery) Progress() error { return d.verdict(keeps, d.msg.InProgress()) }

// Terminate says that the message is never wanted again. Store it in DEAD first.
func (d *Delivery) Terminate(reason string) error {
	return d.verdict("terminate", d.msg.TermWithReason(reason))
}

// verdict ends the span, unless work continues.
func (d *Delivery) verdict(verb string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s %s: %w", verb, d.Source(), err)
		fail(d.span, err)
	}
	if verb != keeps {
		d.span.SetAttributes(attribute.String("tapline.verdict", verb))
		d.span.End()
	}
	return err
}

const keeps = "keep"

// Subscription pulls messages of one consumer. Next is for one goroutine.
type Subscription struct {
	bus      *Bus
	consumer jetstream.Consumer
	prefetch int
	messages jetstream.MessagesContext // nil while [Subscription.careful] holds
	until    time.Time                 // when that ends
	single   *single                   // the request that is under way then
	quiet    time.Duration             // waited since the last message
	broken   bool                      // the server ended messages
	stopped  bool
}

// AckWait is how long a delivery may stay without a sign of life.
func (s *Subscription) AckWait() time.Duration { return s.consumer.CachedInfo().Config.AckWait }

// Subscribe begins to pull. prefetch bounds the messages that wait in this process. It asks as
// patiently as [Bus.Bucket].
func (b *Bus) Subscribe(ctx context.Context, c Consumer, prefetch int) (*Subscription, error) {
	var consumer jetstream.Consumer
	err := b.patiently(ctx, startPatience, func() (err error) {
		consumer, err = b.js.Consumer(ctx, c.Stream, c.Name)
		return err
	})
	if err != nil {
		return nil, missing(err, "consumer", c.Name)
	}
	s := &Subscription{bus: b, consumer: consumer, prefetch: prefetch}
	if err := s.begin(); err != nil {
		return nil, fmt.Errorf("pull from %s: %w", c.Name, err)
	}
	return s, nil
}

func (s *Subscription) begin() error {
	messages, err := s.consumer.Messages(jetstream.PullMaxMessages(s.prefetch))
	if err != nil {
		return err
	}
	s.messages, s.quiet, s.broken = messages, 0, false
	return nil
}

// Next waits for a message. It ends with the error of ctx, or with [ErrClosed]
// once the subscription is stopped. Any other error is passing; call again.
func (s *Subscription) Next(ctx context.Context) (*Delivery, error) {
	msg, err := s.next(ctx)
	switch {
	case err != nil && (s.stopped || s.bus.nc.IsClosed()):
		return nil, ErrClosed
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("pull: %w", err)
	}
	d, err := s.bus.delivery(ctx, msg, s.consumer)
	if err != nil {
		return nil, fmt.Errorf("pull: %w", err)
	}
	return d, nil
}

// How long one wait of the client library lasts, at first and at most. When a message comes faster
// than the library has recorded that it asked for it (nats.go 1.55, pullSubscription.checkPending),
// it does not ask for the next one, and would notice after two missing heartbeats, 30 seconds
// later. It looks again with each call.
const (
	remindAfter = 5 * time.Millisecond
	remindMost  = 2 * time.Second
)

// renewAfter is how long a subscription waits for a message before it asks anew. A server that is
// killed takes with it what it was about to answer, and a client that is connected to another one
// of the cluster is not informed: it keeps waiting. The library finds out by missing heartbeats,
// but only within one wait of more than 30 seconds.
const renewAfter = 10 * time.Second

// longer is the wait that follows one; the first follows none.
func longer(wait time.Duration) time.Duration { return min(max(2*wait, remindAfter), remindMost) }

// next waits for a message in waits that double.
func (s *Subscription) next(ctx context.Context) (jetstream.Msg, error) {
	for wait := remindAfter; ; wait = longer(wait) {
		if err := s.renew(); err != nil {
			return nil, err
		}
		if s.messages == nil {
			if msg, err := s.take(ctx); msg != nil || err != nil {
				return msg, err
			}
			continue
		}
		began := time.Now()
		brief, cancel := context.WithTimeout(ctx, wait)
		msg, err := s.messages.Next(jetstream.NextContext(brief))
		cancel()
		if err == nil {
			s.quiet = 0
			return msg, nil
		}
		s.quiet += time.Since(began)
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			s.broken = ctx.Err() == nil
			if errors.Is(err, jetstream.ErrBadRequest) || errors.Is(err, jetstream.ErrConsumerDeleted) { // the server may have said so
				s.careful()
				wait = 0
				continue
			}
			return nil, err
		}
	}
}

// renew asks anew when nothing has come for a while, and when the server has ended what there was,
// as for a consumer that was deleted and may be there again. What the old request still brings is
// given back.
func (s *Subscription) renew() error {
	switch {
	case s.stopped || !s.bus.nc.IsConnected():
		return nil
	case s.messages == nil: // taken one by one
		if time.Now().After(s.until) {
			s.single.drop()
			s.single = nil
			return s.begin()
		}
		return nil
	case s.broken:
		old := s.messages
		if err := s.begin(); err != nil {
			return err
		}
		giveBack(old)
	case s.quiet >= renewAfter:
		s.careful()
	}
	return nil
}

// Stop ends the pulling and gives back at once what waits in this process. No
// Next may be running.
func (s *Subscription) Stop() {
	if !s.stopped {
		s.stopped = true
		s.single.drop()
		if s.messages != nil {
			giveBack(s.messages)
		}
	}
}

// giveBack ends the pulling. Messages that have arrived go to another consumer at once; those that
// arrive more than a second later are redelivered when AckWait is over.
func giveBack(messages jetstream.MessagesContext) {
	messages.Drain()
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(time.Second))
		if err != nil {
			return
		}
		_ = msg.NakWithDelay(time.Millisecond)
	}
}
