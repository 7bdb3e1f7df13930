package replay

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/tapline/tapline/pkg/bus"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Run is one order in the hands of this process. It is safe for concurrent use.
type Run struct {
	runner *Runner
	order  *taplinev1.ReplayOrder
	filter *Filter
	limit  *rate.Limiter

	mu        sync.Mutex
	known     entry     // what was read or written last
	idleUntil time.Time // until when the rate allows no more
	trouble   string
}

func (r *Runner) newRun(e entry) *Run {
	order := e.replay.GetOrder()
	perSecond := r.deps.Config.Rate
	if order.GetRate() > 0 {
		perSecond = int(order.GetRate())
	}
	return &Run{runner: r, order: order, filter: NewFilter(order), limit: rate.NewLimiter(rate.Limit(perSecond), max(perSecond/10, 1)), known: e}
}

// Order is what is wanted.
func (r *Run) Order() *taplinev1.ReplayOrder { return r.order }

// Filter is what the order selects.
func (r *Run) Filter() *Filter { return r.filter }

// Consumer is where the order's messages come from.
func (r *Run) Consumer() bus.Consumer { return Consumer(r.order) }

// Beyond reports whether a message lies behind the end of the order.
func (r *Run) Beyond(sequence uint64) bool { return sequence > r.order.GetLastSequence() }

// Begin records that this process can do the order; the command that waits for that may end.
func (r *Run) Begin(ctx context.Context) error {
	return r.change(ctx, func(p *taplinev1.Replay) error { return begin(p, r.runner.owner, time.Now()) })
}

// change writes what is known with a change in it.
func (r *Run) change(ctx context.Context, how func(*taplinev1.Replay) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, err := r.runner.store.change(ctx, r.order.GetId(), &r.known, how)
	if e.replay != nil {
		r.known = e
	}
	return err
}

// Counted reports whether a message was done and counted before, so that it needs only to be
// acknowledged.
func (r *Run) Counted(sequence uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return counted(r.known.replay, sequence)
}

// Count makes durable that messages are done. After an error they must not be acknowledged: they
// are redelivered, here or at another process.
func (r *Run) Count(ctx context.Context, tallies ...Tally) error {
	if err := r.change(ctx, func(p *taplinev1.Replay) error { return count(p, r.runner.owner, tallies) }); err != nil {
		return err
	}
	rows := uint64(0)
	for _, t := range tallies {
		rows += t.Rows
	}
	r.runner.metrics.rows.WithLabelValues(r.runner.deps.Stage).Add(float64(rows))
	return nil
}

// Spend counts rows against the rate of the order.
func (r *Run) Spend(rows int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for rows > 0 {
		n := min(rows, r.limit.Burst())
		r.idleUntil = now.Add(r.limit.ReserveN(now, n).DelayFrom(now))
		rows -= n
	}
}

// Delay is how long the rate allows no more rows.
func (r *Run) Delay() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(time.Until(r.idleUntil), 0)
}

// Trouble says what keeps the order from going on at the moment; nothing if nothing does.
func (r *Run) Trouble(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = reason
}

// renew reads what is stored, extends the lease of the order, and reports whether to continue.
// floor is what the consumer shows as acknowledged.
func (r *Run) renew(ctx context.Context, floor uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	e, err := r.runner.store.change(ctx, r.order.GetId(), nil, func(p *taplinev1.Replay) error {
		if p.GetOwner() != r.runner.owner {
			return ErrNotMine
		}
		raise(p, floor)
		if p.GetState() == running {
			p.Reason = r.trouble
		}
		if p.GetOwnerUntil().AsTime().Sub(now) > lease*2/3 && p.GetState() == running {
			return nil
		}
		return claim(p, r.runner.owner, now)
	})
	if e.replay != nil {
		r.known = e
	}
	return err
}

// progress is the share of the order's messages that is done, 0 to 1.
func (r *Run) progress() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Share(r.known.replay)
}

// Share is the share of an order's messages that is done, 0 to 1.
func Share(r *taplinev1.Replay) float64 {
	if r.GetOrder().GetMessages() == 0 {
		return 1
	}
	return min(1, float64(r.GetProgress().GetMessages())/float64(r.GetOrder().GetMessages()))
}
