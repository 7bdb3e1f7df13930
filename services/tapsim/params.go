package tapsim

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The rules of Proofpoint's SIEM API documentation, and the sentences the live
// service answers with.
const (
	minSpan  = 30 * time.Second // also of the list of campaigns
	lookback = 7 * 24 * time.Hour

	tooFarPast   = "The requested start time is too far into the past. Requests for information up to 7.00d are accepted"
	tooShort     = "The requested interval is too short. Requests must be for at least %.2fs of data"
	tooLong      = "The requested interval is too long. Requests must be for at most %.2fh of data" // a guess
	stillCurrent = "The requested interval is still current."
)

// refusal is an answer with status 400. The sentence may be empty.
type refusal struct{ sentence string }

func (r *refusal) Error() string { return r.sentence }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// query is a request that passed the rules.
type query struct {
	limits
	from, to time.Time
	json     bool
	statuses []string
	types    []string
}

// limits are what a service may do otherwise than the documentation says.
type limits struct {
	shortest, longest time.Duration // of a window
	lag               time.Duration // windows that end within it of the present are still current
}

func (s *Sim) limits() limits {
	return limits{cmp.Or(s.cfg.MinSpan, minSpan), cmp.Or(s.cfg.MaxSpan, time.Hour), s.cfg.HeadLag}
}

// parse applies the parameter rules at the simulator's time now.
func (l limits) parse(v url.Values, now time.Time) (*query, error) {
	q := &query{limits: l, statuses: statuses[:2], types: types}
	if err := q.times(v, now); err != nil {
		return nil, err
	}
	switch format := strings.ToLower(v.Get("format")); format {
	case "json":
		q.json = true
	case "", "syslog":
	default:
		return nil, refuse("The format parameter must be syslog or json")
	}
	var err error
	if v.Has("threatStatus") {
		if q.statuses, err = choices(v["threatStatus"], statuses); err != nil {
			return nil, err
		}
	}
	if v.Has("threatType") {
		q.types, err = choices(v["threatType"], types)
	}
	return q, err
}

// choices accepts a repeated parameter, or a list with commas.
func choices(given, allowed []string) ([]string, error) {
	var out []string
	for _, list := range given {
		for name := range strings.SplitSeq(list, ",") {
			i := slices.IndexFunc(allowed, func(a string) bool { return strings.EqualFold(a, name) })
			if i < 0 {
				return nil, refuse("Unknown value %q", name)
			}
			out = append(out, allowed[i])
		}
	}
	return out, nil
}

// times reads exactly one of the three time parameters.
func (q *query) times(v url.Values, now time.Time) error {
	given := 0
	for _, name := range []string{"interval", "sinceSeconds", "sinceTime"} {
		given += len(v[name])
	}
	if given != 1 {
		return refuse("Exactly one of interval, sinceSeconds and sinceTime is required")
	}
	var err error
	switch {
	case v.Has("interval"):
		if q.from, q.to, err = parseInterval(v.Get("interval")); err != nil {
			return err
		}
	case v.Has("sinceSeconds"):
		n, err := strconv.ParseInt(v.Get("sinceSeconds"), 10, 32)
		if err != nil || n < 0 {
			return refuse("The sinceSeconds parameter must be a number of seconds")
		}
		// Rounded to the nearest minute, which may lie in the future.
		q.to = now.Round(time.Minute)
		q.from = q.to.Add(-time.Duration(n) * time.Second)
		return q.span(now, false)
	default:
		if q.from, err = parseInstant(v.Get("sinceTime")); err != nil {
			return err
		}
		q.to = now.Round(time.Minute)
		return q.span(now, false)
	}
	return q.span(now, true)
}

// span checks the limits of an interval by the simulator's clock.
func (q *query) span(now time.Time, explicit bool) error {
	switch span := q.to.Sub(q.from); {
	case span < 0:
		return &refusal{}
	case explicit && q.to.After(now.Add(-q.lag)):
		return &refusal{stillCurrent}
	case span < q.shortest:
		return refuse(tooShort, q.shortest.Seconds())
	case span > q.longest:
		return refuse(tooLong, q.longest.Hours())
	case q.from.Before(now.Add(-lookback)):
		return &refusal{tooFarPast}
	}
	return nil
}

// parseInterval reads start/end, start/duration or duration/end.
func parseInterval(text string) (from, to time.Time, err error) {
	a, b, ok := strings.Cut(text, "/")
	if !ok {
		return from, to, refuse("The interval parameter must be an ISO 8601 interval")
	}
	if strings.HasPrefix(a, "P") {
		d, err := parseDuration(a)
		if err != nil {
			return from, to, err
		}
		to, err = parseInstant(b)
		return to.Add(-d), to, err
	}
	if from, err = parseInstant(a); err != nil {
		return from, to, err
	}
	if strings.HasPrefix(b, "P") {
		d, err := parseDuration(b)
		return from, from.Add(d), err
	}
	to, err = parseInstant(b)
	return from, to, err
}

// parseInstant reads the spellings the live service is known to accept; without
// a zone it is UTC.
func parseInstant(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999", "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() > 1 && t.Year() < 9999 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, refuse("The time %q is not an ISO 8601 time", text)
}

// parseDuration reads PT1H30M, PT45S, PT0.5H and P1D.
func parseDuration(text string) (time.Duration, error) {
	bad := refuse("The duration %q is not an ISO 8601 duration", text)
	days, clock, hasClock := strings.Cut(strings.TrimPrefix(text, "P"), "T")
	var total time.Duration
	if days != "" {
		n, err := strconv.ParseUint(strings.TrimSuffix(days, "D"), 10, 16)
		if err != nil || !strings.HasSuffix(days, "D") {
			return 0, bad
		}
		total = time.Duration(n) * 24 * time.Hour
	}
	if hasClock {
		d, err := time.ParseDuration(strings.ToLower(clock))
		if err != nil || d < 0 || strings.ContainsAny(clock, "+-") || strings.ToUpper(clock) != clock {
			return 0, bad
		}
		total += d
	}
	if total <= 0 {
		return 0, bad
	}
	return total, nil
}
