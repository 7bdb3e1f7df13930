package shipper

import (
	"context"
	"time"

	"github.com/tapline/tapline/pkg/bus"
)

// route is what lanes carry rows along: from a consumer to a sink, and what is done
// with messages on the way.
type route struct {
	consumer bus.Consumer
	open     opener
	// unpack makes a parcel of a message; nil means that nothing is to be sent and the message is taken care of.
	unpack func(ctx context.Context, d *bus.Delivery) (*parcel, error)
	// reload takes the rows of a parcel that was sent out of its message again; nil if parcels keep them.
	reload func(p *parcel) error
	// settle acknowledges what the sink has confirmed.
	settle func(ctx context.Context, parcels []*parcel)
	// rest is how long nothing may be pulled.
	rest func() time.Duration
	// failed and works are told how the sink is.
	failed func(ctx context.Context, err error)
	works  func(ctx context.Context)
}

// live is the route of everything that the enricher makes.
func (s *Shipper) live() *route {
	r := &recall{Shipper: s, deliveries: s.ledger.Deliveries()}
	return &route{
		consumer: bus.ConsumerShipper, open: s.open, unpack: r.unpack, reload: s.reload, settle: s.settle,
		rest: func() time.Duration { return 0 }, failed: s.outage.failed, works: s.outage.works,
	}
}
