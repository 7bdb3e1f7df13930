package shipper

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/ledger"
)

const (
	// placeLostFor is how long the alarm about a lost place stands.
	placeLostFor = 24 * time.Hour
	// slip is how far a consumer may fall back by the kill of its server alone, which writes a
	// moment later what it knows.
	slip = 5 * time.Minute
)

// place is how far EVENTS was given to this process. The server's consumer knows what is confirmed,
// and may forget it: it is made anew, or its file is lost. Messages that may have been delivered
// before are looked up in LEDGER, and those that it shows as confirmed are not resent. It is safe
// for concurrent use.
type place struct {
	mu      sync.Mutex
	waiting uint64 // messages that waited at the start and were not given yet
	reach   uint64 // the last sequence that was given
	// Of what was given for the first time though it is confirmed, since the last message that is
	// new:
	oldest time.Time // confirmation
	asked  time.Time // when the consumer was looked at last
	logged bool      // that the place is lost
}

// begin doubts everything that waits at the start.
func (s *Shipper) begin(ctx context.Context) {
	backlog, err := s.bus.Backlog(ctx, bus.ConsumerShipper)
	if err != nil { // not to know it costs some reading
		backlog.Waiting = math.MaxUint64
	}
	s.place.waiting = backlog.Waiting
}

// doubtful reports whether a message may have been delivered before, although the consumer calls it
// the first time.
func (p *place) doubtful(sequence uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := sequence <= p.reach || p.waiting > 0
	p.reach = max(p.reach, sequence)
	if p.waiting > 0 {
		p.waiting--
	}
	if !before {
		p.oldest = time.Time{} // several small slips are not a large one
	}
	return before
}

// far reports whether the consumer has fallen back by more than a slip, now that it gives what was
// confirmed at an instant.
func (p *place) far(at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.oldest.IsZero() || at.Before(p.oldest) {
		p.oldest = at
	}
	return at.Sub(p.oldest) > slip
}

// recall is one worker's view of what is confirmed. It is for the goroutine that pulls.
type recall struct {
	shipper    *Shipper
	deliveries *ledger.Deliveries
	looked     time.Time
	last       uint64 // of what was given for the first time
}

// confirmed reports whether the ledger shows the rows of a message as confirmed.
func (r *recall) confirmed(ctx context.Context, d *bus.Delivery, e *batch.Events) (bool, error) {
	first := d.Attempts() == 1
	back := first && d.Sequence() <= r.last // a consumer that remembers gives in order what it gives for the first time
	if first {
		r.last = d.Sequence()
	}
	if first && !r.shipper.place.doubtful(d.Sequence()) {
		return false, nil
	}
	if back || time.Since(r.looked) > lookEvery {
		r.deliveries.Forget()
		r.looked = time.Now()
	}
	at, err := r.deliveries.Confirmed(ctx, e, d.Sequence(), d.Stored())
	if err != nil || at.IsZero() {
		return false, err
	}
	r.shipper.metrics.recalled.Add(float64(len(e.Events)))
	if first {
		r.shipper.forgotten(ctx, at)
	}
	return true, nil
}

// forgotten notices that the consumer does not know what was confirmed at an instant, and logs it
// if that is no mere slip.
func (s *Shipper) forgotten(ctx context.Context, at time.Time) {
	p := &s.place
	far := p.far(at)
	p.mu.Lock()
	ask := time.Since(p.asked) > lookEvery
	if ask {
		p.asked = time.Now()
	}
	told := p.logged
	p.mu.Unlock()
	if told || !far && !ask {
		return
	}
	if !far {
		backlog, err := s.bus.Backlog(ctx, bus.ConsumerShipper)
		if err != nil || !backlog.Created.After(at) {
			return
		}
	}
	p.mu.Lock()
	told, p.logged = p.logged, true
	p.mu.Unlock()
	if told {
		return
	}
	detail := fmt.Sprintf("the consumer %s of %s has forgotten what was delivered: batches that LEDGER shows as confirmed are not resent, rows of no job are",
		bus.ConsumerShipper.Name, bus.StreamEvents)
	s.log.Warn("the place in the stream is lost", slog.String("what", detail))
	s.alarms.Hold(ctx, alarm.MemoryLost, detail, placeLostFor)
}
