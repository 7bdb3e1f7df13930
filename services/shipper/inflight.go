package shipper

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
)

// inflight is one message of EVENTS that a worker is delivering.
type inflight struct {
	delivery *bus.Delivery
	events   *batch.Events // for the goroutine that sends
	// head is the batch without rows, plus one sample row. The confirmer reads head, never events:
	// the peer may confirm before the sender has finished with events.
	head  *batch.Events
	rows  int // to be sent
	bytes int64
	dead  int64 // rows that went to DEAD
	// fit and unfit are rows and dead before the sink refused any: what is resent is counted anew.
	fit      int
	unfit    int64
	partial  bool // of a replay: not all rows of the message, or to another sink
	released bool // the rows were sent and are only in the message
	sent     time.Time
}

// eventsPool holds decoded batches for use again.
var eventsPool = sync.Pool{New: func() any { return new(batch.Events) }}

func newInflight(d *bus.Delivery) *inflight {
	return &inflight{delivery: d, events: eventsPool.Get().(*batch.Events)} // nothing else is in there
}

// keep drops the rows that are not wanted.
func (p *inflight) keep(wanted func(*batch.Event) bool) {
	kept := p.events.Events[:0]
	for i := range p.events.Events {
		if e := &p.events.Events[i]; wanted(e) {
			kept = append(kept, *e)
		}
	}
	p.events.Events, p.released = kept, false
	if p.head == nil {
		p.summarize()
	}
}

// summarize makes the head, once the rows are chosen.
func (p *inflight) summarize() {
	full := p.events
	p.rows = len(full.Events)
	p.fit, p.unfit = p.rows, p.dead
	p.head = &batch.Events{
		Tenant: full.Tenant, Table: full.Table, Feed: full.Feed, JobID: full.JobID, SourceSequence: full.SourceSequence,
		Generation: full.Generation, Part: full.Part, Extra: full.Extra, ReprocessID: full.ReprocessID,
	}
	if p.rows > 0 {
		sample := full.Events[rand.N(p.rows)] //nolint:gosec // a sample needs no secrecy
		sample.ID, sample.JSON = nil, bytes.Clone(sample.JSON)
		p.head.Events = []batch.Event{sample}
	}
}

// discard gives up the rows that were sent. The message, which is many times smaller, keeps them
// for a connection that breaks.
func (p *inflight) discard() {
	eventsPool.Put(p.events)
	p.events, p.released = nil, true
}
