package overview

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Status is one look at everything.
type Status struct {
	Tenant   string     `json:"tenant"`
	At       time.Time  `json:"at"`
	Verdict  Verdict    `json:"verdict"`
	Programs []Program  `json:"programs"`
	Feeds    []Feed     `json:"feeds"`
	Others   []Delivery `json:"others"`
	Lanes    []Lane     `json:"lanes"`
	Lists    []List     `json:"lists"`
	Expand   Expansion  `json:"expansion"`
	Pools    []Pool     `json:"pools"`
	Streams  []Stream   `json:"streams"`
	Sink     Sink       `json:"sink"`
	Replays  []Replay   `json:"replays"` // not over
	Unproven []Unproven `json:"unproven"`
	Learned  Learned    `json:"learned"`
	Gaps     []Gap      `json:"gaps"` // lost, missing and unproven in the last nine days
	Alarms   []Alarm    `json:"alarms"`
	// Violations is in how many places the account of the last nine days does not add up.
	Violations int `json:"violations"`
	// Unreadable names keys of STATE and LEDGER that cannot be read, with the reason. All else is
	// shown without them.
	Unreadable []string `json:"unreadable"`
}

// Feed is how far one feed is.
type Feed struct {
	Feed      feed.Feed `json:"feed"`
	Read      time.Time `json:"read"`      // end of the last window whose records are stored; zero if none is
	Confirmed time.Time `json:"confirmed"` // everything of live reading before it is at the sink, dead, lost or unproven; zero if nothing is
	Sealed    time.Time `json:"sealed"`    // everything before it is sealed or lost
	Pending   int64     `json:"pending"`   // records on their way
	Backfill  float64   `json:"backfill_hours"`
	EdgeHours float64   `json:"edge_hours"` // until something unread is no longer served
}

// Delivery is how far a feed is that is not read by windows.
type Delivery struct {
	Feed      feed.Feed `json:"feed"`
	Read      time.Time `json:"read"`      // last answer stored, of the last nine days
	Delivered time.Time `json:"delivered"` // last rows confirmed
	Pending   int64     `json:"pending"`
}

// Lane is what waits for fetchers.
type Lane struct {
	Lane        string `json:"lane"`
	Outstanding int    `json:"outstanding"` // planned, not known to be done
	Waiting     uint64 `json:"waiting"`     // on the bus, without a consumer that has it
	InWork      int    `json:"in_work"`
}

// Pool is a pool of calls. Limit 0 is no limit.
type Pool struct {
	quota.Status
	Left     int `json:"left"`
	NextHour int `json:"next_hour"` // units that come back within an hour
}

// Sink is how delivery goes.
type Sink struct {
	Waiting uint64    `json:"waiting"` // batches
	InWork  int       `json:"in_work"`
	Last    time.Time `json:"last_confirmed"`
}

// Alarm is one alarm that holds.
type Alarm struct {
	Name   string    `json:"name"`
	Stage  string    `json:"stage"`
	Since  time.Time `json:"since"`
	Detail string    `json:"detail"`
}

// Status looks at everything.
func (r *Reader) Status(ctx context.Context) (*Status, error) {
	s := &Status{Tenant: r.tenant, At: r.now().UTC(), Feeds: []Feed{}, Others: []Delivery{}, Programs: []Program{}, Lists: []List{}, Replays: []Replay{}, Unproven: []Unproven{}, Gaps: []Gap{}, Alarms: []Alarm{}, Learned: Learned{Shapes: []Shape{}}}
	sets, unreadable, err := r.readable(ctx)
	if err != nil {
		return nil, err
	}
	from := r.first(sets, lately)
	sums, err := r.Ledger.Load(ctx, r.tenant, from, r.now().Add(time.Hour))
	if err != nil {
		return nil, err
	}
	s.Unreadable = append(append([]string{}, unreadable...), sums.Unread()...)
	for _, g := range gaps(sets, sums, from) {
		if g.wanted() {
			s.Gaps = append(s.Gaps, g)
		}
	}
	for _, set := range sets {
		s.Feeds = append(s.Feeds, r.feeds(set, sums, from)...)
		s.lessons(set)
	}
	s.Others, s.Violations = others(sums), len(sums.Violations())
	if err := r.expansion(ctx, s); err != nil {
		return nil, err
	}
	for _, look := range []func(context.Context, *Status, []set) error{r.programs, r.shapes, r.lanes, r.pools, r.streams, r.replays, r.alarms} {
		if err := look(ctx, s, sets); err != nil {
			return nil, err
		}
	}
	s.judge()
	return s, nil
}

func (r *Reader) feeds(s set, sums *ledger.Report, first time.Time) []Feed {
	start := later(first, s.plan.GetStart().AsTime())
	live := window.New(later(first, s.restTo), s.head)
	if live.Empty() { // no live window is planned yet: what there is is the history
		live.Start = start
	}
	left, _, unread := plan.Edge(s.plan, r.now())
	var feeds []Feed
	for _, f := range s.Set {
		row := Feed{Feed: f, Read: lastRead(f, sums), EdgeHours: window.Lookback.Hours(), Backfill: max(s.restTo.Sub(s.restFrom).Hours(), 0)}
		if unread {
			row.EdgeHours = left.Hours()
		}
		row.Confirmed, row.Pending = s.confirmed(f, live, sums)
		row.Sealed = s.head
		done := sums.Covered(f, taplinev1.WindowState_WINDOW_STATE_SEALED, taplinev1.WindowState_WINDOW_STATE_LOST)
		if open := window.New(start, s.head).Missing(done); len(open) > 0 {
			row.Sealed = open[0].Start
		}
		feeds = append(feeds, row)
	}
	return feeds
}

// lastRead is the end of the last window of a feed whose records are stored.
func lastRead(f feed.Feed, sums *ledger.Report) (at time.Time) {
	for i := range sums.Rows {
		r := &sums.Rows[i]
		if r.Feed == f && r.State == taplinev1.WindowState_WINDOW_STATE_FETCHED && !r.Read().Empty() {
			at = later(at, r.Read().End)
		}
	}
	return at
}

// confirmed is up to when everything of live reading is confirmed, but for what is lost or
// unproven: those are listed. pending is how many records are on their way.
func (s set) confirmed(f feed.Feed, live window.Window, sums *ledger.Report) (upTo time.Time, pending int64) {
	done, pending := sums.Delivered(f)
	listed := append(sums.Covered(f, taplinev1.WindowState_WINDOW_STATE_LOST), s.unread(f)...)
	upTo = live.End
	if open := live.Missing(append(listed, done...)); len(open) > 0 {
		upTo = open[0].Start
	}
	some := slices.ContainsFunc(done, func(w window.Window) bool { return w.Meets(window.New(live.Start, upTo)) })
	if !some {
		return time.Time{}, pending
	}
	return upTo, pending
}

// others looks at the feeds that are not read by windows.
func others(sums *ledger.Report) []Delivery {
	found := []Delivery{}
	for _, f := range feed.All() {
		d := Delivery{Feed: f}
		for i := range sums.Rows {
			if r := &sums.Rows[i]; r.Feed == f && r.State == taplinev1.WindowState_WINDOW_STATE_FETCHED {
				d.Read, d.Delivered = later(d.Read, r.Fetched.UTC()), later(d.Delivered, r.Delivered)
				d.Pending += r.Pending()
			}
		}
		if !f.IsSIEM() && !d.Read.IsZero() {
			found = append(found, d)
		}
	}
	return found
}

func (r *Reader) lanes(ctx context.Context, s *Status, sets []set) error {
	for _, name := range job.Lanes() {
		lane := Lane{Lane: name}
		for _, consumer := range consumersOf(name) {
			backlog, err := r.src.Backlog(ctx, consumer)
			if err != nil {
				return fmt.Errorf("overview: %w", err)
			}
			lane.Waiting, lane.InWork = lane.Waiting+backlog.Waiting, lane.InWork+backlog.InWork
		}
		for _, set := range sets {
			for _, j := range set.plan.GetOutstanding() {
				if job.LaneName(j.GetLane()) == name {
					lane.Outstanding++
				}
			}
		}
		s.Lanes = append(s.Lanes, lane)
	}
	backlog, err := r.src.Backlog(ctx, bus.ConsumerShipper)
	if err != nil {
		return fmt.Errorf("overview: %w", err)
	}
	s.Sink = Sink{backlog.Waiting, backlog.InWork, backlog.LastDone}
	return nil
}

func (r *Reader) pools(ctx context.Context, s *Status, _ []set) (err error) {
	s.Pools, err = Pools(ctx, r.Quota, r.now())
	return err
}

// Pools looks at every pool.
func Pools(ctx context.Context, sums *quota.Limiter, now time.Time) ([]Pool, error) {
	var pools []Pool
	for _, name := range feed.Pools() {
		st, err := sums.Look(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("pool %s: %w", name, err)
		}
		f, err := sums.Forecast(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("pool %s: %w", name, err)
		}
		p := Pool{Status: st, Left: st.Left()}
		for _, back := range f.Returns {
			if back.At.Before(now.Add(time.Hour)) {
				p.NextHour += back.Units
			}
		}
		pools = append(pools, p)
	}
	return pools, nil
}

// alarms go by the wall clock, whatever the clock of the windows is.
func (r *Reader) alarms(ctx context.Context, s *Status, _ []set) error {
	alarms, err := alarm.Read(ctx, r.state, r.tenant, time.Now())
	if err != nil {
		return fmt.Errorf("overview: %w", err)
	}
	for _, a := range alarms {
		s.Alarms = append(s.Alarms, Alarm{a.GetName(), a.GetStage(), a.GetSince().AsTime(), a.GetDetail()})
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
