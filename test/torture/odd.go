package torture

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapsim"
)

// odd are the answers that prove nothing, teach something false, or would cost memory, disk or
// time. None adds rows of its own. A 204 is not among them: it says that a window is empty, so only
// [services] give it, for windows that are.
var odd = map[string][]tapsim.Fault{
	"no-words":    {{Kind: tapsim.FaultBadRequest}},
	"page-400":    {{Kind: tapsim.FaultBadRequest, Text: "<html><body>Bad Request</body></html>"}},
	"new-words":   {{Kind: tapsim.FaultBadRequest, Text: "Request could not be understood"}},
	"empty":       {{Kind: tapsim.FaultEmpty}},
	"syslog":      {{Kind: tapsim.FaultSyslog}},
	"early-end":   {{Kind: tapsim.FaultEarlyEnd, Delay: 10 * time.Minute}},
	"a-bit-early": {{Kind: tapsim.FaultEarlyEnd, Delay: 5 * time.Second}},
	"no-end":      {{Kind: tapsim.FaultNoEnd}},
	"no-arrays":   {{Kind: tapsim.FaultNoArrays}},
	"no-array":    {{Kind: tapsim.FaultNoArray}},
	"renamed":     {{Kind: tapsim.FaultRenamed}},
	"error":       {{Kind: tapsim.FaultError}},
	"too-long":    {{Kind: tapsim.FaultMaxSpan, Delay: 20 * time.Minute}},
	"too-long-2":  {{Kind: tapsim.FaultMaxSpan, Delay: 10 * time.Minute, Text: "Window exceeds what is served"}},
	"too-short":   {{Kind: tapsim.FaultMinSpan, Delay: 2 * time.Minute}},
	"too-short-2": {{Kind: tapsim.FaultMinSpan, Delay: 2 * time.Minute, Text: "Give me more"}},
	"behind":      {{Kind: tapsim.FaultHeadLag, Delay: 10 * time.Minute}},
	"date-ahead":  {{Kind: tapsim.FaultDate, Delay: 240 * time.Hour}},
	"date-behind": {{Kind: tapsim.FaultDate, Delay: -3 * time.Hour}},
	"date-jumps":  {{Kind: tapsim.FaultDate, Delay: 240 * time.Hour, Count: 1}},
	"date-near":   {{Kind: tapsim.FaultDate, Delay: 10 * time.Minute}},
	"no-date":     {{Kind: tapsim.FaultNoDate}},
	"date-cached": {{Kind: tapsim.FaultDate, Delay: -30 * time.Hour, Errors: true}, {Kind: tapsim.FaultStatus, Status: 503}},
	"forbidden":   {{Kind: tapsim.FaultStatus, Status: 403, Path: "/v2/people/vap"}},
	"none-there":  {{Kind: tapsim.FaultStatus, Status: 404, Path: feed.SIEMAll.Path}},
	"endless":     {{Kind: tapsim.FaultEndless, Count: 2}},
	"bomb":        {{Kind: tapsim.FaultBomb}},
	"trickle":     {{Kind: tapsim.FaultTrickle, Delay: 100 * time.Millisecond, Count: 4}},
	"headers":     {{Kind: tapsim.FaultHeaders}},
	"redirect":    {{Kind: tapsim.FaultRedirect}},
	"brackets":    {{Kind: tapsim.FaultBrackets, Size: 3 << 20, Count: 2}},
	"numbers":     {{Kind: tapsim.FaultNonObjects, Size: 1200, Count: 4}},
}

// oddities are their names.
func oddities() []string { return slices.Sorted(maps.Keys(odd)) }

// oddity gives the faults with a name, as an action that begins then has them; nil if there are
// none.
func oddity(name string, at time.Duration) []tapsim.Fault {
	faults := slices.Clone(odd[name])
	paths := []string{"", "", feed.SIEMAll.Path, "/v2/siem/messages/delivered", "/v2/siem/clicks/permitted", "/v2/campaign/ids", "/v2/people/vap"}
	for i := range faults {
		f := &faults[i]
		if ms := at.Milliseconds(); f.Path == "" && !f.Errors {
			f.Path = paths[ms%int64(len(paths))]
			if f.Count == 0 && ms%3 > 0 {
				f.Probability = 0.7
			}
		}
	}
	return faults
}

// inject has the API misbehave for a while.
func (w *world) inject(ctx context.Context, a Action, faults []tapsim.Fault) error {
	for _, f := range faults {
		f.Name = a.String()
		if err := w.sim.Inject(f); err != nil {
			return err
		}
	}
	sleep(ctx, a.For)
	w.sim.Clear(a.String())
	return nil
}

// poisonInstant has one instant that is about to be read answered with a status, whatever the
// window.
func (w *world) poisonInstant(ctx context.Context, a Action) error {
	status, err := strconv.Atoi(a.Arg)
	if err != nil {
		return errVerb
	}
	return w.inject(ctx, a, []tapsim.Fault{{Kind: tapsim.FaultStatus, Status: status, Instant: w.sim.Now().Add(-time.Minute)}})
}
