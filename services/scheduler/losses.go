package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
)

// lossesHeld is longer than an audit takes to come back to a day, so that the alarm stays while the
// ledger lists a loss.
const lossesHeld = 30 * time.Minute

// kept looks at what RAW and EVENTS still have.
func (s *Scheduler) kept(ctx context.Context) (raw, events ledger.Kept, err error) {
	for stream, into := range map[string]*ledger.Kept{bus.StreamRaw: &raw, bus.StreamEvents: &events} {
		usage, err := s.bus.Usage(ctx, stream)
		if err != nil {
			return raw, events, fmt.Errorf("look for losses: %w", err)
		}
		*into = ledger.Kept{First: usage.First, Last: usage.Last}
	}
	return raw, events, nil
}

// audited loads a part of the ledger, and records what has left the streams undelivered since it
// was looked at last.
func (s *Scheduler) audited(ctx context.Context, from, to time.Time) (*ledger.Report, error) {
	raw, events, err := s.kept(ctx) // before the book: what left a stream delivered is in it then
	if err != nil {
		return nil, err
	}
	s.turn() // many days are audited in one go
	report, err := s.ledger.Load(ctx, s.cfg.Tenant.Name, from, to)
	if err != nil {
		return nil, err
	}
	rawNow, eventsNow, err := s.kept(ctx) // after the book: what it lists was stored before
	if err != nil {
		return nil, err
	}
	raw.Last, events.Last = rawNow.Last, eventsNow.Last
	losses := report.Losses(raw, events)
	if len(losses) == 0 {
		return report, nil
	}
	s.log.Error("rows left a stream before they were delivered", slog.Int("batches", len(losses)), slog.String("first", losses[0].String()))
	if err := s.ledger.RecordLosses(ctx, s.now(), losses...); err != nil {
		return nil, err
	}
	return s.ledger.Load(ctx, s.cfg.Tenant.Name, from, to)
}

// reportLosses keeps the alarm raised while a part of the ledger lists something as lost.
func (s *Scheduler) reportLosses(ctx context.Context, part string, report *ledger.Report) {
	var lost []string
	for _, f := range feed.All() {
		for _, r := range report.Lost(f) {
			for _, w := range s.owed(f, r) {
				if text := fmt.Sprintf("%s %s: %s", f, w.Interval(), r.Reason); !slices.Contains(lost, text) {
					lost = append(lost, text)
				}
			}
		}
	}
	switch len(lost) {
	case 0:
		s.alarms.ClearCause(ctx, alarm.Lost, part)
		return
	case 1:
	default:
		lost[0] += fmt.Sprintf(" (and %d more: tapctl gaps)", len(lost)-1)
	}
	s.alarms.HoldCause(ctx, alarm.Lost, part, lost[0], lossesHeld)
}

// owed is what of a lost range the plan of a feed owes and does not have to read yet: what is
// before its start was never owed, and what waits to be read once more may yet be found. Rows that
// are gone are not found by reading again.
func (s *Scheduler) owed(f feed.Feed, r ledger.Range) []window.Window {
	i := slices.IndexFunc(s.plans, func(p *planning) bool { return p.state != nil && slices.Contains(p.cfg.Set, f) })
	if i < 0 || r.Undelivered {
		return []window.Window{r.Window}
	}
	state := s.plans[i].state
	var waits []window.Window
	for _, d := range plan.Unread(state) {
		if slices.Contains(d.Feeds, string(f)) {
			waits = append(waits, d.Window)
		}
	}
	return r.Within(window.New(state.GetStart().AsTime(), r.End)).Missing(waits)
}
