package replay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Why a change of an order is refused.
var (
	// ErrOver: the order is done, cancelled or refused, and stays so.
	ErrOver = errors.New("is over")
	// ErrNotMine: another process works on the order, or none does.
	ErrNotMine = errors.New("another process works on it")
	// ErrNotPaused: only what is paused can be resumed.
	ErrNotPaused = errors.New("is not paused")
)

// Short names of the states.
const (
	ordered   = taplinev1.ReplayState_REPLAY_STATE_ORDERED
	running   = taplinev1.ReplayState_REPLAY_STATE_RUNNING
	paused    = taplinev1.ReplayState_REPLAY_STATE_PAUSED
	done      = taplinev1.ReplayState_REPLAY_STATE_DONE
	cancelled = taplinev1.ReplayState_REPLAY_STATE_CANCELLED
	refused   = taplinev1.ReplayState_REPLAY_STATE_REFUSED
)

// StateName is the state as it is printed.
func StateName(r *taplinev1.Replay) string {
	return strings.ToLower(strings.TrimPrefix(r.GetState().String(), "REPLAY_STATE_"))
}

// Over reports whether nothing more will happen to an order.
func Over(r *taplinev1.Replay) bool { return r.GetState() >= done }

// Tally is what became of one message.
type Tally struct {
	Sequence  uint64
	Rows      uint64 // confirmed by the sink, or reprocessed
	Bytes     uint64 // of them
	Delivered uint64 // rows left out: the ledger shows them as delivered, or they are on their way
	Dead      uint64 // rows or records that cannot be sent
}

func set(r *taplinev1.Replay, state taplinev1.ReplayState, reason string, now time.Time) {
	if r.GetState() != state {
		r.State, r.ChangedAt = state, timestamppb.New(now)
	}
	r.Reason = reason
}

func over(r *taplinev1.Replay) error {
	return fmt.Errorf("replay %s %w: it is %s", r.GetOrder().GetId(), ErrOver, StateName(r))
}

// Pause stops an order until it is resumed. The owner finishes what is in its hands.
func Pause(r *taplinev1.Replay, now time.Time) error {
	if Over(r) {
		return over(r)
	}
	set(r, paused, "", now)
	return nil
}

// Resume resumes a paused order.
func Resume(r *taplinev1.Replay, now time.Time) error {
	switch {
	case Over(r):
		return over(r)
	case r.GetState() != paused:
		return fmt.Errorf("replay %s %w: it is %s", r.GetOrder().GetId(), ErrNotPaused, StateName(r))
	}
	set(r, ordered, "", now)
	return nil
}

// Cancel ends an order for good.
func Cancel(r *taplinev1.Replay, now time.Time) error {
	if Over(r) {
		return over(r)
	}
	set(r, cancelled, "", now)
	return nil
}

// free reports whether a process may claim an order.
func free(r *taplinev1.Replay, owner string, now time.Time) bool {
	if r.GetState() != ordered && r.GetState() != running {
		return false
	}
	return r.GetOwner() == "" || r.GetOwner() == owner || !now.Before(r.GetOwnerUntil().AsTime())
}

// claim makes a process the owner of an order that is free, or its owner for longer.
func claim(r *taplinev1.Replay, owner string, now time.Time) error {
	if !free(r, owner, now) {
		return ErrNotMine
	}
	reason := ""
	if r.GetState() == running && r.GetOwner() == owner {
		reason = r.GetReason() // what keeps it from going on at the moment
	}
	set(r, running, reason, now)
	r.Owner, r.OwnerUntil = owner, timestamppb.New(now.Add(lease))
	if r.Progress == nil {
		r.Progress = &taplinev1.ReplayProgress{}
	}
	return nil
}

// begin records that the owner can do the order. The first time stays.
func begin(r *taplinev1.Replay, owner string, now time.Time) error {
	if r.GetOwner() != owner {
		return ErrNotMine
	}
	if r.GetProgress().GetStartedAt() == nil {
		r.Progress.StartedAt = timestamppb.New(now)
	}
	return nil
}

// count counts messages that the owner has done, each once. The owner may also record what it
// finished after the order was paused or cancelled.
func count(r *taplinev1.Replay, owner string, tallies []Tally) error {
	if r.GetOwner() != owner {
		return ErrNotMine
	}
	p := r.GetProgress()
	for _, t := range tallies {
		if counted(r, t.Sequence) {
			continue
		}
		p.Beyond = append(p.Beyond, t.Sequence)
		p.Messages++
		p.Rows += t.Rows
		p.Bytes += t.Bytes
		p.Delivered += t.Delivered
		p.Dead += t.Dead
	}
	return nil
}

// counted reports whether a message is counted already.
func counted(r *taplinev1.Replay, sequence uint64) bool {
	p := r.GetProgress()
	return sequence <= p.GetFloor() || slices.Contains(p.GetBeyond(), sequence)
}

// raise records that all messages up to a sequence are acknowledged, which means done.
func raise(r *taplinev1.Replay, floor uint64) {
	p := r.GetProgress()
	if p == nil || floor <= p.GetFloor() {
		return
	}
	p.Floor = floor
	p.Beyond = slices.DeleteFunc(p.GetBeyond(), func(s uint64) bool { return s <= floor })
}

// finish records that everything is done. An order that was paused in the last moment is done, too.
func finish(r *taplinev1.Replay, owner string, now time.Time) error {
	if r.GetOwner() != owner {
		return ErrNotMine
	}
	if Over(r) {
		return over(r)
	}
	reason := ""
	if missed := Missed(r); missed > 0 {
		reason = fmt.Sprintf("%d of %d messages were gone from the stream before they were reached", missed, r.GetOrder().GetMessages())
	}
	set(r, done, reason, now)
	r.Owner, r.OwnerUntil = "", nil
	return nil
}

// Missed is how many messages an order that is done has not seen.
func Missed(r *taplinev1.Replay) uint64 {
	want, have := r.GetOrder().GetMessages(), r.GetProgress().GetMessages()
	return want - min(want, have)
}

// refuse says why the owner cannot do an order.
func refuse(r *taplinev1.Replay, owner, reason string, now time.Time) error {
	if r.GetOwner() != owner {
		return ErrNotMine
	}
	if Over(r) {
		return over(r)
	}
	set(r, refused, reason, now)
	r.Owner, r.OwnerUntil = "", nil
	return nil
}

// suspend pauses an order that cannot continue without an operator.
func suspend(r *taplinev1.Replay, owner, reason string, now time.Time) error {
	if r.GetOwner() != owner {
		return ErrNotMine
	}
	if Over(r) {
		return over(r)
	}
	set(r, paused, reason, now)
	r.Owner, r.OwnerUntil = "", nil
	return nil
}

// release gives an order up; another process may take it at once.
func release(r *taplinev1.Replay, owner string, now time.Time) error {
	if r.GetOwner() != owner {
		return ErrNotMine
	}
	if r.GetState() == running {
		set(r, ordered, r.GetReason(), now)
	}
	r.Owner, r.OwnerUntil = "", nil
	return nil
}
