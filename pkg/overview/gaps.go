package overview

import (
	"cmp"
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
	State  string    `json:"state"` // lost, missing, unproven, waiting or off
	Reason string    `json:"reason,omitempty"`
	// Undelivered says that it was read, and is lost since rows left a stream before the sink had
	// them.
	Undelivered bool `json:"undelivered,omitempty"`

	Since time.Time `json:"since,omitzero"` // of what is unproven: when it was asked for in vain first
}

// The states of a [Gap].
const (
	Lost      = "lost"
	Missing   = "missing"
	NotProven = "unproven"
	Waiting   = "waiting"
	Off       = "off" // the feed is switched off, or was
)

// wanted reports whether an operator should learn of a gap.
func (g *Gap) wanted() bool { return g.State != Waiting && g.State != Off }

// worst orders the states, the worst first.
func worst(state string) int {
	return slices.Index([]string{Lost, Missing, NotProven, Waiting, Off}, state)
}

const (
	// kept is how far back the ledger is looked at; it keeps 90 days.
	kept = 89 * 24 * time.Hour
	// lately is how far back a status looks: what Proofpoint serves can still change, older time
	// cannot.
	lately = 9 * 24 * time.Hour
)

// Gaps lists what was not read from the first window to the head of live reading: what is lost
// first, then what is missing, unproven, or waits; each by feed and time.
//
// looked reports whether there is a plan to compare the ledger with: without one nothing can be
// missing.
func (r *Reader) Gaps(ctx context.Context) (found []Gap, looked bool, err error) {
	sets, err := r.sets(ctx)
	if err != nil {
		return nil, false, err
	}
	from := r.first(sets, kept)
	sums, err := r.Ledger.Load(ctx, r.tenant, from, r.now().Add(time.Hour))
	if err != nil {
		return nil, false, err
	}
	return gaps(sets, sums, from), len(sets) > 0, nil
}

// first is where collection began, or back before now. Without a plan of windows the beginning is
// unknown.
func (r *Reader) first(sets []set, back time.Duration) time.Time {
	from := r.now()
	if len(sets) == 0 {
		return from.Add(-back).UTC()
	}
	for _, s := range sets {
		if start := s.plan.GetStart().AsTime(); start.Before(from) {
			from = start
		}
	}
	return later(from, r.now().Add(-back)).UTC()
}

// gaps lists what was not read since an instant from which on the book is complete.
func gaps(sets []set, sums *ledger.Report, from time.Time) []Gap {
	var all []Gap
	for _, s := range sets {
		whole := window.New(later(from, s.plan.GetStart().AsTime()), s.head)
		for _, f := range s.feeds() {
			all = append(all, s.gapsOf(f, whole, sums)...)
		}
	}
	slices.SortStableFunc(all, func(a, b Gap) int {
		return cmp.Or(worst(a.State)-worst(b.State), slices.Index(feed.All(), a.Feed)-slices.Index(feed.All(), b.Feed), a.From.Compare(b.From))
	})
	return all
}

func (s set) gapsOf(f feed.Feed, whole window.Window, sums *ledger.Report) []Gap {
	var gaps []Gap
	rest := []window.Window{whole}
	// take moves what o shares with the others into the gaps.
	take := func(o window.Window, state, reason string, since time.Time) {
		var left []window.Window
		for _, w := range rest {
			if part := w.Within(o); !part.Empty() {
				gaps = append(gaps, Gap{Feed: f, From: part.Start, To: part.End, State: state, Reason: reason, Since: since})
			}
			left = append(left, w.Missing([]window.Window{o})...)
		}
		rest = left
	}
	debts := s.debts(f)
	for _, lost := range sums.Lost(f) { // whether it was read before or not; what was ordered once more waits
		for _, d := range debts {
			if d.state != Off {
				take(lost.Within(d.window), d.state, d.reason, d.since)
			}
		}
		known := len(gaps)
		take(lost.Window, Lost, lost.Reason, time.Time{})
		for i := known; i < len(gaps); i++ {
			gaps[i].Undelivered = lost.Undelivered
		}
	}
	read := sums.Covered(f, taplinev1.WindowState_WINDOW_STATE_FETCHED)
	var unread []window.Window
	for _, w := range rest {
		unread = append(unread, w.Missing(read)...)
	}
	rest = unread
	for _, d := range debts {
		take(d.window, d.state, d.reason, d.since)
	}
	for _, w := range rest {
		gaps = append(gaps, Gap{Feed: f, From: w.Start, To: w.End, State: Missing, Reason: "no job covers it"})
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
