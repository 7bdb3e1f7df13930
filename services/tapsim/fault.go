package tapsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
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
)

// Fault makes calls go wrong.
type Fault struct {
	Kind        FaultKind     `json:"kind"`
	Status      int           `json:"status,omitempty"`
	Delay       time.Duration `json:"delay,omitempty"`       // in real time
	Count       int           `json:"count,omitempty"`       // calls it hits; 0 means all until it is cleared
	Probability float64       `json:"probability,omitempty"` // of hitting a call; 0 means 1
	Path        string        `json:"path,omitempty"`        // endpoint it hits, without the id, or a single id's; empty means all
}

type fault struct {
	Fault
	hits, seen uint64
}

var errBadFault = errors.New("unusable fault")

func (f Fault) validate() error {
	kinds := []FaultKind{FaultStatus, FaultSlow, FaultDrip, FaultTruncated, FaultCutJSON, FaultHTML, FaultReset}
	switch {
	case !slices.Contains(kinds, f.Kind):
		return fmt.Errorf("%w: kind %q: want one of %q", errBadFault, f.Kind, kinds)
	case f.Kind == FaultStatus && (f.Status < 300 || f.Status > 599):
		return fmt.Errorf("%w: status %d: want 300 to 599", errBadFault, f.Status)
	case f.Kind == FaultHTML && f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("%w: status %d: want 200 to 599", errBadFault, f.Status)
	case f.Probability < 0 || f.Probability > 1 || f.Count < 0 || f.Delay < 0:
		return fmt.Errorf("%w: want a probability of 0 to 1 and no negative numbers", errBadFault)
	}
	return nil
}

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

// Clear takes all faults away.
func (s *Sim) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
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

// strike finds the fault that hits this call, if any.
func (s *Sim) strike(path string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Path != "" && f.Path != path && f.Path != endpoint(path) {
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
