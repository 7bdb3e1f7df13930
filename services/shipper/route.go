package shipper

import (
	"context"
	"time"

	"github.com/tapline/tapline/pkg/bus"
)

// route connects a consumer to a sink for workers, with what is done to messages on the way.
type route struct {
	consumer bus.Consumer
	open     opener
	// unpack makes a batch of a message; nil means that nothing is to be sent and the message is
	// taken care of.
	unpack func(ctx context.Context, d *bus.Delivery) (*inflight, error)
	// reload decodes the rows of a batch that was sent from its message again; nil if batches keep
	// their rows.
	reload func(p *inflight) error
	// ack acknowledges what the sink has confirmed.
	ack func(ctx context.Context, batches []*inflight)
	// delay is how long nothing may be pulled.
	delay func() time.Duration
	// recordFailure and recordSuccess report the state of the sink.
	recordFailure func(ctx context.Context, err error)
	recordSuccess func(ctx context.Context)
}

// live is the route of everything that the enricher makes.
func (s *Shipper) live() *route {
	r := &recall{shipper: s, deliveries: s.ledger.Deliveries()}
	return &route{
		consumer: bus.ConsumerShipper, open: s.sink.open, unpack: r.unpack, reload: s.reload, ack: s.ack,
		delay: func() time.Duration { return 0 }, recordFailure: s.outage.recordFailure, recordSuccess: s.outage.recordSuccess,
	}
}
