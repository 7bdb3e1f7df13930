package ladder_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/services/fetcher/internal/ladder"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
)

const (
	limit    = 1800 // of pool siem
	fetchers = 3
)

// answer is what the API says to one call: the class of the failure, or served.
type answer struct {
	class  ladder.Class
	served bool
	excess bool // of malformed entries: the window is cut if the share allows it
}

var good = answer{served: true}

// world is a scheduler, some fetchers and an API, by a clock that jumps from second to second.
type world struct {
	now      time.Time
	api      func(path string, w window.Window) answer
	fetchers []*fetcher
	pool     *quota.State
	lanes    map[string][]*order
	asides   []*order
	failed   []time.Time // calls
	read     map[string]int
	live     time.Time // head
	old      time.Time // next of backfill
}

// fetcher is what one process knows.
type fetcher struct {
	*world
	ladder   *ladder.Ladder
	breakers *pace.Breakers
	detour   bool // others answer what the usual endpoint does not
}

// order is a window in a lane, or set aside.
type order struct {
	w        window.Window
	lane     string
	due      time.Time
	failures int
	aside    bool
}

func (o *order) id() string { return o.lane + o.w.String() }

var laneNames = []string{"live", "sweep", "backfill", "aside"}

func newWorld(t *testing.T, fetchers int, api func(path string, w window.Window) answer) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC), api: api, lanes: make(map[string][]*order), read: make(map[string]int)}
	pool, err := quota.Decode(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.pool = pool
	now, same := func() time.Time { return w.now }, func(d time.Duration) time.Duration { return d }
	for range fetchers {
		w.fetchers = append(w.fetchers, &fetcher{
			world: w, ladder: ladder.New(now), breakers: pace.NewBreakers(now, same),
		})
	}
	w.live, w.old = w.now, w.now.Add(-7*24*time.Hour)
	return w
}

// run lets hours pass.
func (w *world) run(hours int) {
	for range hours * 3600 {
		w.plan()
		for _, f := range w.fetchers {
			f.turn()
		}
		w.now = w.now.Add(time.Second)
	}
}

// plan fills the lanes as package plan does.
func (w *world) plan() {
	if len(w.lanes["live"]) < 2 && w.now.Sub(w.live) >= time.Minute {
		end := w.now
		if end.Sub(w.live) > time.Hour {
			end = w.live.Add(time.Hour)
		}
		w.add(&order{w: window.New(w.live, end), lane: "live"})
		w.live = end
	}
	for len(w.lanes["backfill"]) < 4 && w.old.Before(w.now.Add(-time.Hour)) {
		w.add(&order{w: window.New(w.old, w.old.Add(time.Hour)), lane: "backfill"})
		w.old = w.old.Add(time.Hour)
	}
	if w.now.Minute()%20 == 0 && w.now.Second() == 0 {
		end := w.now.Add(-35 * time.Minute)
		w.add(&order{w: window.New(end.Add(-time.Hour), end), lane: "sweep"})
	}
	for _, o := range w.asides {
		if !o.aside && !o.due.After(w.now) && len(w.lanes["aside"]) < 2 {
			o.aside = true
			w.lanes["aside"] = append(w.lanes["aside"], o)
		}
	}
	w.asides = slices.DeleteFunc(w.asides, func(o *order) bool { return o.aside })
}

func (w *world) add(o *order) { w.lanes[o.lane] = append(w.lanes[o.lane], o) }

// turn lets each lane look at its first window that is due.
func (f *fetcher) turn() {
	for _, lane := range laneNames {
		i := slices.IndexFunc(f.lanes[lane], func(o *order) bool { return !o.due.After(f.now) })
		if i < 0 {
			continue
		}
		o := f.lanes[lane][i]
		f.lanes[lane] = slices.Delete(f.lanes[lane], i, i+1)
		f.try(lane, o)
	}
}

// try makes the calls for a window, as services/fetcher does.
func (f *fetcher) try(lane string, o *order) {
	shared := pace.Shared(limit)
	if o.aside && shared.Scant(f.pool.Debt(f.now, shared)) {
		f.wait(lane, o, time.Minute)
		return
	}
	usual := pace.Key{Lane: lane, Endpoint: feed.SIEMAll.Path}
	if first, second, ok := o.w.Halves(); ok && f.ladder.TooLong(usual.Endpoint, o.w.Span()) {
		f.add(&order{w: first, lane: o.lane})
		f.add(&order{w: second, lane: o.lane})
		return
	}
	paths := []string{usual.Endpoint}
	if f.ladder.ByOthers(o.id(), o.failures) || (f.detour && f.breakers.Wait(usual) > 0) {
		paths = nil
		for _, name := range feed.SIEM() {
			paths = append(paths, feed.Set{name}.Endpoint().Path)
		}
	}
	for _, path := range paths {
		if wait := f.breakers.Wait(pace.Key{Lane: lane, Endpoint: path}); wait > 0 {
			f.wait(lane, o, min(wait, time.Minute))
			return
		}
	}
	excess := false
	way := pace.Key{Lane: lane, Endpoint: paths[0]}
	likely, charged := o.aside || f.breakers.Open(way) || f.ladder.Tried(o.id()), false
	if likely {
		var wait time.Duration
		if charged, wait = f.pool.Probe(f.now, shared); wait > 0 {
			if f.breakers.Open(way) {
				f.breakers.Defer(way, min(wait, time.Minute))
			}
			f.wait(lane, o, min(wait, time.Minute))
			return
		}
	}
	for _, path := range paths {
		asked := f.ladder.Widened(path, o.w)
		a := f.api(path, asked)
		key := pace.Key{Lane: lane, Endpoint: path}
		if !a.served {
			if !charged {
				f.pool.Failed(f.now, shared)
			}
			f.fail(lane, o, call{path, asked}, a)
			return
		}
		if charged {
			f.pool.Recovered(f.now, shared, false)
			charged = false
		}
		excess = excess || a.excess
		f.ladder.Served(path, asked)
		f.breakers.Served(key)
	}
	f.detour = len(paths) > 1
	f.ladder.Done(o.id())
	if first, second, ok := o.w.Halves(); ok && excess && !shared.Scant(f.pool.Debt(f.now, shared)) {
		f.pool.Failed(f.now, shared)
		f.failed = append(f.failed, f.now)
		f.add(&order{w: first, lane: o.lane})
		f.add(&order{w: second, lane: o.lane})
		return
	}
	f.read[o.lane]++
}

// call is a window as it is asked for.
type call struct {
	path  string
	asked window.Window
}

func (f *fetcher) fail(lane string, o *order, c call, a answer) {
	f.failed = append(f.failed, f.now)
	first, second, halves := o.w.Halves()
	shared := pace.Shared(limit)
	d := f.ladder.Failed(ladder.Failure{
		ID: o.id(), Path: c.path, Window: o.w, Asked: c.asked.Span(), Class: a.class, Divisible: halves, Carried: o.failures, Aside: o.aside, ByOthers: c.path != feed.SIEMAll.Path,
		Spent: shared.Scant(f.pool.Debt(f.now, shared)),
	})
	curve, spent := pace.CurveOf(lane, limit), time.Duration(0)
	if d.Serving {
		spent = shared.Wait(f.pool.Debt(f.now, shared))
		curve = curve.Brief(spent)
	}
	wait, _ := f.breakers.Failed(pace.Key{Lane: lane, Endpoint: c.path}, pace.Failure{Curve: curve, Odd: a.class >= ladder.Odd})
	switch d.Step {
	case ladder.Split:
		f.ladder.Done(o.id())
		f.add(&order{w: first, lane: o.lane})
		f.add(&order{w: second, lane: o.lane})
	case ladder.Aside:
		f.ladder.Done(o.id())
		again := min(time.Minute<<min(d.Failures-3, 6), time.Hour)
		f.asides = append(f.asides, &order{w: o.w, lane: o.lane, failures: d.Failures, due: f.now.Add(again)})
	default:
		f.wait(lane, o, min(max(wait, spent), time.Minute))
	}
}

func (w *world) wait(lane string, o *order, d time.Duration) {
	o.due = w.now.Add(d)
	w.lanes[lane] = append(w.lanes[lane], o)
}

// worst is the most calls that failed within an hour.
func (w *world) worst() (most int) {
	for i, from := range w.failed {
		n := 0
		for _, at := range w.failed[i:] {
			if at.Sub(from) < time.Hour {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// TestNoAnswerCostsATwentiethOfThePool in an hour, however Proofpoint answers, on one path or on
// all, about all windows, those of one hour or the one with a certain instant. What it answers well
// is read meanwhile.
func TestNoAnswerCostsATwentiethOfThePool(t *testing.T) {
	t.Parallel()
	bad := window.New(time.Date(2026, 3, 10, 20, 0, 0, 0, time.UTC), time.Date(2026, 3, 10, 21, 0, 0, 0, time.UTC))
	instant := window.New(bad.Start.Add(1234*time.Second), bad.Start.Add(1235*time.Second))
	meets := func(x, y window.Window) bool { return x.Start.Before(y.End) && y.Start.Before(x.End) }
	for _, class := range []ladder.Class{ladder.Size, ladder.Slow, ladder.Odd, ladder.Long, ladder.Short, ladder.Huge} {
		for name, hit := range map[string]func(path string, w window.Window) bool{
			"everything": func(string, window.Window) bool { return true },
			"one path":   func(path string, _ window.Window) bool { return path == feed.SIEMAll.Path },
			"one feed": func(path string, _ window.Window) bool {
				return path == feed.SIEMAll.Path || path == feed.SIEMMessagesDelivered.Path
			},
			"one hour":    func(_ string, w window.Window) bool { return meets(w, bad) },
			"one instant": func(_ string, w window.Window) bool { return meets(w, instant) },
			"backfill":    func(_ string, w window.Window) bool { return w.Start.Before(bad.Start) },
			"long ones":   func(_ string, w window.Window) bool { return w.Span() > 10*time.Minute },
		} {
			t.Run(name+" "+strconv.Itoa(int(class)), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, fetchers, func(path string, asked window.Window) answer {
					if hit(path, asked) {
						return answer{class: class}
					}
					return good
				})
				w.run(9)
				if n := w.worst(); n > limit/20 {
					t.Errorf("%d calls failed within an hour, %d in nine", n, len(w.failed))
				}
				if elsewhere := slices.Contains([]string{"one hour", "one instant", "backfill"}, name); elsewhere && (w.read["live"] < 520 || (w.read["backfill"] < 8 && class != ladder.Long)) {
					t.Errorf("read in nine hours: %v", w.read)
				}
				if testing.Verbose() {
					t.Log(fmt.Sprint(w.worst(), len(w.failed), w.read, len(w.asides)))
				}
			})
		}
	}
}

// TestNoExcessCostsATwentiethOfThePool in an hour, whichever answers have more malformed entries
// than are kept. All else is read.
func TestNoExcessCostsATwentiethOfThePool(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 3, 10, 20, 0, 0, 0, time.UTC)
	for name, hit := range map[string]func(w window.Window) bool{
		"everything": func(window.Window) bool { return true },
		"one hour":   func(w window.Window) bool { return w.Start.Before(begin.Add(time.Hour)) && begin.Before(w.End) },
		"long ones":  func(w window.Window) bool { return w.Span() > 10*time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fetchers, func(_ string, asked window.Window) answer { return answer{served: true, excess: hit(asked)} })
			w.run(9)
			if n := w.worst(); n > limit/20 || n == 0 {
				t.Errorf("%d windows were cut within an hour, %d in nine", n, len(w.failed))
			}
			if w.read["live"] < 520 || w.read["backfill"] < 8 {
				t.Errorf("read in nine hours: %v", w.read)
			}
		})
	}
}
