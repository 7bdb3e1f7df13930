package ledger

import (
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Delivered lists the windows of a feed whose records are all confirmed or dead, and counts the
// records that are not. What a first reading found and is on its way is not done because a later
// window reaches back over it and found it known.
func (b *Report) Delivered(f feed.Feed) (done []window.Window, pending int64) {
	var first, busy []window.Window // readings that are no sweeps: those find what was late
	for i := range b.Rows {
		r := &b.Rows[i]
		if r.Feed != f || r.State != taplinev1.WindowState_WINDOW_STATE_FETCHED {
			continue
		}
		n, sweep := r.Pending(), r.Job.Lane == taplinev1.Lane_LANE_SWEEP
		if !sweep {
			first = append(first, r.Read())
		}
		switch {
		case n <= 0:
			done = append(done, r.Read())
		case !sweep:
			busy = append(busy, r.Read())
		}
		pending += max(n, 0)
	}
	if len(busy) == 0 {
		return done, pending
	}
	slices.SortFunc(first, func(x, y window.Window) int { return x.End.Compare(y.End) })
	for i := range busy {
		busy[i] = own(busy[i], first)
	}
	var left []window.Window
	for _, w := range done {
		left = append(left, w.Missing(busy)...)
	}
	return left, pending
}

// own is what a reading read first: not what it reaches back over, up to the end of the one before
// it.
func own(w window.Window, sorted []window.Window) window.Window {
	i, _ := slices.BinarySearchFunc(sorted, w.End, func(o window.Window, end time.Time) int { return o.End.Compare(end) })
	if i > 0 && sorted[i-1].End.After(w.Start) {
		w.Start = sorted[i-1].End
	}
	return w
}

// Fresh is up to when everything of a feed in w is confirmed, dead or lost, and how many records
// are on their way.
func (b *Report) Fresh(f feed.Feed, w window.Window) (upTo time.Time, pending int64) {
	done, pending := b.Delivered(f)
	done = append(done, b.Covered(f, taplinev1.WindowState_WINDOW_STATE_LOST)...)
	if open := w.Missing(done); len(open) > 0 {
		return open[0].Start, pending
	}
	return w.End, pending
}
