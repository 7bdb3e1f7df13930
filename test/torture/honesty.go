package torture

import (
	"fmt"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapsim"
)

// said is what Tapline says of itself at a moment: tapctl's JSON and exit statuses, and the probes.
type said struct {
	at     time.Time // by the simulator's clock, before the first question
	asked  time.Time // the same by the real one
	status saidStatus
	gaps   []saidGap
	report saidReport
	exits  map[string]int
	probes map[string]int // "fetcher-0 /livez" -> status, of those that answered
}

type saidStatus struct {
	Feeds    []saidFeed     `json:"feeds"`
	Alarms   []saidAlarm    `json:"alarms"`
	Unproven []saidUnproven `json:"unproven"`
}

// saidUnproven is a window that status lists beside what it calls confirmed.
type saidUnproven struct {
	Feeds []feed.Feed `json:"feeds"`
	From  time.Time   `json:"from"`
	To    time.Time   `json:"to"`
}

type saidFeed struct {
	Feed      feed.Feed `json:"feed"`
	Read      time.Time `json:"read"`
	Confirmed time.Time `json:"confirmed"`
	Sealed    time.Time `json:"sealed"`
}

type saidAlarm struct {
	Name   string `json:"name"`
	Stage  string `json:"stage"`
	Detail string `json:"detail"`
}

type saidGap struct {
	Feed   feed.Feed `json:"feed"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	State  string    `json:"state"`
	Reason string    `json:"reason"`
}

type saidReport struct {
	Records    int64     `json:"records"`
	Pending    int64     `json:"pending"`
	Gaps       []saidGap `json:"gaps"`
	Violations []any     `json:"violations"`
}

// facts are what the simulators know about the same moment. They are gathered after the last
// question, so that what arrives meanwhile is in Tapline's favor.
type facts struct {
	missing []tapsim.Truth // visible at the first question, neither at the sink nor in DEAD
	began   time.Time      // live reading had begun by then
	lag     time.Duration  // longest time until a record that is not late is visible
	dead    int            // messages in DEAD
	damaged bool           // a stream is: what is lost may be said to be lost
	calm    bool           // nothing was done to this world
	siege   *siege         // what stands long enough to be told
}

// confirmedFor is the time before the head that [saidFeed.Confirmed] is about.
const confirmedFor = 6 * time.Hour

// lies lists what is said and not so.
func (s *said) lies(f *facts) []string {
	var out []string
	lie := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	s.completeness(f, lie)
	if !f.damaged {
		s.losses(lie)
	}
	if s.exits["verify"] == 0 && len(s.report.Gaps)+len(s.report.Violations) > 0 {
		lie("verify ends with 0 and names %v, %v", s.report.Gaps, s.report.Violations)
	}
	if f.siege != nil {
		s.besieged(f.siege, lie)
	}
	if f.calm {
		s.quiet(f, lie)
	}
	return out
}

// completeness: what is called read is at the sink, on its way, or dead; what is called confirmed
// is at the sink.
func (s *said) completeness(f *facts, lie func(string, ...any)) {
	var unlisted []tapsim.Truth
	for _, t := range f.missing {
		i := slices.IndexFunc(s.status.Feeds, func(row saidFeed) bool { return row.Feed == t.Feed })
		if i < 0 || s.listed(t) {
			continue
		}
		row := s.status.Feeds[i]
		late := t.Visible.Sub(t.Created) > f.lag
		if !t.Created.Before(row.Read) || (late && !t.Created.Before(row.Sealed)) { // a sweep is to find it
			continue
		}
		unlisted = append(unlisted, t)
		from := row.Read.Add(-confirmedFor)
		if f.began.After(from) { // before it is backfill
			from = f.began
		}
		if !late && !t.Created.Before(from) && t.Created.Before(row.Confirmed) {
			lie("status: %s is confirmed up to %s, and %s of %s is missing", t.Feed, row.Confirmed, t.Key, t.Created)
		}
	}
	if n := len(unlisted); n > 0 && int64(n) > s.report.Pending {
		t := unlisted[0]
		lie("verify (exit %d): %d records are missing that were visible, %d are on their way, and gaps does not list %s %s of %s, visible %s",
			s.exits["verify"], n, s.report.Pending, t.Feed, t.Key, t.Created, t.Visible)
	}
}

// listed reports whether gaps has the instant of a record, whatever the state, or status as
// unproven: they are asked one after the other, and the window may have begun or ended between
// them.
func (s *said) listed(t tapsim.Truth) bool {
	within := func(from, to time.Time) bool { return !t.Created.Before(from) && t.Created.Before(to) }
	if slices.ContainsFunc(s.status.Unproven, func(u saidUnproven) bool { return slices.Contains(u.Feeds, t.Feed) && within(u.From, u.To) }) {
		return true
	}
	return slices.ContainsFunc(s.gaps, func(g saidGap) bool {
		return g.Feed == t.Feed && within(g.From, g.To)
	})
}

// losses: no world is seven days old, so nothing can be lost, nor close to it.
func (s *said) losses(lie func(string, ...any)) {
	for _, g := range slices.Concat(s.gaps, s.report.Gaps) {
		if g.State == "lost" {
			lie("lost: %s from %s to %s: %s", g.Feed, g.From, g.To, g.Reason)
			return
		}
	}
	for _, a := range s.status.Alarms {
		switch alarm.Name(a.Name) {
		case alarm.Lost, alarm.Ledger, alarm.Edge, alarm.MemoryLost:
			lie("alarm %s of %s: %s", a.Name, a.Stage, a.Detail)
		}
	}
}

// besieged: what stands for longer than the delay that is stated for it is told, and no program
// calls itself dead for it.
func (s *said) besieged(g *siege, lie func(string, ...any)) {
	for name, status := range s.probes {
		if process, path := cutProbe(name); path == livez && status != 200 && !slices.Contains(g.down, process) {
			lie("%s answers %d while %s", name, status, g.name)
		}
		if g.unready && status == 200 {
			if _, path := cutProbe(name); path == readyz {
				lie("%s answers 200 while %s", name, g.name)
			}
		}
	}
	if len(g.alarms) == 0 {
		return
	}
	if !slices.ContainsFunc(s.status.Alarms, func(a saidAlarm) bool { return slices.Contains(g.alarms, alarm.Name(a.Name)) }) {
		lie("%s for more than %s, and there is none of the alarms %s, but %v", g.name, g.after, g.alarms, s.status.Alarms)
	}
	if s.exits["status"] == 0 {
		lie("status ends with 0 while %s", g.name)
	}
}

// quiet: where nothing is wrong, nothing is said to be.
func (s *said) quiet(f *facts, lie func(string, ...any)) {
	for _, a := range s.status.Alarms {
		lie("in a calm world: alarm %s of %s: %s", a.Name, a.Stage, a.Detail)
	}
	for name, status := range s.probes {
		if status != 200 {
			lie("in a calm world: %s answers %d", name, status)
		}
	}
	for _, command := range commands() {
		if status := s.exits[command]; status != 0 {
			lie("in a calm world: tapctl %s ends with %d", command, status)
		}
	}
	if f.dead > 0 {
		lie("in a calm world: %d dead letters", f.dead)
	}
}
