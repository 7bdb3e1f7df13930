package tapsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/feed"
)

// FaultKind names what goes wrong.
type FaultKind string

// The kinds of faults. Status codes stand for themselves.
const (
	FaultStatus    FaultKind = "status"    // answer with Fault.Status
	FaultSlow      FaultKind = "slow"      // wait Fault.Delay before the headers
	FaultDrip      FaultKind = "drip"      // wait Fault.Delay in the middle of the body
	FaultTruncated FaultKind = "truncated" // close the connection in the middle of the body
	FaultCutJSON   FaultKind = "cut-json"  // end the body early, as if it were whole
	FaultHTML      FaultKind = "html"      // an HTML page with Fault.Status, or 200
	FaultReset     FaultKind = "reset"     // close the connection without an answer

	FaultBadRequest FaultKind = "bad-request" // status 400 with Fault.Text, which may be nothing, or HTML
	FaultNoContent  FaultKind = "no-content"  // status 204 without a body
	FaultEmpty      FaultKind = "empty"       // status 200 without a body
	FaultSyslog     FaultKind = "syslog"      // SIEM: lines of syslog with status 200

	FaultEarlyEnd FaultKind = "early-end"     // SIEM: queryEndTime earlier by Fault.Delay, without the records from there on
	FaultNoEnd    FaultKind = "no-end"        // SIEM: no queryEndTime
	FaultNoArrays FaultKind = "no-arrays"     // no array at all
	FaultNoArray  FaultKind = "no-array"      // without the array Fault.Array
	FaultRenamed  FaultKind = "renamed-array" // the array Fault.Array with letters of the other case
	FaultError    FaultKind = "error-member"  // empty arrays, and a member "error" with Fault.Text

	FaultMaxSpan FaultKind = "max-span" // SIEM: windows longer than Fault.Delay are refused with Fault.Text
	FaultMinSpan FaultKind = "min-span" // SIEM: windows shorter than Fault.Delay are refused with Fault.Text
	FaultHeadLag FaultKind = "head-lag" // SIEM: windows that end within Fault.Delay of the present are refused with Fault.Text

	FaultDate   FaultKind = "date"    // the Date header is ahead by Fault.Delay, or behind
	FaultNoDate FaultKind = "no-date" // no Date header
)

func faultKinds() []FaultKind {
	return []FaultKind{
		FaultStatus, FaultSlow, FaultDrip, FaultTruncated, FaultCutJSON, FaultHTML, FaultReset,
		FaultBadRequest, FaultNoContent, FaultEmpty, FaultSyslog, FaultEarlyEnd, FaultNoEnd, FaultNoArrays, FaultNoArray, FaultRenamed, FaultError,
		FaultMaxSpan, FaultMinSpan, FaultHeadLag, FaultDate, FaultNoDate,
		FaultEndless, FaultBomb, FaultTrickle, FaultHeaders, FaultRedirect, FaultRetryAfter,
		FaultBrackets, FaultNonObjects, FaultHours, FaultRecords, FaultMembers,
	}
}

// Fault makes calls go wrong. A call meets one fault at most, and one of the Date header.
type Fault struct {
	Kind        FaultKind     `json:"kind"`
	Status      int           `json:"status,omitempty"`
	Delay       time.Duration `json:"delay,omitempty"`       // in real time, for kinds that wait; else by the simulator's clock
	Count       int           `json:"count,omitempty"`       // calls it hits; 0 means all until it is cleared
	Probability float64       `json:"probability,omitempty"` // of hitting a call; 0 means 1
	Path        string        `json:"path,omitempty"`        // endpoint it hits, without the id, or a single id's; empty means all
	Name        string        `json:"name,omitempty"`        // by which it can be cleared alone
	Text        string        `json:"text,omitempty"`        // what the body says
	Array       string        `json:"array,omitempty"`       // the member it is about; empty means the last one of the answer
	Instant     time.Time     `json:"instant,omitzero"`      // hits only windows that contain it
	Errors      bool          `json:"errors,omitempty"`      // of the Date header: only on answers with status 400 and up
	Size        int           `json:"size,omitempty"`        // of hostile kinds: bytes, seconds or entries; 0 means a lot
}

type fault struct {
	Fault
	hits, seen uint64
}

var errBadFault = errors.New("unusable fault")

func (f Fault) validate() error {
	switch {
	case !slices.Contains(faultKinds(), f.Kind):
		return fmt.Errorf("%w: kind %q: want one of %q", errBadFault, f.Kind, faultKinds())
	case f.Kind == FaultStatus && (f.Status < 300 || f.Status > 599):
		return fmt.Errorf("%w: status %d: want 300 to 599", errBadFault, f.Status)
	case f.Kind == FaultHTML && f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("%w: status %d: want 200 to 599", errBadFault, f.Status)
	case f.Delay < 0 && f.Kind != FaultDate:
		return fmt.Errorf("%w: delay %s: want 0s or more", errBadFault, f.Delay)
	case f.Delay == 0 && slices.Contains([]FaultKind{FaultEarlyEnd, FaultMaxSpan, FaultMinSpan, FaultHeadLag, FaultDate}, f.Kind):
		return fmt.Errorf("%w: %s needs a delay", errBadFault, f.Kind)
	case f.Errors && !f.ofDate():
		return fmt.Errorf("%w: errors is for %s and %s", errBadFault, FaultDate, FaultNoDate)
	case f.Probability < 0 || f.Probability > 1 || f.Count < 0 || f.Size < 0:
		return fmt.Errorf("%w: want a probability of 0 to 1 and no negative numbers", errBadFault)
	}
	return nil
}

// ofDate reports whether the fault is about the Date header alone.
func (f Fault) ofDate() bool { return f.Kind == FaultDate || f.Kind == FaultNoDate }

// array reports whether the fault is about an array, which is the last one of the answer unless it
// is named.
func (f *Fault) array(name string, last bool) bool {
	return f != nil && (f.Array == name || (f.Array == "" && last))
}

// is reports whether the fault, if any, is of a kind.
func (f *Fault) is(k FaultKind) bool { return f != nil && f.Kind == k }

// Inject adds a fault.
func (s *Sim) Inject(f Fault) error {
	if err := f.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &fault{Fault: f})
	return nil
}

// Clear takes the faults with these names away, or all.
func (s *Sim) Clear(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = slices.DeleteFunc(s.faults, func(f *fault) bool { return len(names) == 0 || slices.Contains(names, f.Name) })
}

// Faults lists the faults that may still hit.
func (s *Sim) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Fault{}
	for _, f := range s.faults {
		out = append(out, f.Fault)
	}
	return out
}

// call is what decides which faults hit a request.
type call struct {
	path     string
	from, to time.Time // its window, if it has one
	now      time.Time
	siem     bool
}

func (s *Sim) callOf(path, interval string) call {
	c := call{path: path, now: s.Now()}
	c.siem = slices.ContainsFunc(feed.SIEMEndpoints(), func(e feed.Endpoint) bool { return e.Path == path })
	if from, to, err := parseInterval(interval); err == nil {
		c.from, c.to = from, to
	}
	return c
}

// meets reports whether a fault is about a call.
func (f *fault) meets(c call) bool {
	if f.Path != "" && f.Path != c.path && f.Path != endpoint(c.path) {
		return false
	}
	if !f.Instant.IsZero() && (f.Instant.Before(c.from) || !f.Instant.Before(c.to)) {
		return false
	}
	span := c.to.Sub(c.from)
	switch f.Kind {
	case FaultMaxSpan:
		return c.siem && span > f.Delay
	case FaultMinSpan:
		return c.siem && span < f.Delay
	case FaultHeadLag:
		return c.siem && c.to.After(c.now.Add(-f.Delay))
	case FaultSyslog, FaultEarlyEnd, FaultNoEnd, FaultBrackets, FaultNonObjects, FaultHours, FaultRecords, FaultMembers:
		return c.siem
	default:
		return true
	}
}

// strike finds the fault that hits this call, if any, among those that are wanted.
func (s *Sim) strike(c call, wanted func(Fault) bool) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if !wanted(f.Fault) || !f.meets(c) {
			continue
		}
		f.seen++
		if f.Probability > 0 && share(mix(s.cfg.Seed+f.seen*0x9e3779b97f4a7c15)) >= f.Probability {
			continue
		}
		f.hits++
		hit := f.Fault
		if f.Count > 0 && f.hits >= uint64(f.Count) {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return &hit
	}
	return nil
}

// UnmarshalJSON accepts a delay as text, such as "2s".
func (f *Fault) UnmarshalJSON(data []byte) error {
	type plain Fault
	in := struct {
		*plain
		Delay string `json:"delay"`
	}{plain: (*plain)(f)}
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("%w: %w", errBadFault, err)
	}
	if in.Delay != "" {
		d, err := time.ParseDuration(in.Delay)
		if err != nil {
			return fmt.Errorf("%w: delay %q: want a duration such as 2s", errBadFault, in.Delay)
		}
		f.Delay = d
	}
	return nil
}

// ReadFaults reads a list of faults in JSON, or one.
func ReadFaults(text string) ([]Fault, error) {
	if text == "" {
		return nil, nil
	}
	var list []Fault
	if text[0] != '[' {
		text = "[" + text + "]"
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadFault, err)
	}
	for _, f := range list {
		if err := f.validate(); err != nil {
			return nil, err
		}
	}
	return list, nil
}
