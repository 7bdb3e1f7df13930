package overview

import (
	"context"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Gap is time of a feed that was not read.
type Gap struct {
	Feed   feed.Feed `json:"feed"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	State  string    `json:"state"` // waiting, lost or missing
	Reason string    `json:"reason,omitempty"`
}

// The states of a [Gap].
const (
	Waiting = "waiting"
	Lost    = "lost"
	Missing = "missing"
)

const (
	// kept is how far back the ledger is looked at; it keeps 90 days.
	kept = 89 * 24 * time.Hour
	// lately is how far back a status looks: what Proofpoint serves can still change, older time cannot.
	lately = 9 * 24 * time.Hour
)

// Gaps lists what was not read from the first window to the head of live reading, by
// feed and time.
func (r *Reader) Gaps(ctx context.Context) ([]Gap, error) {
	sets, err := r.sets(ctx)
	if err != nil {
		return nil, err
	}
	from := r.first(sets, kept)
	book, err := r.Ledger.Load(ctx, r.tenant, from, r.now().Add(time.Hour))
	if err != nil {
		return nil, err
	}
	return gaps(sets, book, from), nil
}

// first is where collection began, or back before now.
func (r *Reader) first(sets []set, back time.Duration) time.Time {
	from := r.now()
	for _, s := range sets {
		if start := s.plan.GetStart().AsTime(); start.Before(from) {
			from = start
		}
	}
	return later(from, r.now().Add(-back)).UTC()
}

// gaps lists what was not read since an instant from which on the book is complete.
func gaps(sets []set, book *ledger.Book, from time.Time) []Gap {
	var all []Gap
	for _, s := range sets {
		whole := window.New(later(from, s.plan.GetStart().AsTime()), s.head)
		for _, f := range s.Set {
			all = append(all, s.gapsOf(f, whole, book)...)
		}
	}
	slices.SortStableFunc(all, func(a, b Gap) int {
		if a.Feed != b.Feed {
			return slices.Index(feed.All(), a.Feed) - slices.Index(feed.All(), b.Feed)
		}
		return a.From.Compare(b.From)
	})
	return all
}

func (s set) gapsOf(f feed.Feed, whole window.Window, book *ledger.Book) []Gap {
	var gaps []Gap
	rest := []window.Window{whole}
	// take moves what o shares with the rest into the gaps.
	take := func(o window.Window, state, reason string) {
		var left []window.Window
		for _, w := range rest {
			if part := w.Within(o); !part.Empty() {
				gaps = append(gaps, Gap{f, part.Start, part.End, state, reason})
			}
			left = append(left, w.Missing([]window.Window{o})...)
		}
		rest = left
	}
	for _, r := range book.Ranges { // whether it was read before or not
		if r.State == taplinev1.WindowState_WINDOW_STATE_LOST && slices.Contains(r.Feeds, f) {
			take(r.Window, Lost, r.Reason)
		}
	}
	read := book.Covered(f, taplinev1.WindowState_WINDOW_STATE_FETCHED)
	var unread []window.Window
	for _, w := range rest {
		unread = append(unread, w.Missing(read)...)
	}
	rest = unread
	take(window.New(s.restFrom, s.restTo), Waiting, "for backfill")
	for _, j := range s.plan.GetOutstanding() {
		if slices.Contains(j.GetFeeds(), string(f)) {
			take(window.New(j.GetWindow().GetStart().AsTime(), j.GetWindow().GetEnd().AsTime()), Waiting, "job "+j.GetId())
		}
	}
	for _, lost := range book.Lost(f) {
		take(lost.Window, Lost, lost.Reason)
	}
	for _, w := range rest {
		gaps = append(gaps, Gap{f, w.Start, w.End, Missing, "nobody works on it"})
	}
	return merged(gaps)
}

// merged joins neighbours that have the same to say.
func merged(gaps []Gap) []Gap {
	slices.SortFunc(gaps, func(a, b Gap) int { return a.From.Compare(b.From) })
	var out []Gap
	for _, g := range gaps {
		if n := len(out); n > 0 && out[n-1].To.Equal(g.From) && out[n-1].State == g.State && out[n-1].Reason == g.Reason {
			out[n-1].To = g.To
			continue
		}
		out = append(out, g)
	}
	return out
}

// Report is what [Reader.Verify] finds.
type Report struct {
	From       time.Time          `json:"from"`
	To         time.Time          `json:"to"`
	Windows    int                `json:"windows"` // entries looked at, one for each job and feed
	Records    int64              `json:"records"` // published
	Rows       int64              `json:"rows"`    // made of them
	Confirmed  int64              `json:"confirmed"`
	Pending    int64              `json:"pending"`
	Resent     int64              `json:"resent"` // rows that replays sent once more
	Remade     Remade             `json:"remade"`
	Violations []ledger.Violation `json:"violations"`
	Gaps       []Gap              `json:"gaps"` // lost and missing
}

// Remade is rows that were made again by reprocessing. They stand beside the others.
type Remade struct {
	Rows      int64 `json:"rows"`
	Confirmed int64 `json:"confirmed"`
}

// Good reports whether nothing is lost, missing, or wrong.
func (r *Report) Good() bool { return len(r.Violations) == 0 && len(r.Gaps) == 0 }

// Verify checks the whole ledger.
func (r *Reader) Verify(ctx context.Context) (*Report, error) {
	sets, err := r.sets(ctx)
	if err != nil {
		return nil, err
	}
	from := r.first(sets, kept)
	book, err := r.Ledger.Load(ctx, r.tenant, from, r.now().Add(time.Hour))
	if err != nil {
		return nil, err
	}
	report := &Report{From: from, To: r.now().UTC(), Windows: len(book.Rows), Violations: book.Violations()}
	for i := range book.Rows {
		row := &book.Rows[i]
		report.Records += row.Published
		report.Rows += row.Events
		report.Confirmed += row.Confirmed
		report.Pending += row.Pending()
		report.Resent += row.Resent
		report.Remade.Rows += row.Remade
		report.Remade.Confirmed += row.Redelivered
	}
	report.Violations = append([]ledger.Violation{}, report.Violations...) // never null in JSON
	report.Gaps = append([]Gap{}, slices.DeleteFunc(gaps(sets, book, from), func(g Gap) bool { return g.State == Waiting })...)
	return report, nil
}
