package shipper

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/services/shipper/internal/devohttp"
)

const (
	// maxDoubts is how many messages in a row may be refused until that is an outage, and how many
	// the process remembers.
	maxDoubts      = 4
	maxRemembered  = 4096
	firstReturn    = 2 * time.Second
	longestReturn  = 5 * time.Minute
	refusedAlarmed = 30 * time.Minute
	// leastRefusals and blamedAfter are how often and for how long a message is refused of which
	// the sink takes nothing, until its rows are to blame.
	leastRefusals = 6
	blamedAfter   = 10 * time.Minute
)

// doubt is a message that was refused, on one of the ways to the sink: a replay has messages of the
// same sequence.
type doubt struct {
	consumer string
	sequence uint64
}

func (w *worker) doubtOf(p *inflight) doubt {
	return doubt{w.route.consumer.Name, p.delivery.Sequence()}
}

// doubted remembers when messages were refused first. It is safe for concurrent use.
type doubted struct {
	after time.Duration // blamedAfter
	pause time.Duration // firstReturn

	mu    sync.Mutex
	since map[doubt]time.Time
}

// first is when a message was refused first, which is at if that is now.
func (d *doubted) first(of doubt, at time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if before, known := d.since[of]; known {
		return before
	}
	if d.since == nil || len(d.since) >= maxRemembered {
		d.since = make(map[doubt]time.Time)
	}
	d.since[of] = at
	return at
}

func (d *doubted) forget(of doubt) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.since, of)
}

// refusal decides about rows that the sink does not take. Where it has taken others of the same
// batch, the rows are to blame: they go to DEAD one by one, and nil says that the others are sent.
// A message of which it takes nothing must be refused several times and for a while, though others
// of the table are taken: one backend of several may refuse everything. Else it is an outage: no
// row of an outage goes to DEAD. The message is given back then ([errGivenBack]), so that those
// behind it are tried.
func (w *worker) refusal(ctx context.Context, p *inflight, refused *devohttp.RefusedError) error {
	first := w.shipper.doubted.first(w.doubtOf(p), p.sent)
	others := !refused.Partial && refused.Taken.After(first) // the sink works, for this table, too
	alone := others && p.delivery.Attempts() >= leastRefusals && time.Since(first) >= w.shipper.doubted.after
	if !alone && (refused.Partial || !refused.Among) {
		return w.giveBack(ctx, p, refused, others)
	}
	ctx = context.WithoutCancel(ctx)
	for _, r := range refused.Rows {
		if err := w.shipper.deadLetterRow(ctx, p, r.Row, r.Err); err != nil {
			return err
		}
	}
	w.shipper.alarms.ClearCause(ctx, alarm.Sink, refusedCause(p))
	n := len(refused.Rows)
	p.dead, p.rows = p.unfit+int64(n), p.fit-n
	refused.Settled()
	return nil
}

// giveBack gives a message back that was refused, or ends the connection when several were in a row
// with no others taken since.
func (w *worker) giveBack(ctx context.Context, p *inflight, refused error, others bool) error {
	if p.delivery.Attempts() > 1 {
		w.shipper.alarms.HoldCause(ctx, alarm.Sink, refusedCause(p), "rows of "+label(p.head.Table)+" are refused, and wait: "+refused.Error(), refusedAlarmed)
	}
	w.drop(p)
	delay := backoff.Doubling{Min: w.shipper.doubted.pause, Max: longestReturn}.After(p.delivery.Attempts())
	w.shipper.log.Debug("rows are refused, and nothing shows that they are to blame", slog.String("source", p.delivery.Source()), slog.Any("error", refused))
	if err := p.delivery.RetryAfter(delay); err != nil {
		return err
	}
	if !others && w.doubts.Add(1) >= maxDoubts {
		return fmt.Errorf("%d messages in a row: %w", w.doubts.Load(), refused)
	}
	return errGivenBack
}

func refusedCause(p *inflight) string { return "refused " + label(p.head.Table) }
