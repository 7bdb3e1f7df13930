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
	// maxDoubts is how many messages in a row may be refused until that is an outage, and how many the process remembers.
	maxDoubts      = 4
	maxRemembered  = 4096
	firstReturn    = 2 * time.Second
	longestReturn  = 5 * time.Minute
	refusedAlarmed = 30 * time.Minute
	// leastRefusals and blamedAfter are how often and for how long a message is refused of which the sink takes nothing, until its
	// rows are to blame.
	leastRefusals = 6
	blamedAfter   = 10 * time.Minute
)

// doubt is a message that was refused, on one of the ways to the sink: a replay has messages of the same sequence.
type doubt struct {
	consumer string
	sequence uint64
}

func (l *lane) doubtOf(p *parcel) doubt {
	return doubt{l.route.consumer.Name, p.delivery.Sequence()}
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

// refusal decides about rows that the sink does not take. Where it has taken others of the same batch, the rows are to blame: they go
// to DEAD one by one, and nil says that the others are sent. A message of which it takes nothing must be refused several times and
// for a while, though others of the table are taken: one backend of several may refuse everything. Else it is an outage: no
// row of an outage goes to DEAD. The message is given back then ([errGivenBack]), so that those behind it are tried.
func (l *lane) refusal(ctx context.Context, p *parcel, refused *devohttp.RefusedError) error {
	first := l.doubted.first(l.doubtOf(p), p.sent)
	others := !refused.Partial && refused.Taken.After(first) // the sink works, for this table, too
	alone := others && p.delivery.Attempts() >= leastRefusals && time.Since(first) >= l.doubted.after
	if !alone && (refused.Partial || !refused.Among) {
		return l.giveBack(ctx, p, refused, others)
	}
	ctx = context.WithoutCancel(ctx)
	for _, r := range refused.Rows {
		if err := l.buryEvent(ctx, p, r.Row, r.Err); err != nil {
			return err
		}
	}
	l.alarms.ClearCause(ctx, alarm.Sink, refusedCause(p))
	n := len(refused.Rows)
	p.dead, p.rows = p.unfit+int64(n), p.fit-n
	refused.Settled()
	return nil
}

// giveBack gives a message back that was refused, or ends the connection when several were in a row with no others taken since.
func (l *lane) giveBack(ctx context.Context, p *parcel, refused error, others bool) error {
	if p.delivery.Attempts() > 1 {
		l.alarms.HoldCause(ctx, alarm.Sink, refusedCause(p), "rows of "+label(p.head.Table)+" are refused, and wait: "+refused.Error(), refusedAlarmed)
	}
	l.drop(p)
	delay := backoff.Doubling{Min: l.doubted.pause, Max: longestReturn}.After(p.delivery.Attempts())
	l.log.Debug("rows are refused, and nothing shows that they are to blame", slog.String("source", p.delivery.Source()), slog.Any("error", refused))
	if err := p.delivery.RetryAfter(delay); err != nil {
		return err
	}
	if !others && l.doubts.Add(1) >= maxDoubts {
		return fmt.Errorf("%d messages in a row: %w", l.doubts.Load(), refused)
	}
	return errGivenBack
}

func refusedCause(p *parcel) string { return "refused " + label(p.head.Table) }
