package quota

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Period is the length of Proofpoint's rolling window.
const Period = 24 * time.Hour

// pauseAfterRefusal is how long a pool pauses after a 429, so that a wrong guess about other users
// of the credential does not become a storm.
const pauseAfterRefusal = 5 * time.Minute

// State is the memory of one pool. It is a value in time: a present before an earlier one is
// treated as the earlier one, and one far ahead of it gives no unit back before it has been seen
// twice: see advance.
type State struct {
	pb     *taplinev1.QuotaState
	margin time.Duration
	marked bool // something was recorded that should be kept, though no unit was taken
	lost   bool // it stands for a memory that was lost, and is not written down yet
}

// Decode reads a state; nothing is an empty one. The margin is added to the 24
// hours before a unit comes back.
func Decode(data []byte, margin time.Duration) (*State, error) {
	s := &State{pb: &taplinev1.QuotaState{}, margin: margin}
	if err := wire.Unmarshal(data, s.pb); err != nil {
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

// Closed is the state of a pool whose memory was lost, with nothing to rebuild it from.
func Closed(now time.Time, margin time.Duration) *State {
	s := &State{pb: &taplinev1.QuotaState{}, margin: margin}
	s.block(now.Add(Period+margin), lostMemory)
	return s
}

const lostMemory = "memory of earlier calls was lost"

// Call is calls that were made at one time, as something other than a quota state remembers them.
type Call struct {
	At    time.Time
	Units int
}

// unremembered is the share of a limit, in percent, that a rebuilt memory counts besides: calls
// that were not recorded, because they failed or their job was not done when the memory was lost.
const unremembered = 5

// Rebuilt is the state of a pool whose memory was lost, made anew from calls that are known
// elsewhere. A call that was made later than the present counts as made now.
func Rebuilt(now time.Time, limit int, margin time.Duration, calls []Call) *State {
	s := &State{pb: &taplinev1.QuotaState{RebuiltAt: timestamppb.New(now)}, margin: margin}
	s.present(now)
	for _, c := range calls {
		at := c.At
		if at.After(now) {
			at = now
		}
		if now.Sub(at) <= Period+margin && c.Units > 0 {
			s.bucket(at.Unix() / 60).Used += uint32(c.Units)
		}
	}
	s.bucket(now.Unix() / 60).Used += uint32((limit*unremembered + 99) / 100)
	s.present(now)
	return s
}

const (
	// believable is how far a clock may be ahead of the last that was recorded, to be believed at
	// once.
	believable = 10 * time.Minute
	// The clock of one replica that is wrong for a moment must not give back the units of a day.
	// What is ahead by more is believed when it is seen again between these times later.
	believeAfter  = 2 * time.Minute
	believeWithin = 15 * time.Minute
	// noted is how far the stored last time may lag behind when no unit is taken.
	noted = time.Minute
)

// advance moves the state to the present, as far as it is believed, and returns the time that holds
// and the minute that a call made now is counted in. A call is never counted earlier than either
// clock says.
func (s *State) advance(now time.Time) (held, counted time.Time) {
	last := s.pb.GetLast()
	if last == nil {
		held = s.present(now)
		return held, held
	}
	held = last.AsTime()
	ahead := s.pb.GetAhead()
	switch {
	case now.Sub(held) <= believable:
		if ahead != nil {
			s.pb.Ahead, s.marked = nil, true // the observer was wrong
		}
		s.marked = s.marked || now.Sub(held) >= noted
		held = s.present(now)
	case ahead != nil && within(now.Sub(ahead.AsTime()), believeAfter, believeWithin):
		s.pb.Ahead, s.marked = nil, true
		held = s.present(now)
	case ahead == nil || !within(now.Sub(ahead.AsTime()), 0, believeAfter):
		s.pb.Ahead, s.marked = timestamppb.New(now), true
		held = s.present(held)
	default:
		held = s.present(held)
	}
	if now.After(held) {
		return held, now
	}
	return held, held
}

func within(d, least, most time.Duration) bool { return d >= least && d <= most }

// present prunes what no longer counts and returns the time that holds. It believes any clock: for
// a look.
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

// Reserve takes one unit. When there is none it reports when to ask again. A limit of 0 means
// unlimited: the call is counted and always allowed.
func (s *State) Reserve(now time.Time, limit int) (ok bool, free time.Time) {
	held, counted := s.advance(now)
	if limit > 0 {
		if free = s.free(held, limit); free.After(held) {
			if !free.After(now) { // it would be free by a clock that is not believed yet
				free = s.pb.GetAhead().AsTime().Add(believeAfter)
			}
			if !free.After(now) {
				free = now.Add(believeAfter)
			}
			return false, free
		}
	}
	s.bucket(counted.Unix()/60).Used++
	return true, held
}

// Count records calls whatever the limit.
func (s *State) Count(now time.Time, calls int) {
	_, counted := s.advance(now)
	s.bucket(counted.Unix() / 60).Used += uint32(calls)
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

// Refused records a 429: what is missing to the limit was used by another client. The pool is
// closed until the server says, for a day at most, or for a few minutes; what closes it for longer
// stays.
func (s *State) Refused(now time.Time, limit int, retryAfter time.Duration) (external int) {
	_, counted := s.advance(now)
	used, known := s.sum()
	external = max(limit-used-known, 0)
	minutes := int64(Period / time.Minute)
	for i := range external {
		// The k-th of n unknown calls is put at k/n of the last 24 hours.
		age := minutes * int64(i) / int64(external)
		s.bucket(counted.Unix()/60-age).External++
	}
	s.block(counted.Add(min(max(retryAfter, pauseAfterRefusal), Period)), "Proofpoint answered 429")
	return external
}

// block closes the pool. What closes it for longer stays.
func (s *State) block(until time.Time, reason string) {
	if have := s.pb.GetBlockedUntil(); have != nil && have.AsTime().After(until) {
		return
	}
	s.pb.BlockedUntil, s.pb.BlockedReason = timestamppb.New(until), reason
}

// BlockAfterLoss blocks the pool after its history was lost: until 24 h plus the margin after last,
// the latest possible time of an unrecorded call. It returns until when the pool is blocked, by
// that or by something else.
func (s *State) BlockAfterLoss(now, last time.Time) time.Time {
	held, _ := s.advance(now)
	until := last.Add(Period + s.margin)
	if have := s.pb.GetBlockedUntil(); have != nil && have.AsTime().After(until) {
		return have.AsTime()
	}
	if until.After(held) {
		s.block(until, lostMemory)
	}
	return until
}

// Unblock lifts whatever closes the pool besides the calls that were counted.
func (s *State) Unblock(now time.Time) {
	s.advance(now)
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
	Rebuilt  time.Time `json:"rebuilt,omitzero"` // when its memory was lost and made anew
}

// Left is how many calls may be made now.
func (s Status) Left() int { return max(s.Limit-s.Used-s.External, 0) }

// Look describes the pool without changing it for others.
func (s *State) Look(now time.Time, limit int) Status {
	now = s.present(now)
	used, external := s.sum()
	st := Status{Limit: limit, Used: used, External: external, Free: now, Reason: s.pb.GetBlockedReason()}
	if at := s.pb.GetRebuiltAt(); at != nil {
		st.Rebuilt = at.AsTime()
	}
	if limit > 0 {
		st.Free = s.free(now, limit)
	}
	return st
}
