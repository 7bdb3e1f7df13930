package shipper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/jsonline"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/step"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// unpack decodes a message and takes out what cannot be shipped. nil means that nothing is left to
// ship, or everything was shipped before, and the message is acked.
func (s *recall) unpack(ctx context.Context, d *bus.Delivery) (*inflight, error) {
	p := newInflight(d)
	if d.Attempts() > 1 {
		s.shipper.metrics.repeated.Inc()
	}
	if err := s.shipper.decode(d, p.events); err != nil {
		return nil, s.shipper.deadLetter(ctx, d, err)
	}
	switch known, err := s.confirmed(ctx, d, p.events); {
	case err != nil:
		return nil, err
	case known:
		return nil, d.Ack()
	}
	p.bytes = int64(p.events.Size())
	for i := range p.events.Events {
		if reason := s.shipper.unfit(&p.events.Events[i]); reason != nil {
			if err := s.shipper.deadLetterRow(ctx, p, i, reason); err != nil {
				return nil, err
			}
			p.dead++
		}
	}
	p.keep(s.shipper.fit)
	if p.rows == 0 {
		return nil, errors.Join(s.shipper.record(ctx, p), d.Ack())
	}
	return p, nil
}

// reload decodes the rows of a batch from its message once more.
func (s *Shipper) reload(p *inflight) error {
	p.events = eventsPool.Get().(*batch.Events) // nothing else is in there
	if err := s.decode(p.delivery, p.events); err != nil {
		return err
	}
	p.keep(s.fit)
	return nil
}

func (s *Shipper) decode(d *bus.Delivery, e *batch.Events) error {
	if err := batch.DecodeEvents(d.Data(), e); err != nil {
		return err
	}
	if e.Tenant != s.cfg.Tenant.Name {
		return fmt.Errorf("%w %q: this shipper serves %q", errUnknownTenant, e.Tenant, s.cfg.Tenant.Name)
	}
	// The table becomes part of the line's header and must not end it.
	if strings.ContainsFunc(e.Table, func(r rune) bool { return r <= ' ' || r == ':' || r == '"' || r > '~' }) {
		return fmt.Errorf("%w: %q", errNoTable, e.Table)
	}
	return nil
}

func (s *Shipper) fit(e *batch.Event) bool { return s.unfit(e) == nil }

// unfit says why a row cannot be shipped.
func (s *Shipper) unfit(e *batch.Event) error {
	switch {
	case len(e.JSON) > s.cfg.MaxEvent:
		return fmt.Errorf("%w: %d bytes, at most %d are sent (EVENT_MAX_BYTES)", errTooLong, len(e.JSON), s.cfg.MaxEvent)
	case jsonline.HasControl(e.JSON):
		return errControl
	}
	return nil
}

// deadLetter stores a message in DEAD whole, then ends it.
func (s *Shipper) deadLetter(ctx context.Context, d *bus.Delivery, reason error) error {
	letter := d.NewDeadLetter(s.cfg.Tenant.Name, Flow.Stage, reason, d.Data())
	if err := s.bus.PublishDead(ctx, letter, d.DeadID()); err != nil {
		return err
	}
	s.metrics.dead.WithLabelValues(deadMessage).Inc()
	s.log.Error("message went to DEAD", slog.String("source", d.Source()), slog.String("error", letter.GetReason()))
	return d.Terminate("see DEAD")
}

// deadLetterRow stores one row in DEAD; its name is that of its place.
func (s *Shipper) deadLetterRow(ctx context.Context, p *inflight, index int, reason error) error {
	letter := p.delivery.NewDeadLetter(s.cfg.Tenant.Name, Flow.Stage, reason, p.events.Events[index].JSON)
	letter.Feed, letter.Table = p.events.Feed, p.events.Table
	if err := s.bus.PublishDead(ctx, letter, p.delivery.DeadID(index)); err != nil {
		return err
	}
	step.At("shipper.dead")
	why := deadControl
	switch {
	case errors.Is(reason, errTooLong):
		why = deadTooLong
	case !errors.Is(reason, errControl):
		why = deadRefused
	}
	s.metrics.dead.WithLabelValues(why).Inc()
	s.log.Error("row went to DEAD", slog.String("source", p.delivery.Source()), slog.Int("row", index), slog.Any("error", reason))
	return nil
}

// ack acknowledges what the sink has confirmed, once the ledger records it.
func (s *Shipper) ack(ctx context.Context, batches []*inflight) {
	if len(batches) == 0 {
		return
	}
	if err := s.record(context.WithoutCancel(ctx), batches...); err != nil { // they are redelivered and shipped again
		s.log.Warn("cannot record what the sink has confirmed; it will be retried", slog.Any("error", err))
		return
	}
	step.At("shipper.noted")
	for _, p := range batches {
		if err := p.delivery.Ack(); err != nil {
			s.log.Debug("cannot ack", slog.Any("error", err))
		}
		step.At("shipper.acked")
		s.canary.Confirmed(p.head, p.sent)
		pulled := time.UnixMilli(p.head.Events[0].PullMS)
		s.metrics.confirmed.WithLabelValues(label(p.head.Table)).Add(float64(p.rows))
		s.metrics.confirm.Observe(time.Since(p.sent).Seconds())
		lag := s.now().Sub(pulled).Seconds()
		s.metrics.lag.Observe(lag)
		s.metrics.lastLag.WithLabelValues(label(p.head.Table)).Set(lag)
	}
}

// record writes batches of jobs into the ledger. Rows that are of no job are in no sum of the
// ledger.
func (s *Shipper) record(ctx context.Context, batches ...*inflight) error {
	return s.ledger.RecordDelivery(ctx, s.records(nil, batches)...)
}

// records are entries of the ledger, of an order if there is one.
func (s *Shipper) records(order *taplinev1.ReplayOrder, batches []*inflight) []ledger.Delivery {
	records := make([]ledger.Delivery, 0, len(batches))
	for _, p := range batches {
		if _, err := job.Parse(p.head.JobID); err != nil {
			continue
		}
		records = append(records, ledger.Delivery{JobID: p.head.JobID, Remaker: p.head.ReprocessID, Part: p.partial, Batch: &taplinev1.BatchRecord{
			Part: p.head.Part, ReplayId: order.GetId(), Sink: order.GetSink(),
			RawSequence: p.head.SourceSequence, Feed: p.head.Feed, Table: p.head.Table, Events: int64(p.rows), Dead: p.dead,
			EventSequence: p.delivery.Sequence(), AtMs: s.now().UnixMilli(),
		}})
	}
	return records
}
