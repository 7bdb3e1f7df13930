package quota

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
)

// Share is what failing calls of all replicas may cost a pool: a burst, and then one each time that
// Every has passed. The zero value is no bound.
type Share struct {
	Burst int
	Every time.Duration
}

// Wait is how long a call that is likely to fail has to wait when this much is owed.
func (s Share) Wait(debt time.Duration) time.Duration {
	if s.Burst == 0 {
		return 0
	}
	return max(debt-time.Duration(s.Burst-1)*s.Every, 0)
}

// Scant reports whether another failure uses the share up: then nothing that costs more calls
// should begin.
func (s Share) Scant(debt time.Duration) bool {
	return s.Burst > 0 && debt > time.Duration(s.Burst-2)*s.Every
}

// Probe asks for a call that is likely to fail. A wait means that the share is used up. While calls
// fail, it charges the call in advance, and reports that: no two replicas take the same place.
func (s *State) Probe(now time.Time, share Share) (charged bool, wait time.Duration) {
	held, _ := s.advance(now)
	debt := s.Debt(held, share)
	if wait = share.Wait(debt); wait > 0 {
		return false, wait
	}
	if debt > 0 {
		s.owe(held, debt+share.Every)
	}
	return debt > 0, 0
}

// Failed charges a call that failed and was not charged before.
func (s *State) Failed(now time.Time, share Share) {
	held, _ := s.advance(now)
	s.owe(held, s.Debt(held, share)+share.Every)
}

// Recovered returns what [State.Probe] charged. It settles all of the debt if one success says that
// nothing fails any more.
func (s *State) Recovered(now time.Time, share Share, all bool) {
	held, _ := s.advance(now)
	debt := s.Debt(held, share) - share.Every
	if all {
		debt = 0
	}
	s.owe(held, debt)
}

// Debt is how long the failing calls take to be paid off. It is bounded: calls that were not known
// to fail, or a limit that was raised, hold up the others for a while only.
func (s *State) Debt(now time.Time, share Share) time.Duration {
	return share.bound(s.pb.GetFailingUntil().AsTime().Sub(now))
}

func (s Share) bound(debt time.Duration) time.Duration {
	return min(max(debt, 0), 2*time.Duration(s.Burst)*s.Every)
}

func (s *State) owe(now time.Time, debt time.Duration) {
	s.pb.FailingUntil = nil
	if debt > 0 {
		s.pb.FailingUntil = timestamppb.New(now.Add(debt))
	}
}

// ReserveProbe is [Limiter.Reserve] for a call that is likely to fail: a wait means that failing
// calls have used up their share of the pool. Tell [Limiter.Failed] or [Limiter.Recovered] what
// became of it; a failure of a call that was charged needs no word.
func (l *Limiter) ReserveProbe(ctx context.Context, pool feed.Pool, share Share) (charged bool, wait time.Duration, err error) {
	var refused error
	err = l.change(ctx, pool, func(s *State, now time.Time) bool {
		refused = nil
		if charged, wait = s.Probe(now, share); wait > 0 {
			return s.marked
		}
		ok, free := s.Reserve(now, l.limits[pool])
		if !ok {
			refused = &ExhaustedError{pool, free.Sub(now)}
		}
		if !ok && charged {
			s.Recovered(now, share, false)
		}
		return ok || s.marked
	})
	err = errors.Join(err, refused)
	return charged && err == nil, wait, err
}

// Failed records that a call failed which was not charged.
func (l *Limiter) Failed(ctx context.Context, pool feed.Pool, share Share) error {
	return l.change(ctx, pool, func(s *State, now time.Time) bool {
		s.Failed(now, share)
		return true
	})
}

// Recovered records that a call succeeded, or was not made, which was charged.
func (l *Limiter) Recovered(ctx context.Context, pool feed.Pool, share Share, all bool) error {
	return l.change(ctx, pool, func(s *State, now time.Time) bool {
		s.Recovered(now, share, all)
		return true
	})
}

// Debt is [State.Debt] as of the last call or failure that this limiter wrote down.
func (l *Limiter) Debt(pool feed.Pool, share Share) time.Duration {
	until, ok := l.failing.Load(pool)
	if !ok {
		return 0
	}
	return share.bound(until.(time.Time).Sub(l.now())) //nolint:forcetypeassert // change stores no other
}
