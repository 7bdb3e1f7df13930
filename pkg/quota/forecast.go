package quota

import (
	"time"
)

// Forecast says when how many calls of a pool may be made, if none is made meanwhile.
type Forecast struct {
	Limit    int       // calls in 24 hours; 0 is unlimited
	Left     int       // calls that may be made now
	External int       // calls that others made, as far as known
	Reason   string    // why the pool is blocked
	Blocked  time.Time // no call before this instant; zero if nothing blocks
	Returns  []Return  // when units come back, in order of time
}

// Return is units that come back.
type Return struct {
	At    time.Time
	Units int
}

// Forecast looks ahead without changing the pool for others.
func (s *State) Forecast(now time.Time, limit int) Forecast {
	s.present(now)
	used, external := s.sum()
	f := Forecast{Limit: limit, Left: max(limit-used-external, 0), External: external, Reason: s.pb.GetBlockedReason()}
	if until := s.pb.GetBlockedUntil(); until != nil {
		f.Blocked = until.AsTime()
	}
	debt := max(used+external-limit, 0) // more than the limit was noted: the limit was lowered
	for _, b := range s.pb.GetBuckets() {
		units := int(b.GetUsed() + b.GetExternal())
		paid := min(debt, units)
		debt -= paid
		if units > paid {
			f.Returns = append(f.Returns, Return{s.leaves(b), units - paid})
		}
	}
	return f
}
