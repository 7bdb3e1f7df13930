package shipper

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
)

// parcel is one message of EVENTS in a lane's hands.
type parcel struct {
	delivery *bus.Delivery
	events   *batch.Events
	rows     int // to be sent
	bytes    int64
	dead     int64 // rows that went to DEAD
	part     bool  // of a replay: not all rows of the message, or to another sink
	empty    bool  // the rows were sent and are only in the message
	sent     time.Time
}

// cargo holds decoded batches for use again.
var cargo = sync.Pool{New: func() any { return new(batch.Events) }}

func newParcel(d *bus.Delivery) *parcel {
	return &parcel{delivery: d, events: cargo.Get().(*batch.Events)} //nolint:forcetypeassert // nothing else is in there
}

// keep drops the rows that are not wanted.
func (p *parcel) keep(wanted func(*batch.Event) bool) {
	kept := p.events.Events[:0]
	for i := range p.events.Events {
		if e := &p.events.Events[i]; wanted(e) {
			kept = append(kept, *e)
		}
	}
	p.events.Events, p.rows, p.empty = kept, len(kept), false
}

// discard gives up the rows that were sent, but for one as a sample. The message, which is many times smaller,
// keeps them for a connection that breaks.
func (p *parcel) discard() {
	full := p.events
	sample := full.Events[rand.N(len(full.Events))] //nolint:gosec // a sample needs no secrecy
	sample.ID, sample.JSON = nil, bytes.Clone(sample.JSON)
	p.events = &batch.Events{
		Tenant: full.Tenant, Table: full.Table, Feed: full.Feed, JobID: full.JobID, SourceSequence: full.SourceSequence,
		Generation: full.Generation, Part: full.Part, Extra: full.Extra, ReprocessID: full.ReprocessID, Events: []batch.Event{sample},
	}
	p.empty = true
	cargo.Put(full)
}
