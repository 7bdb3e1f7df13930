package simulate

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
)

// Options of a world.
type Options struct {
	Sim        tapsim.Config // its clock is the world's
	Start      time.Time     // when the collector is started first
	Age        time.Duration // how far back it begins
	Poll       time.Duration
	Sweeps     []time.Duration
	Step       time.Duration // how often each process looks
	Schedulers int
	Fetchers   int
	Response   time.Duration // what a call takes
	Delivery   time.Duration // from the end of a call to the confirmation by the sink
}

// World is the collector and its surroundings. The exported fields may be changed
// between two calls of Run.
type World struct {
	Skew  time.Duration // of the collector's clock against Proofpoint's
	Ahead time.Duration // of the schedulers' clock against the collector's, which they know nothing of
	Down  bool          // Proofpoint answers 503
	Slow  time.Duration // what a call takes on top
	Off   bool          // no process of the collector runs
	Sim   *tapsim.Sim
	Plans *taplinev1.PlanState

	Deliveries map[string][]time.Time // by natural key, when they were confirmed
	Revised    map[string]int         // of these, how many had the content of the revision
	Calls      []Call
	Sealed     map[feed.Feed][]window.Window
	Lost       map[feed.Feed][]window.Window
	Problems   []string // what must not happen, as it happened
	External   []time.Time
	Vain       int       // how often a window was set aside
	BackfillAt time.Time // when backfill was done; zero until then

	o        Options
	cfg      plan.Config
	now      time.Time
	book     *quota.Limiter
	seen     map[[2]uint64]bool
	hasher   *identity.Hasher
	planned  map[string]bool
	outcomes map[string]*taplinev1.JobRecord
	queue    []*order
	workers  []*worker
	cadence  time.Duration
}

// Call is one call to Proofpoint.
type Call struct {
	At      time.Time
	Pool    feed.Pool
	Lane    taplinev1.Lane
	Window  window.Window
	Status  int
	Cadence time.Duration // what the planner meant at the time
	Left    int           // calls that were left before it
}

// New makes a world that has not begun.
func New(o Options) (*World, error) {
	w := &World{
		Deliveries: make(map[string][]time.Time), Revised: make(map[string]int), Sealed: make(map[feed.Feed][]window.Window), Lost: make(map[feed.Feed][]window.Window),
		o: o, now: o.Start, seen: make(map[[2]uint64]bool), hasher: identity.NewHasher(), planned: make(map[string]bool),
		outcomes: make(map[string]*taplinev1.JobRecord),
	}
	w.cfg = plan.Config{
		Tenant: "main", Set: feed.SIEM(), Start: o.Start.Add(-o.Age), Poll: o.Poll, Settings: plan.Settings{Margin: 5 * time.Second, Overlap: 5 * time.Minute, Sweeps: o.Sweeps},
	}
	o.Sim.Clock = func() time.Time { return w.now }
	sim, err := tapsim.New(o.Sim)
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	w.Sim = sim
	units := make(memory)
	for _, seed := range quota.Seeds("main") {
		units[seed.Key] = bus.Entry{Revision: 1}
	}
	limits := quota.Config{SIEM: o.Sim.LimitSIEM, SIEMPermitted: o.Sim.LimitPermitted, Margin: 2 * time.Minute}
	w.book = quota.NewLimiter(units, "main", limits, w.local)
	for range o.Fetchers {
		for _, lane := range []taplinev1.Lane{taplinev1.Lane_LANE_LIVE, taplinev1.Lane_LANE_SWEEP, taplinev1.Lane_LANE_BACKFILL} {
			w.workers = append(w.workers, &worker{w: w, lane: lane})
		}
		w.workers = append(w.workers, &worker{w: w, aside: true})
	}
	return w, nil
}

// Now is Proofpoint's clock.
func (w *World) Now() time.Time { return w.now }

// local is the clock of the collector's host.
func (w *World) local() time.Time { return w.now.Add(w.Skew) }

// Run lets time pass.
func (w *World) Run(ctx context.Context, d time.Duration) error {
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(w.o.Step) {
		if w.Off {
			continue
		}
		for range w.o.Schedulers {
			if err := w.advance(ctx); err != nil {
				return err
			}
		}
		for _, worker := range w.workers {
			if err := worker.step(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Others makes calls with the same credential that the collector knows nothing of.
func (w *World) Others(ctx context.Context, n int) {
	for range n {
		at := window.New(w.now.Add(-2*time.Minute).Truncate(time.Minute), w.now.Add(-time.Minute).Truncate(time.Minute))
		if status, _ := w.get(ctx, feed.SIEMAll.Path, at); status == http.StatusOK {
			w.External = append(w.External, w.now)
		}
	}
}

// Kill ends what fetchers have in hand. With stored, their results are durable and
// their jobs are not acknowledged, as when the end comes between the two.
func (w *World) Kill(stored bool) {
	for _, worker := range w.workers {
		worker.kill(stored)
	}
}

// advance is one look of one scheduler. It plans on a copy, as the real one does.
func (w *World) advance(ctx context.Context) error {
	state := plan.Start(w.cfg, w.local().Add(w.Ahead))
	if w.Plans != nil {
		state = proto.CloneOf(w.Plans)
	}
	for _, j := range plan.Offered(state) {
		if o := w.outcomes[j.GetId()]; o != nil {
			state.SkewMs = o.GetSkewMs()
		}
	}
	supply, err := w.book.Forecast(ctx, feed.PoolSIEM)
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	local, skew := w.local().Add(w.Ahead), max(time.Duration(state.GetSkewMs())*time.Millisecond, 0)
	out := plan.Step(w.cfg, state, plan.Input{ // as the scheduler believes clocks
		Now: local.Add(-min(skew, time.Hour)), Earliest: local.Add(-skew), Outcomes: w.outcomes, Supply: &supply,
	})
	w.cadence = out.Cadence
	w.note(w.Sealed, out.Sealed)
	for _, r := range out.Lost {
		for _, f := range r.Feeds {
			w.lose(feed.Feed(f), r.Window)
		}
	}
	if out.Dropped != nil && w.now.Sub(w.o.Start) > 2*24*time.Hour {
		w.problem("%s is dropped, and was owed", out.Dropped.Window)
	}
	w.Plans = state
	for _, j := range out.New {
		if w.planned[j.GetId()] {
			w.problem("%s is planned twice", j.GetId())
		}
		w.planned[j.GetId()] = true
	}
	for _, j := range plan.Offered(state) {
		w.publish(j)
	}
	if w.BackfillAt.IsZero() && !w.backfilling() {
		w.BackfillAt = w.now
	}
	return nil
}

func (w *World) backfilling() bool {
	if w.Plans.GetBackfillNext().AsTime().Before(w.Plans.GetBackfillEnd().AsTime()) {
		return true
	}
	for _, j := range w.Plans.GetOutstanding() {
		if j.GetLane() == taplinev1.Lane_LANE_BACKFILL {
			return true
		}
	}
	return false
}

func (w *World) note(book map[feed.Feed][]window.Window, ranges []plan.Range) {
	for _, r := range ranges {
		for _, f := range r.Feeds {
			book[feed.Feed(f)] = append(book[feed.Feed(f)], r.Window)
		}
	}
}

// lose records what is given up. What is still served is not lost, whatever was answered.
func (w *World) lose(f feed.Feed, span window.Window) {
	const early = 30 * time.Minute // the planner stays away from the edge
	w.Lost[f] = append(w.Lost[f], span)
	if span.Start.After(w.now.Add(early - window.Lookback)) {
		w.problem("%s of %s is called lost, and is served", span, f)
	}
}

func (w *World) problem(format string, args ...any) {
	w.Problems = append(w.Problems, w.now.Format(time.RFC3339)+": "+fmt.Sprintf(format, args...))
}

// memory is the bucket QUOTA.
type memory map[string]bus.Entry

// Get reads a key.
func (m memory) Get(_ context.Context, key string) (bus.Entry, error) {
	e, ok := m[key]
	if !ok {
		return bus.Entry{}, bus.ErrNotFound
	}
	return e, nil
}

// Update compares the revision and sets.
func (m memory) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if m[key].Revision != revision {
		return 0, bus.ErrConflict
	}
	m[key] = bus.Entry{Value: value, Revision: revision + 1}
	return revision + 1, nil
}
