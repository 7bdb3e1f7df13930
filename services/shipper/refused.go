package shipper

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/services/shipper/internal/devohttp"
)

const (
	// maxDoubts is how many messages in a row may be refused until that is an outage, and how many the process remembers.
	maxDoubts      = 4
	maxRemembered  = 4096
	firstReturn    = 2 * time.Second
	longestReturn  = 5 * time.Minute
	refusedAlarmed = 30 * time.Minute
)

// doubted remembers when messages were refused first, by their sequence. It is safe for concurrent use.
type doubted struct {
	mu    sync.Mutex
	since map[uint64]time.Time
}

// first is when a message was refused first, which is at if that is now.
func (d *doubted) first(sequence uint64, at time.Time) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if before, known := d.since[sequence]; known {
		return before
	}
	if d.since == nil || len(d.since) >= maxRemembered {
		d.since = make(map[uint64]time.Time)
	}
	d.since[sequence] = at
	return at
}

func (d *doubted) forget(sequence uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.since, sequence)
}

// refusal decides about rows that the sink does not take. Where it has taken others of the table since, the rows are to blame: they go
// to DEAD one by one, and nil says that the others are sent. Else the endpoint may refuse everything, which is an outage:
// no row of an outage goes to DEAD. The message is given back then ([errGivenBack]), so that those behind it are tried.
func (l *lane) refusal(ctx context.Context, p *parcel, refused *devohttp.RefusedError) error {
	sequence := p.delivery.Sequence()
	if refused.Partial || !refused.Taken.After(l.doubted.first(sequence, p.sent)) {
		return l.doubt(ctx, p, refused)
	}
	ctx = context.WithoutCancel(ctx)
	for _, r := range refused.Rows {
		if err := l.buryEvent(ctx, p, r.Row, r.Err); err != nil {
			return err
		}
	}
	l.doubted.forget(sequence)
	l.alarms.ClearCause(ctx, alarm.Sink, refusedCause(p))
	p.dead += int64(len(refused.Rows))
	p.rows -= len(refused.Rows)
	refused.Settled()
	return nil
}

// doubt gives a message back that was refused, or ends the connection when several were in a row.
func (l *lane) doubt(ctx context.Context, p *parcel, refused error) error {
	if p.delivery.Attempts() > 1 {
		l.alarms.HoldCause(ctx, alarm.Sink, refusedCause(p), "rows of "+label(p.head.Table)+" are refused, and wait: "+refused.Error(), refusedAlarmed)
	}
	l.drop(p)
	delay := longestReturn
	if n := p.delivery.Attempts(); n < 8 {
		delay = min(longestReturn, firstReturn<<max(n-1, 0))
	}
	l.log.Debug("rows are refused, and nothing shows that they are to blame", slog.String("source", p.delivery.Source()), slog.Any("error", refused))
	if err := p.delivery.RetryAfter(delay); err != nil {
		return err
	}
	if l.doubts.Add(1) >= maxDoubts {
		return fmt.Errorf("%d messages in a row: %w", l.doubts.Load(), refused)
	}
	return errGivenBack
}

func refusedCause(p *parcel) string { return "refused " + label(p.head.Table) }
