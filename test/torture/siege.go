package torture

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

// siege is one thing that goes wrong in a world that is healed, and stays so for longer than
// Tapline may take to tell of it.
type siege struct {
	name    string
	alarms  []alarm.Name  // one of these must be raised
	unready bool          // every program must say that it is not ready
	after   time.Duration // the stated delay, and what it takes to look
	down    []string      // processes that cannot answer
	begin   func(ctx context.Context, w *world) error
}

// told is the delay of alarms that are raised at once: a call, a heartbeat and a look.
const told = 90 * time.Second

func faulty(faults ...tapsim.Fault) func(context.Context, *world) error {
	return func(_ context.Context, w *world) error {
		for _, f := range faults {
			if err := w.sim.Inject(f); err != nil {
				return err
			}
		}
		return nil
	}
}

// sieges is the table of what must be told, and when.
func sieges() []siege {
	const patient = 2 * time.Minute // as the alarm proofpoint states
	siem := feed.SIEMAll.Path
	return []siege{
		{name: "unavailable", alarms: []alarm.Name{alarm.Proofpoint}, after: patient + told, begin: faulty(tapsim.Fault{Kind: tapsim.FaultStatus, Status: http.StatusServiceUnavailable})},
		{name: "unreachable", alarms: []alarm.Name{alarm.Proofpoint}, after: patient + told, begin: func(_ context.Context, w *world) error {
			w.proxies["tap"].refuse(true)
			w.proxies["tap"].cut()
			return nil
		}},
		{name: "unauthorized", alarms: []alarm.Name{alarm.Refused}, after: told, begin: faulty(tapsim.Fault{Kind: tapsim.FaultStatus, Status: http.StatusUnauthorized})},
		{name: "forbidden", alarms: []alarm.Name{alarm.Forbidden}, after: told, begin: faulty(tapsim.Fault{Kind: tapsim.FaultStatus, Status: http.StatusForbidden, Path: siem})},
		{name: "words", alarms: []alarm.Name{alarm.Answer, alarm.Proofpoint}, after: patient + told, begin: faulty(tapsim.Fault{Kind: tapsim.FaultBadRequest, Text: "No"})},
		{name: "no-words", alarms: []alarm.Name{alarm.Answer, alarm.Proofpoint}, after: patient + told, begin: faulty(tapsim.Fault{Kind: tapsim.FaultBadRequest})},
		{name: "no-array", alarms: []alarm.Name{alarm.Answer}, after: patient + told, begin: faulty(tapsim.Fault{Kind: tapsim.FaultNoArray, Array: string(feed.MessagesDelivered)})},
		{name: "early-end", alarms: []alarm.Name{alarm.Answer}, after: patient + told, begin: faulty(tapsim.Fault{Kind: tapsim.FaultEarlyEnd, Delay: 10 * time.Minute})},
		{name: "sink", alarms: []alarm.Name{alarm.Sink, alarm.Freshness}, after: patient + told, begin: func(_ context.Context, w *world) error {
			kind := devosink.FaultRefuse // and what is connected already is cut off: it would deliver for as long as it likes
			if w.profile.Sink == HTTP {
				return w.sink.Inject(devosink.Fault{Kind: devosink.FaultStatus, Bytes: http.StatusServiceUnavailable})
			}
			if err := w.sink.Inject(devosink.Fault{Kind: devosink.FaultReset, Bytes: 1}); err != nil {
				return err
			}
			return w.sink.Inject(devosink.Fault{Kind: kind})
		}},
		{name: "dead", alarms: []alarm.Name{alarm.Dead}, after: patient + told, begin: func(_ context.Context, w *world) error { return w.tooLong(w.sim.Now()) }},
		{name: "silent", alarms: []alarm.Name{alarm.StageSilent}, after: patient + told, down: []string{"enricher-0", "enricher-1"}, begin: func(_ context.Context, w *world) error {
			w.processes["enricher-0"].end(syscall.SIGKILL)
			w.processes["enricher-1"].end(syscall.SIGKILL)
			return nil
		}},
		{name: "bus", unready: true, after: told, begin: func(_ context.Context, w *world) error {
			w.processes[broker].end(syscall.SIGKILL)
			return nil
		}},
	}
}

// siegeNames are what plans call them.
func siegeNames() []string {
	var names []string
	for _, g := range sieges() {
		names = append(names, g.name)
	}
	return names
}

// besiege plays the siege of a plan, if it has one, in a world that is healed.
func (w *world) besiege(ctx context.Context, p Plan, wit *witness) error {
	i := slices.IndexFunc(p.Actions, func(a Action) bool { return a.Verb == besiege })
	if i < 0 {
		return nil
	}
	all := sieges()
	n := slices.IndexFunc(all, func(g siege) bool { return g.name == p.Actions[i].Target })
	if n < 0 {
		return fmt.Errorf("%w: no siege %q", errVerb, p.Actions[i].Target)
	}
	g := all[n]
	sleep(ctx, 10*time.Second) // what was wrong before is over
	w.log("siege: %s", g.name)
	if err := g.begin(ctx, w); err != nil {
		return err
	}
	wit.mu.Lock()
	wit.siege, wit.since = &g, time.Now()
	wit.mu.Unlock()
	sleep(ctx, g.after+30*time.Second)
	looks := wit.toldOf()
	for end := time.Now().Add(longestLook); looks == 0 && time.Now().Before(end) && sleep(ctx, time.Second); {
		looks = wit.toldOf()
	}
	wit.mu.Lock()
	wit.siege = nil
	wit.mu.Unlock()
	if looks == 0 {
		wit.lie(fmt.Sprintf("nobody looked while %s", g.name))
	}
	return w.heal(ctx)
}

// relief is how long an alarm may stand after its cause is gone: it lapses after three minutes, and
// a call has to succeed.
const relief = 6 * time.Minute

var errStands = errors.New("alarms stand although everything is well")

// relieved waits until no alarm stands in a world that is healed. What tells of the past stands for
// a day.
func (w *world) relieved(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, relief)
	defer cancel()
	past := []alarm.Name{alarm.Dead, alarm.MemoryLost}
	for {
		var s saidStatus
		_, err := w.question(ctx, &s, "status")
		var stand []string
		for _, a := range s.Alarms {
			if !slices.Contains(past, alarm.Name(a.Name)) {
				stand = append(stand, a.Name+": "+a.Detail)
			}
		}
		if err == nil && len(stand) == 0 {
			return nil
		}
		if !sleep(ctx, time.Second) {
			return errors.Join(fmt.Errorf("%w: %s", errStands, strings.Join(stand, "; ")), err)
		}
	}
}
