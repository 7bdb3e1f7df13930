package plan_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestARestThatIsNeverProvenBacksOff: answers for one minute end some seconds early, whenever it is
// asked for. Its remainder is asked for seldom, counts as asked for in vain, and is read in the
// end.
func TestARestThatIsNeverProvenBacksOff(t *testing.T) {
	t.Parallel()
	for _, cut := range []time.Duration{3 * time.Second, 10 * time.Second, 29 * time.Second, 40 * time.Second} {
		s := newSystem(t.Fatalf, feed.SIEM(), 0)
		s.run(time.Hour, 10*time.Second)
		bad, asked, proven := s.state().GetLiveHead().AsTime().Add(time.Minute), 0, false
		answer := func(j *taplinev1.Job) *taplinev1.JobRecord {
			r := fetched(s.now, 0)
			if w := span(j); w.End.Equal(bad) && j.GetLane() != taplinev1.Lane_LANE_SWEEP && !proven {
				asked++
				r.ReadEnd = timestamppb.New(w.End.Add(-cut))
			}
			return r
		}
		var since time.Time
		for end := s.now.Add(3 * time.Hour); s.now.Before(end); s.now = s.now.Add(10 * time.Second) {
			s.step(answer)
			if a := s.state().GetAsides(); len(a) > 0 && since.IsZero() {
				since = a[0].GetSince().AsTime()
			}
		}
		asides := s.state().GetAsides()
		if len(asides) != 1 || asides[0].GetFailures() < 5 || !asides[0].GetSince().AsTime().Equal(since) || asides[0].GetJob().GetFailures() != asides[0].GetFailures() {
			t.Fatalf("cut by %s: %v, first set aside at %s", cut, asides, since)
		}
		if asked < 5 || asked > 12 {
			t.Errorf("cut by %s: asked for %d times in three hours", cut, asked)
		}
		proven = true
		for end := s.now.Add(61 * time.Minute); s.now.Before(end); s.now = s.now.Add(10 * time.Second) {
			s.step(answer)
		}
		if n := len(s.state().GetAsides()); n > 0 {
			t.Errorf("cut by %s: %d windows are still set aside", cut, n)
		}
		if left, _, ok := plan.Edge(s.state(), s.now); ok && left < 6*day {
			t.Errorf("cut by %s: something is unread that is served for another %s", cut, left)
		}
		s.check()
	}
}
