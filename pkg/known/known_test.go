package known_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/known"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC)

// clock is set by the test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T) (*known.Memory, *clock) {
	t.Helper()
	bucket, err := bustest.Start(t).Bucket(t.Context(), bus.BucketKnown)
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{now: epoch}
	return known.Open(bucket, "main", known.Config{Refresh: 24 * time.Hour}, c.Now), c
}

func TestWhatAThreatIsKnownFor(t *testing.T) {
	t.Parallel()
	m, c := open(t)
	ask := func(status, campaign string) known.Verdict {
		t.Helper()
		v, err := m.Covers(t.Context(), feed.CallThreat, &taplinev1.Target{Id: "t1", Status: status, Campaign: campaign})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	settle := func(status, campaign string) {
		t.Helper()
		if err := m.Complete(t.Context(), feed.CallThreat, "t1", 7, &taplinev1.Target{Id: "t1", Status: status, Campaign: campaign}); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(got, want known.Verdict, what string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: verdict %d, want %d", what, got, want)
		}
	}
	expect(ask("active", ""), known.New, "never asked")
	settle("active", "")
	expect(ask("active", ""), known.Covered, "just asked")
	expect(ask("cleared", ""), known.Changed, "another status")
	expect(ask("active", "c1"), known.Linked, "linked since")
	settle("active", "c1")
	expect(ask("active", ""), known.Covered, "a record that does not know the campaign")
	expect(ask("active", "c1"), known.Covered, "a record that does")
	c.pass(25 * time.Hour)
	expect(ask("active", "c1"), known.Changed, "a day later")
}

func TestACampaignIsAskedAgainWhenItMoves(t *testing.T) {
	t.Parallel()
	m, _ := open(t)
	at := func(d time.Duration) *taplinev1.Target {
		return &taplinev1.Target{Id: "c1", Updated: timestamppb.New(epoch.Add(d))}
	}
	if err := m.Complete(t.Context(), feed.CallCampaign, at(0).GetId(), 7, at(0)); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[*taplinev1.Target]known.Verdict{at(0): known.Covered, at(-time.Hour): known.Covered, at(time.Hour): known.Changed, {Id: "c1"}: known.Covered} {
		if got, err := m.Covers(t.Context(), feed.CallCampaign, target); err != nil || got != want {
			t.Errorf("%v: %d, %v; want %d", target, got, err, want)
		}
	}
}

// TestOneAsksAtATime: of many that want the same, one may ask; when it dies, another may after the
// lease; when it has an answer, no other needs to.
func TestOneAsksAtATime(t *testing.T) {
	t.Parallel()
	m, c := open(t)
	target := &taplinev1.Target{Id: "t1", Status: "active"}
	var wg sync.WaitGroup
	var mu sync.Mutex
	winners := 0
	for i := range 8 {
		wg.Go(func() {
			claim, err := m.Claim(t.Context(), feed.CallThreat, target, fmt.Sprintf("job %d", i))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if !claim.Busy {
				winners++
			}
		})
	}
	wg.Wait()
	if winners != 1 {
		t.Errorf("%d may ask", winners)
	}
	c.pass(known.Lease + time.Second)
	claim, err := m.Claim(t.Context(), feed.CallThreat, target, "another")
	if err != nil || claim.Busy || claim.Covered {
		t.Errorf("after the lease: %+v, %v", claim, err)
	}
	if err := m.Complete(t.Context(), feed.CallThreat, target.GetId(), 7, target); err != nil {
		t.Fatal(err)
	}
	if claim, err = m.Claim(t.Context(), feed.CallThreat, target, "a third"); err != nil || !claim.Covered || claim.Hash != 7 {
		t.Errorf("after the answer: %+v, %v", claim, err)
	}
	if n, err := m.Release(t.Context(), feed.CallThreat, "t1", true); err != nil || n != 1 {
		t.Errorf("failures: %d, %v", n, err)
	}
	if err := m.Forget(t.Context(), feed.CallThreat, "t1"); err != nil {
		t.Fatal(err)
	}
	if claim, err = m.Claim(t.Context(), feed.CallThreat, target, "a fourth"); err != nil || claim.Covered || claim.Busy || claim.Hash != 7 {
		t.Errorf("forgotten: %+v, %v", claim, err)
	}
}

// TestMemoryAgainstAModel: whatever is asked, answered, or given up, in any order, a target is
// covered exactly when one of the latest eight answers was about it within the refresh period.
func TestMemoryAgainstAModel(t *testing.T) {
	t.Parallel()
	m, c := open(t)
	id := 0
	rapid.Check(t, func(r *rapid.T) {
		id++
		name := fmt.Sprintf("t%d", id)
		type answer struct {
			status, campaign string
			at               time.Time
		}
		var answers []answer
		target := func() *taplinev1.Target {
			return &taplinev1.Target{
				Id: name, Status: rapid.SampledFrom([]string{"active", "cleared"}).Draw(r, "status"), Campaign: rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(r, "campaign"),
			}
		}
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			switch x := target(); rapid.SampledFrom([]string{"settle", "pass", "look", "release"}).Draw(r, "what") {
			case "settle":
				if err := m.Complete(t.Context(), feed.CallThreat, x.GetId(), 1, x); err != nil {
					r.Fatal(err)
				}
				answers = append(answers, answer{x.GetStatus(), x.GetCampaign(), c.Now()})
			case "pass":
				c.pass(time.Duration(rapid.IntRange(1, 30).Draw(r, "hours")) * time.Hour)
			case "release":
				if _, err := m.Release(t.Context(), feed.CallThreat, name, true); err != nil {
					r.Fatal(err)
				}
			default:
				want := false
				for _, a := range answers {
					want = want || (a.status == x.GetStatus() && (x.GetCampaign() == "" || x.GetCampaign() == a.campaign) && c.Now().Sub(a.at) < 24*time.Hour)
				}
				got, err := m.Covers(t.Context(), feed.CallThreat, x)
				if err != nil || (got == known.Covered) != want || (got == known.New) != (len(answers) == 0) {
					r.Fatalf("%v after %v: %d, %v", x, answers, got, err)
				}
			}
		}
	})
}

// TestAnEntryKeepsTheLatestAnswers: a threat that changes for ever has an entry of bounded size,
// with the latest answers.
func TestAnEntryKeepsTheLatestAnswers(t *testing.T) {
	t.Parallel()
	m, _ := open(t)
	target := func(i int) *taplinev1.Target { return &taplinev1.Target{Id: "t1", Campaign: fmt.Sprintf("c%d", i)} }
	for i := range 20 {
		if err := m.Complete(t.Context(), feed.CallThreat, "t1", 7, target(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		v, err := m.Covers(t.Context(), feed.CallThreat, target(i))
		if err != nil || (v == known.Covered) != (i >= 12) {
			t.Errorf("campaign %d: %d, %v", i, v, err)
		}
	}
}

// TestAClaimSaysTheLatestCampaign that its target is known to belong to, whatever is known of it
// beside.
func TestAClaimSaysTheLatestCampaign(t *testing.T) {
	t.Parallel()
	m, _ := open(t)
	for i, campaign := range []string{"", "c1", "c2", ""} {
		target := &taplinev1.Target{Id: "t1", Status: fmt.Sprint(i), Campaign: campaign}
		if err := m.Complete(t.Context(), feed.CallThreat, "t1", 7, target); err != nil {
			t.Fatal(err)
		}
		want := []string{"", "c1", "c2", "c2"}[i]
		claimed, err := m.Claim(t.Context(), feed.CallThreat, target, "job")
		if err != nil || claimed.Campaign != want {
			t.Errorf("after campaign %q: %+v, %v; want %q", campaign, claimed, err, want)
		}
	}
}
