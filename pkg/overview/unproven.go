package overview

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Unproven is a window that was asked for, and no answer proves it read. It is asked for again.
type Unproven struct {
	Job      string    `json:"job"`
	Feeds    feed.Set  `json:"feeds"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Lane     string    `json:"lane"`
	Failures uint32    `json:"failures"` // times in a row that it was asked for in vain
	Since    time.Time `json:"since"`
	RetryAt  time.Time `json:"retry_at"`
	Reason   string    `json:"reason"` // the last answer
}

// Learned is what the answers of Proofpoint taught about it.
type Learned struct {
	// Lag is how far behind its clock Proofpoint serves, seconds; 0 if that was not noticed.
	Lag   float64   `json:"lag_seconds"`
	LagAt time.Time `json:"lag_at,omitzero"`
	// Shapes is what its answers lack and are believed all the same.
	Shapes []Shape `json:"shapes"`
}

// Shape is a piece of evidence that answers of this API never had, as two endpoints agree.
type Shape struct {
	Lacks string    `json:"lacks"`
	At    time.Time `json:"at"` // when it was learned
	Job   string    `json:"job"`
}

// shapes reads what was learned of the shape of answers.
func (r *Reader) shapes(ctx context.Context, s *Status, _ []set) error {
	entry, err := r.state.Get(ctx, "shape."+r.tenant)
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("overview: %w", err)
	}
	learned := &taplinev1.Shapes{}
	if err := wire.Unmarshal(entry.Value, learned); err != nil { // fetchers learn them anew
		s.Unreadable = append(s.Unreadable, "shape."+r.tenant+": "+err.Error())
		return nil //nolint:nilerr // it is reported
	}
	for _, l := range learned.GetLearned() {
		s.Learned.Shapes = append(s.Learned.Shapes, Shape{l.GetLacks(), l.GetAt().AsTime(), l.GetJobId()})
	}
	return nil
}

// asides lists the windows of a plan that are unproven.
func (s set) asides() []Unproven {
	var list []Unproven
	for _, a := range s.plan.GetAsides() {
		j := a.GetJob()
		u := Unproven{
			Job: j.GetId(), From: j.GetWindow().GetStart().AsTime(), To: j.GetWindow().GetEnd().AsTime(), Lane: job.LaneName(j.GetLane()),
			Failures: a.GetFailures(), Since: a.GetSince().AsTime(), RetryAt: a.GetRetryAt().AsTime(), Reason: a.GetReason(),
		}
		for _, f := range j.GetFeeds() {
			u.Feeds = append(u.Feeds, feed.Feed(f))
		}
		list = append(list, u)
	}
	return list
}

func (u Unproven) window() window.Window { return window.New(u.From, u.To) }

// unread lists what of a feed is unproven.
func (s set) unread(f feed.Feed) (spans []window.Window) {
	for _, u := range s.asides() {
		if slices.Contains(u.Feeds, f) {
			spans = append(spans, u.window())
		}
	}
	return spans
}

// debt is a span of time that a plan knows to be unread.
type debt struct {
	window        window.Window
	state, reason string
	since         time.Time
}

// debts lists what of a feed is unread, and where it is not collected.
func (s set) debts(f feed.Feed) (list []debt) {
	for _, d := range plan.Unread(s.plan) {
		switch {
		case !slices.Contains(d.Feeds, string(f)):
		case d.Aside == nil:
			list = append(list, debt{d.Window, Waiting, d.Reason, time.Time{}})
		default:
			reason := d.Reason
			if n := d.Aside.GetFailures(); n > 0 {
				reason = fmt.Sprintf("asked for %d times in vain: %s", n, reason)
			}
			list = append(list, debt{d.Window, NotProven, reason, d.Aside.GetSince().AsTime()})
		}
	}
	for _, o := range s.plan.GetOffs() {
		if o.GetFeed() == string(f) {
			end := s.head
			if o.GetEnd() != nil {
				end = o.GetEnd().AsTime()
			}
			list = append(list, debt{window.New(o.GetStart().AsTime(), end), Off, o.GetReason(), time.Time{}})
		}
	}
	return list
}

// feeds are those of the plan, and those that it knows to be switched off.
func (s set) feeds() []feed.Feed {
	feeds := slices.Clone(s.Set)
	for _, o := range s.plan.GetOffs() {
		if f := feed.Feed(o.GetFeed()); !slices.Contains(feeds, f) {
			feeds = append(feeds, f)
		}
	}
	return feeds
}

// lessons takes over what one plan has learned.
func (s *Status) lessons(one set) {
	s.Unproven = append(s.Unproven, one.asides()...)
	if lag := float64(one.plan.GetLagMs()) / 1000; lag > s.Learned.Lag {
		s.Learned.Lag, s.Learned.LagAt = lag, one.plan.GetLagAt().AsTime()
	}
}
