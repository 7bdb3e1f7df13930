package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Kept is what a stream still has: sequences from First to Last, both included.
type Kept struct{ First, Last uint64 }

// gone reports whether a message that was stored is no longer there. Nothing is known of a stream
// that was never looked at.
func (k Kept) gone(sequence uint64) bool {
	return sequence > 0 && (sequence < k.First || sequence > k.Last)
}

// Loss is a batch that left a stream before it was delivered.
type Loss struct {
	Job   job.ID
	Batch *taplinev1.BatchRecord
}

// String says what is lost, and where it was.
func (l Loss) String() string {
	where := fmt.Sprintf("%s %d", bus.StreamEvents, l.Batch.GetEventSequence())
	if l.Batch.GetEventSequence() == 0 {
		where = fmt.Sprintf("%s %d", bus.StreamRaw, l.Batch.GetRawSequence())
	}
	return fmt.Sprintf("%d of %s for %s (%s)", l.Batch.GetEvents(), l.Batch.GetFeed(), l.Job.Window.Interval(), where)
}

// Losses finds what has left RAW or EVENTS undelivered and is not recorded as lost yet. The streams
// must be looked at twice: for the first sequences before the book was loaded, for the last ones
// after it. Whatever left a stream delivered was recorded before it left. Hours with a page that
// cannot be read are left out: what the page says of a delivery is not known.
func (b *Report) Losses(raw, events Kept) []Loss {
	var losses []Loss
	unread := b.unreadHours()
	for i := range b.Rows {
		row := &b.Rows[i]
		if row.State != taplinev1.WindowState_WINDOW_STATE_FETCHED || unread[row.Job.Window.Start.UTC().Truncate(time.Hour)] {
			continue
		}
		for _, made := range between(b.made, row.First, row.Marker) {
			if made.GetFeed() == string(row.Feed) && events.gone(made.GetEventSequence()) && !has(b.sent, made) && !has(b.lost, made) {
				losses = append(losses, Loss{row.Job, made})
			}
		}
		missing := row.Published - (row.Events - row.Extra + row.MadeDead)
		batch := &taplinev1.BatchRecord{RawSequence: row.First, Feed: string(row.Feed), Table: row.Feed.Table(), Events: missing}
		if missing > 0 && !row.Made && raw.gone(row.Marker) && !has(b.lost, batch) {
			losses = append(losses, Loss{row.Job, batch})
		}
	}
	return losses
}

// unreadHours are the hours of which a page cannot be read.
func (b *Report) unreadHours() map[time.Time]bool {
	hours := make(map[time.Time]bool)
	for _, v := range b.problems {
		if v.Rule != rulePage {
			continue
		}
		if hour, err := hourOf(v.Where); err == nil {
			hours[hour] = true
		}
	}
	return hours
}

func has(sorted []*taplinev1.BatchRecord, b *taplinev1.BatchRecord) bool {
	_, ok := slices.BinarySearchFunc(sorted, b, byBatch)
	return ok
}

// Undelivered is the lowest sequence in EVENTS, from a given one on, of rows that the sink has not
// confirmed. It is 0 when there are none.
func (b *Report) Undelivered(from uint64) uint64 {
	var lowest uint64
	for _, made := range b.made {
		if at := made.GetEventSequence(); at >= from && at > 0 && (lowest == 0 || at < lowest) && !has(b.sent, made) {
			lowest = at
		}
	}
	return lowest
}

// RecordLosses records what has left a stream undelivered. The first record of a batch stays.
func (l *Ledger) RecordLosses(ctx context.Context, at time.Time, losses ...Loss) error {
	pages := make(map[string][]*taplinev1.BatchRecord)
	for _, loss := range losses {
		key := Key(PartPlan, loss.Job.Tenant, loss.Job.Window.Start)
		batch := proto.CloneOf(loss.Batch)
		batch.AtMs = at.UnixMilli()
		pages[key] = append(pages[key], batch)
	}
	for key, batches := range pages {
		err := l.writer.write(ctx, key, func(p *taplinev1.LedgerPage) {
			for _, b := range batches {
				p.Lost = putBatch(p.GetLost(), b)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lose counts what a job lost, and makes its window a range that is lost.
func (b *Report) lose(row *Row) {
	var from string
	var at int64
	for _, l := range between(b.lost, row.First, row.Marker) {
		switch {
		case l.GetFeed() != string(row.Feed) || b.reached(l):
			continue
		case l.GetEventSequence() > 0:
			from = bus.StreamEvents
		case !row.Made:
			from = bus.StreamRaw
		default:
			continue
		}
		row.Lost += l.GetEvents()
		at = max(at, l.GetAtMs())
	}
	if from == "" {
		return
	}
	b.Ranges = append(b.Ranges, Range{
		Window: row.Job.Window, State: taplinev1.WindowState_WINDOW_STATE_LOST, Feeds: []feed.Feed{row.Feed},
		Reason: fmt.Sprintf("read, but %d rows left %s before they were delivered: too old, or purged", row.Lost, from), At: time.UnixMilli(at).UTC(), Undelivered: true,
	})
}

// reached reports whether the rows of a batch that left EVENTS reached the sink all the same: late,
// or reprocessed.
func (b *Report) reached(l *taplinev1.BatchRecord) bool {
	return has(b.sent, l) || slices.ContainsFunc(between(b.resent, l.GetRawSequence(), l.GetRawSequence()+1), func(s *taplinev1.BatchRecord) bool {
		return s.GetRemade() && s.GetTable() == l.GetTable()
	})
}

// Lost lists what of a feed was given up: ranges, and windows of single jobs. What was read
// afterwards is not lost, but for rows that left a stream: the records are known, so another
// reading does not bring them back.
func (b *Report) Lost(f feed.Feed) []Range {
	var lost []Range
	add := func(r Range, since time.Time) {
		for _, w := range r.Missing(b.readSince(f, r.Window, since)) {
			r.Window = w
			lost = append(lost, r)
		}
	}
	for i := range b.Rows { // when a job was given up is not known, and it had not read its window
		if r := &b.Rows[i]; r.Feed == f && r.State == taplinev1.WindowState_WINDOW_STATE_LOST {
			add(Range{Window: r.Job.Window, State: r.State, Feeds: []feed.Feed{f}, Reason: r.Reason}, time.Time{})
		}
	}
	for _, r := range b.Ranges {
		if slices.Contains(r.Feeds, f) && r.State == taplinev1.WindowState_WINDOW_STATE_LOST {
			if r.Undelivered {
				lost = append(lost, r)
				continue
			}
			add(r, r.At)
		}
	}
	return lost
}

// readSince lists what of a window of a feed was read after an instant.
func (b *Report) readSince(f feed.Feed, w window.Window, since time.Time) (spans []window.Window) {
	first, _ := slices.BinarySearchFunc(b.Rows, w.Start.Add(-window.MaxSpan), func(r Row, at time.Time) int {
		if r.Job.Window.Start.Before(at) {
			return -1
		}
		return 1
	})
	for i := first; i < len(b.Rows) && b.Rows[i].Job.Window.Start.Before(w.End); i++ {
		if r := &b.Rows[i]; r.Feed == f && r.State == taplinev1.WindowState_WINDOW_STATE_FETCHED && r.Fetched.After(since) {
			spans = append(spans, r.Read())
		}
	}
	return spans
}
