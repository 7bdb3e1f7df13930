package overview

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// unprovenFor is how long a window may be unproven before a person is needed: mostly the next
	// try reads it.
	unprovenFor = 10 * time.Minute
	// staleAfter is when live delivery is stale whatever else is said: windows are at most an hour
	// long, and an API that is behind may be behind by an hour.
	staleAfter = 3 * time.Hour
)

// Verdict is what to know first.
type Verdict struct {
	OK   bool   `json:"ok"`
	Text string `json:"text"` // one sentence
	// Needs says what needs a person, one phrase for each thing.
	Needs []string `json:"needs"`
	// UpTo is the instant up to which everything of live reading is confirmed, dead, lost or listed
	// as unproven; zero if none is.
	UpTo time.Time `json:"confirmed_up_to,omitzero"`
}

// judge concludes from all that was looked at.
func (s *Status) judge() {
	v := Verdict{Needs: []string{}, UpTo: s.upTo()}
	if n := len(s.Alarms); n > 0 {
		v.Needs = append(v.Needs, counted(n, "alarm")+": "+strings.Join(s.alarmNames(), ", "))
	}
	for _, p := range s.Programs {
		if p.Needs != "" {
			v.Needs = append(v.Needs, p.Needs)
		}
	}
	lost := s.count(Lost)
	if lost > 0 {
		v.Needs = append(v.Needs, counted(lost, "range")+" lost")
	}
	if n := s.count(Missing); n > 0 {
		v.Needs = append(v.Needs, counted(n, "range")+" missing")
	}
	if s.Violations > 0 {
		v.Needs = append(v.Needs, "the ledger check failed in "+counted(s.Violations, "place"))
	}
	if n := len(s.Unreadable); n > 0 {
		v.Needs = append(v.Needs, counted(n, "key")+" cannot be read")
	}
	if n, since := s.unproven(); n > 0 && s.At.Sub(since) > unprovenFor {
		v.Needs = append(v.Needs, fmt.Sprintf("%s unproven since %s", counted(n, "window"), clock(s.At, since)))
	}
	if !v.UpTo.IsZero() && s.At.Sub(v.UpTo) > staleAfter {
		v.Needs = append(v.Needs, "nothing after "+clock(s.At, v.UpTo)+" is confirmed")
	}
	known, unknown := s.known(v.UpTo)
	v.OK = known && len(v.Needs) == 0
	switch {
	case v.OK:
		v.Text = s.Tenant + ": all is well: " + s.good(v.UpTo)
	case len(v.Needs) == 0:
		v.Text = s.Tenant + ": not known: " + unknown
	default:
		v.Text = s.Tenant + ": " + strings.Join(v.Needs, "; ")
		if lost == 0 {
			v.Text += "; nothing is lost"
		}
		if !known {
			v.Text += "; " + unknown
		}
	}
	s.Verdict = v
}

// known reports whether there is anything to judge by, and else says what is wanting.
func (s *Status) known(upTo time.Time) (ok bool, wanting string) {
	switch read := func(l List) bool { return !l.Head.IsZero() }; {
	case len(s.Feeds) == 0 && len(s.Lists) == 0:
		return false, "nothing was planned yet"
	case len(s.Feeds) == 0 && !slices.ContainsFunc(s.Lists, read):
		return false, "no list was read yet"
	case len(s.Feeds) > 0 && !slices.ContainsFunc(s.Feeds, func(f Feed) bool { return !f.Read.IsZero() }):
		return false, "nothing was read yet"
	case len(s.Feeds) > 0 && upTo.IsZero():
		return false, "not every feed has something confirmed yet"
	}
	return true, ""
}

// good is the end of the sentence when nothing is wrong.
func (s *Status) good(upTo time.Time) string {
	if len(s.Feeds) == 0 {
		return "lists are read, and no SIEM feed is switched on"
	}
	text := "everything up to " + clock(s.At, upTo) + " is confirmed"
	hours := 0.0
	for _, f := range s.Feeds {
		hours = max(hours, f.Backfill)
	}
	if hours >= 0.5 {
		text = fmt.Sprintf("everything of live reading up to %s is confirmed; %.0f h before it are still to be read", clock(s.At, upTo), hours)
	}
	if n, _ := s.unproven(); n > 0 {
		text += "; " + counted(n, "window") + " asked for again"
	}
	return text
}

// upTo is how far the feed that is furthest behind is confirmed.
func (s *Status) upTo() time.Time {
	var at time.Time
	for i, f := range s.Feeds {
		if i == 0 || f.Confirmed.Before(at) {
			at = f.Confirmed
		}
	}
	return at
}

func (s *Status) unproven() (n int, since time.Time) {
	for i, u := range s.Unproven {
		if i == 0 || u.Since.Before(since) {
			since = u.Since
		}
	}
	return len(s.Unproven), since
}

func (s *Status) count(state string) (n int) {
	for _, g := range s.Gaps {
		if g.State == state {
			n++
		}
	}
	return n
}

func (s *Status) alarmNames() (names []string) {
	for _, a := range s.Alarms {
		if !slices.Contains(names, a.Name) {
			names = append(names, a.Name)
		}
	}
	return names
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// clock is an instant, without its day if that is today.
func clock(now, at time.Time) string {
	now, at = now.UTC(), at.UTC()
	if now.Truncate(24 * time.Hour).Equal(at.Truncate(24 * time.Hour)) {
		return at.Format("15:04:05Z")
	}
	return at.Format(time.RFC3339)
}
