package pace_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/services/fetcher/internal/pace"
)

// at makes breakers by a clock that the test sets.
func at(now *time.Time) *pace.Breakers {
	*now = time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC)
	return pace.NewBreakers(func() time.Time { return *now }, func(d time.Duration) time.Duration { return d })
}

// TestOneFailureIsNoTrouble: an id has no forensics, which is ordinary, and nothing else is asked
// for. When a second call fails, an operator should know, unless it has an alarm of its own.
func TestOneFailureIsNoTrouble(t *testing.T) {
	t.Parallel()
	var now time.Time
	b, key := at(&now), pace.Key{Lane: "forensics", Endpoint: "threat-forensics"}
	lasts := func() (n int) {
		for range 40 {
			now = now.Add(15 * time.Second)
			for _, trouble := range b.Troubles() {
				if trouble.Lasts(2 * time.Minute) {
					n++
				}
			}
		}
		return n
	}
	failure := pace.Failure{Curve: pace.CurveOf("forensics", 50), Odd: true, Words: "404"}
	b.Failed(key, failure)
	if n := lasts(); n > 0 {
		t.Errorf("one failure is trouble at %d looks", n)
	}
	b.Failed(key, failure)
	b.Failed(key, failure)
	if lasts() == 0 {
		t.Error("two failures are no trouble")
	}
	failure.Quiet = true
	b.Failed(key, failure)
	if n := lasts(); n > 0 {
		t.Errorf("a failure with an alarm of its own is trouble at %d looks", n)
	}
}

// TestLeaveKeepsTheRest: what another call in hand finds, still current, 429 or canceled, opens no
// breaker. It ends the probing that it began.
func TestLeaveKeepsTheRest(t *testing.T) {
	t.Parallel()
	var now time.Time
	b, key := at(&now), pace.Key{Lane: "live", Endpoint: "/v2/siem/all"}
	b.Enter(key)
	b.Enter(key) // two windows are asked for at once
	for range 5 {
		b.Failed(key, pace.Failure{Curve: pace.CurveOf("live", 1800), Odd: true})
	}
	b.Leave(key)
	rest := b.Wait(key)
	if rest < time.Minute {
		t.Errorf("rests %s", rest)
	}
	now = now.Add(rest)
	if wait := b.Enter(key); wait > 0 {
		t.Errorf("no probe for another %s", wait)
	}
	if b.Enter(key) == 0 {
		t.Error("two probes at once")
	}
	b.Leave(key)
	if wait := b.Enter(key); wait > 0 {
		t.Errorf("no probe for another %s after one that was not made", wait)
	}
}
