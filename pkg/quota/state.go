package quota

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Period is the length of Proofpoint's rolling window.
const Period = 24 * time.Hour

// pauseAfterRefusal is how long a pool rests after a 429, so that a wrong guess
// about other users of the credential does not become a storm.
const pauseAfterRefusal = 5 * time.Minute

// State is the memory of one pool. It is a value in time: every method takes
// the present, and treats a present before an earlier one as the earlier one.
type State struct {
	pb     *taplinev1.QuotaState
	margin time.Duration
}

// Decode reads a state; nothing is an empty one. The margin is added to the 24
// hours before a unit comes back.
func Decode(data []byte, margin time.Duration) (*State, error) {
	s := &State{&taplinev1.QuotaState{}, margin}
	if err := proto.Unmarshal(data, s.pb); err != nil {
		return nil, fmt.Errorf("quota state: %w", err)
	}
	return s, nil
}

// Encode writes the state.
func (s *State) Encode() ([]byte, error) {
	data, err := proto.Marshal(s.pb)
	if err != nil {
		return nil, fmt.Errorf("quota state: %w", err)
	}
	return data, nil
}

// Closed is the state of a pool whose memory was lost.
func Closed(now time.Time, margin time.Duration) *State {
	s := &State{&taplinev1.QuotaState{}, margin}
	s.block(now.Add(Period+margin), "memory of earlier calls was lost")
	return s
}

// present prunes what no longer counts and returns the time that holds.
func (s *State) present(now time.Time) time.Time {
	if last := s.pb.GetLast(); last != nil && last.AsTime().After(now) {
		now = last.AsTime()
	}
	s.pb.Last = timestamppb.New(now)
	s.pb.Buckets = slices.DeleteFunc(s.pb.GetBuckets(), func(b *taplinev1.QuotaBucket) bool {
		return !s.leaves(b).After(now)
	})
	if until := s.pb.GetBlockedUntil(); until != nil && !until.AsTime().After(now) {
		s.pb.BlockedUntil, s.pb.BlockedReason = nil, ""
	}
	return now
}

// leaves is when the units of a bucket come back.
func (s *State) leaves(b *taplinev1.QuotaBucket) time.Time {
	return time.Unix((b.GetMinute()+1)*60, 0).Add(Period + s.margin)
}

func (s *State) sum() (used, external int) {
	for _, b := range s.pb.GetBuckets() {
		used += int(b.GetUsed())
		external += int(b.GetExternal())
	}
	return used, external
}

// bucket finds or makes the bucket of a minute; buckets stay sorted.
func (s *State) bucket(minute int64) *taplinev1.QuotaBucket {
	i, found := slices.BinarySearchFunc(s.pb.GetBuckets(), minute, func(b *taplinev1.QuotaBucket, m int64) int {
		return int(b.GetMinute() - m)
	})
	if !found {
		s.pb.Buckets = slices.Insert(s.pb.GetBuckets(), i, &taplinev1.QuotaBucket{Minute: minute})
	}
	return s.pb.GetBuckets()[i]
}

// Reserve takes one unit. When there is none it reports when the next one comes
// back. A limit of 0 means unlimited: the call is counted and always allowed.
func (s *State) Reserve(now time.Time, limit int) (ok bool, free time.Time) {
	now = s.present(now)
	if limit > 0 {
		if free = s.free(now, limit); free.After(now) {
			return false, free
		}
	}
	s.bucket(now.Unix()/60).Used++
	return true, now
}

// Count notes calls whatever the limit.
func (s *State) Count(now time.Time, calls int) {
	s.bucket(s.present(now).Unix() / 60).Used += uint32(calls)
}

// free is when a unit is to be had: now, or later.
func (s *State) free(now time.Time, limit int) time.Time {
	free := now
	used, external := s.sum()
	for over := used + external - limit + 1; over > 0; {
		for _, b := range s.pb.GetBuckets() {
			if over -= int(b.GetUsed() + b.GetExternal()); over <= 0 {
				free = s.leaves(b)
				break
			}
		}
	}
	if until := s.pb.GetBlockedUntil(); until != nil && until.AsTime().After(free) {
		free = until.AsTime()
	}
	return free
}

// Refused notes a 429: what is missing to the limit was used by somebody else.
// The pool rests until the server says, or for a few minutes.
func (s *State) Refused(now time.Time, limit int, retryAfter time.Duration) (external int) {
	now = s.present(now)
	used, known := s.sum()
	external = max(limit-used-known, 0)
	minutes := int64(Period / time.Minute)
	for i := range external {
		// The k-th of n unknown calls is put at k/n of the last 24 hours.
		age := minutes * int64(i) / int64(external)
		s.bucket(now.Unix()/60-age).External++
	}
	s.block(now.Add(max(retryAfter, pauseAfterRefusal)), "Proofpoint answered 429")
	return external
}

func (s *State) block(until time.Time, reason string) {
	s.pb.BlockedUntil, s.pb.BlockedReason = timestamppb.New(until), reason
}

// Forget closes the pool for as long as calls count that nobody remembers, of which the last was made at an instant. It
// returns until when the pool is closed, by that or by something else.
func (s *State) Forget(now, last time.Time) time.Time {
	now = s.present(now)
	until := last.Add(Period + s.margin)
	if have := s.pb.GetBlockedUntil(); have != nil && have.AsTime().After(until) {
		return have.AsTime()
	}
	if until.After(now) {
		s.block(until, "memory of earlier calls was lost")
	}
	return until
}

// Open lifts whatever closes the pool besides the calls that were counted.
func (s *State) Open(now time.Time) {
	s.present(now)
	s.pb.BlockedUntil, s.pb.BlockedReason = nil, ""
}

// Status is one look at a pool.
type Status struct {
	Pool     string    `json:"pool"`
	Limit    int       `json:"limit"`    // calls in 24 hours; 0 is unlimited
	Used     int       `json:"used"`     // by Tapline
	External int       `json:"external"` // by others, as far as known
	Free     time.Time `json:"free"`     // when the next call may be made
	Reason   string    `json:"reason,omitempty"`
}

// Left is how many calls may be made now.
func (s Status) Left() int { return max(s.Limit-s.Used-s.External, 0) }

// Look describes the pool without changing it for others.
func (s *State) Look(now time.Time, limit int) Status {
	now = s.present(now)
	used, external := s.sum()
	st := Status{Limit: limit, Used: used, External: external, Free: now, Reason: s.pb.GetBlockedReason()}
	if limit > 0 {
		st.Free = s.free(now, limit)
	}
	return st
}
