package known_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/known"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// TestWhatTheBusRefusesIsAnError of each of the memory's functions, and the repetition succeeds.
func TestWhatTheBusRefusesIsAnError(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	bucket, err := b.Bucket(t.Context(), bus.BucketKnown)
	if err != nil {
		t.Fatal(err)
	}
	m := known.Open(bucket, "main", known.Config{Refresh: time.Hour}, func() time.Time { return epoch })
	target := &taplinev1.Target{Id: "t1", Status: "active"}
	claim := func() error {
		c, err := m.Claim(t.Context(), feed.CallThreat, target, "job")
		if err == nil && (c.Busy || c.Covered) {
			t.Errorf("%+v", c)
		}
		return err
	}
	calls := []struct {
		name   string
		writes bool
		do     func() error
	}{
		{"claim", true, claim},
		{"release", true, func() error { _, err := m.Release(t.Context(), feed.CallThreat, "t1", true); return err }},
		{"forget", true, func() error { return m.Forget(t.Context(), feed.CallThreat, "t1") }},
		{"covers", false, func() error { _, err := m.Covers(t.Context(), feed.CallThreat, target); return err }},
		{"settle", true, func() error { return m.Complete(t.Context(), feed.CallThreat, "t1", 7, target) }},
		{"dead-lettered", false, func() error { _, err := m.DeadLettered(t.Context(), feed.CallThreat, "a b"); return err }},
		{"record dead letter", true, func() error { return m.RecordDeadLetter(t.Context(), feed.CallThreat, "a b") }},
	}
	for _, c := range calls {
		kinds := []struct {
			call  bustest.Call
			after bool
		}{{bustest.Read(bus.BucketKnown), false}}
		if c.writes {
			kinds = append(kinds, []struct {
				call  bustest.Call
				after bool
			}{{bustest.Write(bus.BucketKnown), false}, {bustest.Write(bus.BucketKnown), true}}...)
		}
		for _, kind := range kinds {
			fault := faults.Fail(kind.call, bustest.Fault{After: kind.after})
			if err := c.do(); err == nil || fault.Met() != 1 {
				t.Errorf("%s, after its effect %t: %v, %d calls failed", c.name, kind.after, err, fault.Met())
			}
			fault.End()
		}
		if err := c.do(); err != nil {
			t.Errorf("%s once more: %v", c.name, err)
		}
	}
}

// TestAClaimEnds with the answer, with a failure and when it is given up; only then may another
// ask.
func TestAClaimEnds(t *testing.T) {
	t.Parallel()
	m, c := open(t)
	target := &taplinev1.Target{Id: "t1", Status: "active"}
	claim := func(job string, busy bool) {
		t.Helper()
		got, err := m.Claim(t.Context(), feed.CallThreat, target, job)
		if err != nil || got.Busy != busy || got.Covered {
			t.Fatalf("%s: %+v, %v", job, got, err)
		}
	}
	for _, end := range []func() error{
		func() error {
			return m.Complete(t.Context(), feed.CallThreat, "t1", 7, &taplinev1.Target{Id: "t1", Status: "cleared"})
		},
		func() error { _, err := m.Release(t.Context(), feed.CallThreat, "t1", false); return err },
		func() error { return m.Forget(t.Context(), feed.CallThreat, "t1") },
	} {
		claim("first", false)
		claim("first", false) // which is delivered again
		claim("second", true)
		c.pass(known.Lease)
		claim("second", false) // the first is dead
		claim("first", true)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		claim("third", false)
		if _, err := m.Release(t.Context(), feed.CallThreat, "t1", false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFailuresAreCountedInARow, and an answer ends the row.
func TestFailuresAreCountedInARow(t *testing.T) {
	t.Parallel()
	m, _ := open(t)
	for i, step := range []struct {
		failed bool
		want   int
	}{{true, 1}, {true, 2}, {false, 2}, {true, 3}} {
		if n, err := m.Release(t.Context(), feed.CallThreat, "t1", step.failed); err != nil || n != step.want {
			t.Errorf("step %d: %d, %v", i, n, err)
		}
	}
	if err := m.Complete(t.Context(), feed.CallThreat, "t1", 0, &taplinev1.Target{Id: "t1"}); err != nil {
		t.Fatal(err)
	}
	if n, err := m.Release(t.Context(), feed.CallThreat, "t1", true); err != nil || n != 1 {
		t.Errorf("after an answer: %d, %v", n, err)
	}
}

// TestWhatIsUnreadableIsAsLost: it is asked for again, and written over.
func TestWhatIsUnreadableIsAsLost(t *testing.T) {
	t.Parallel()
	bucket, err := bustest.Start(t).Bucket(t.Context(), bus.BucketKnown)
	if err != nil {
		t.Fatal(err)
	}
	m := known.Open(bucket, "main", known.Config{Refresh: time.Hour}, func() time.Time { return epoch })
	target := &taplinev1.Target{Id: "t1"}
	if err := m.Complete(t.Context(), feed.CallThreat, "t1", 7, target); err != nil {
		t.Fatal(err)
	}
	readable, err := bucket.Get(t.Context(), known.Key("main", feed.CallThreat, "t1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Put(t.Context(), known.Key("main", feed.CallThreat, "t1"), append(readable.Value, bytes.Repeat([]byte{0xff}, 9)...)); err != nil {
		t.Fatal(err)
	}
	if v, err := m.Covers(t.Context(), feed.CallThreat, target); err != nil || v != known.New {
		t.Errorf("%v, %v", v, err)
	}
	if err := m.Complete(t.Context(), feed.CallThreat, "t1", 7, target); err != nil {
		t.Fatal(err)
	}
	if v, err := m.Covers(t.Context(), feed.CallThreat, target); err != nil || v != known.Covered {
		t.Errorf("%v, %v", v, err)
	}
}

// TestIDsThatCannotBeAskedFor have a key each, one for a threat and its forensics, whatever is in
// them.
func TestIDsThatCannotBeAskedFor(t *testing.T) {
	t.Parallel()
	m, c := open(t)
	ids := []string{"", "a b", "a/b", "a.b", "*", ">", "é", "\xff", "a\nb", strings.Repeat("x", 5000)}
	told := func(call feed.Call, id string) bool {
		t.Helper()
		is, err := m.DeadLettered(t.Context(), call, id)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	for _, id := range ids {
		if told(feed.CallThreat, id) || told(feed.CallCampaignForensics, id) {
			t.Errorf("%.20q has a letter", id)
		}
		if err := m.RecordDeadLetter(t.Context(), feed.CallThreatForensics, id); err != nil {
			t.Fatal(err)
		}
	}
	c.pass(29 * 24 * time.Hour) // as long as DEAD has it
	for _, id := range ids {
		if !told(feed.CallThreat, id) || !told(feed.CallThreatForensics, id) {
			t.Errorf("%.20q has no letter", id)
		}
		if told(feed.CallCampaign, id) {
			t.Errorf("%.20q has one for a campaign", id)
		}
	}
	if a, b := known.DeadLetterID("main", feed.CallCampaign), known.DeadLetterID("main", feed.CallCampaignForensics); a != b || a == known.DeadLetterID("other", feed.CallCampaign) || a == known.DeadLetterID("main", feed.CallThreat) {
		t.Errorf("letters are named %s, %s", a, b)
	}
}

// TestAnswersStandBesideEachOther: one about another status or campaign replaces none.
func TestAnswersStandBesideEachOther(t *testing.T) {
	t.Parallel()
	m, _ := open(t)
	for id, targets := range map[string][]*taplinev1.Target{
		"t1": {{Status: "active"}, {Status: "cleared"}, {Status: "active", Campaign: "c1"}, {Status: "active", Campaign: "c2"}},
		"t2": {{Status: "active"}, {Status: "cleared"}},
	} {
		for range 3 {
			for _, target := range targets {
				if err := m.Complete(t.Context(), feed.CallThreat, id, 7, target); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, target := range targets {
			target.Id = id
			if v, err := m.Covers(t.Context(), feed.CallThreat, target); err != nil || v != known.Covered {
				t.Errorf("%v: %d, %v", target, v, err)
			}
		}
	}
}

// TestALostRaceIsRunAgain, on what the faster one wrote.
func TestALostRaceIsRunAgain(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	direct := bustest.Connect(t, faults.Server)
	at := func(b *bus.Bus) *known.Memory {
		bucket, err := b.Bucket(t.Context(), bus.BucketKnown)
		if err != nil {
			t.Fatal(err)
		}
		return known.Open(bucket, "main", known.Config{Refresh: time.Hour}, func() time.Time { return epoch })
	}
	m, rival := at(b), at(direct)
	raced := false
	faults.At(bustest.Write(bus.BucketKnown), func() {
		if !raced {
			raced = true
			if _, err := rival.Release(t.Context(), feed.CallThreat, "t1", true); err != nil {
				t.Error(err)
			}
		}
	})
	if n, err := m.Release(t.Context(), feed.CallThreat, "t1", true); err != nil || n != 2 {
		t.Errorf("%d failures, %v", n, err)
	}
}

// TestAnAnswerWithoutContentLeavesTheHash: what was published last is compared with the next
// content, whatever is recorded in between.
func TestAnAnswerWithoutContentLeavesTheHash(t *testing.T) {
	t.Parallel()
	m, clock := open(t)
	target := &taplinev1.Target{Id: "t1"}
	for _, hash := range []uint64{7, 0, 8, 1, 0} {
		if err := m.Complete(t.Context(), feed.CallThreat, "t1", hash, target); err != nil {
			t.Fatal(err)
		}
		clock.pass(25 * time.Hour)
		want := map[uint64]uint64{7: 7, 8: 8, 1: 1}[hash]
		claimed, err := m.Claim(t.Context(), feed.CallThreat, target, "job")
		if err != nil || claimed.Covered || want != 0 && claimed.Hash != want || claimed.Hash == 0 {
			t.Errorf("after %d: %+v, %v", hash, claimed, err)
		}
	}
}

// TestTheRefreshPeriodHasItsBounds.
func TestTheRefreshPeriodHasItsBounds(t *testing.T) {
	t.Parallel()
	for period, good := range map[time.Duration]bool{
		time.Minute: true, time.Minute - 1: false, 480 * time.Hour: true, 480*time.Hour + 1: false,
	} {
		if err := (known.Config{Refresh: period}).Validate(); (err == nil) != good {
			t.Errorf("%s: %v", period, err)
		}
	}
}

// TestNothingIsWrittenForNothing: a claim that is not had leaves the key as it is.
func TestNothingIsWrittenForNothing(t *testing.T) {
	t.Parallel()
	b, faults := bustest.StartFaulty(t)
	bucket, err := b.Bucket(t.Context(), bus.BucketKnown)
	if err != nil {
		t.Fatal(err)
	}
	m := known.Open(bucket, "main", known.Config{Refresh: time.Hour}, func() time.Time { return epoch })
	target := &taplinev1.Target{Id: "t1"}
	writes := faults.At(bustest.Write(bus.BucketKnown), func() {})
	for i, step := range []struct {
		do   func() error
		want int
	}{
		{func() error { _, err := m.Claim(t.Context(), feed.CallThreat, target, "a"); return err }, 1},
		{func() error { _, err := m.Claim(t.Context(), feed.CallThreat, target, "b"); return err }, 1}, // busy
		{func() error { return m.Complete(t.Context(), feed.CallThreat, "t1", 7, target) }, 2},
		{func() error { _, err := m.Claim(t.Context(), feed.CallThreat, target, "b"); return err }, 2}, // covered
	} {
		if err := step.do(); err != nil || writes.Met() != step.want {
			t.Errorf("step %d: %d writings, %v", i, writes.Met(), err)
		}
	}
}

// TestKeys: an id is found where the version before has put it.
func TestKeys(t *testing.T) {
	t.Parallel()
	if got := known.Key("main", feed.CallThreat, "a-1"); got != "main.threat.a-1" {
		t.Error(got)
	}
	if got := known.Key("main", feed.CallThreat, "a b"); strings.Contains(got, "a b") || !strings.HasPrefix(got, "main.threat.") || got == known.Key("main", feed.CallThreat, "a c") {
		t.Error(got)
	}
}

// TestWhatIsForgottenIsNew: it is asked for as at first, and so is what is as old as the refresh
// period.
func TestWhatIsForgottenIsNew(t *testing.T) {
	t.Parallel()
	m, clock := open(t)
	target := &taplinev1.Target{Id: "t1"}
	if err := m.Complete(t.Context(), feed.CallThreat, "t1", 7, target); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pass time.Duration
		want known.Verdict
	}{{24*time.Hour - 1, known.Covered}, {1, known.Changed}} {
		clock.pass(c.pass)
		if got, err := m.Covers(t.Context(), feed.CallThreat, target); err != nil || got != c.want {
			t.Errorf("%v, %v, want %v", got, err, c.want)
		}
	}
	if _, err := m.Release(t.Context(), feed.CallThreat, "t1", true); err != nil {
		t.Fatal(err)
	}
	if err := m.Forget(t.Context(), feed.CallThreat, "t1"); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Covers(t.Context(), feed.CallThreat, target); err != nil || got != known.New {
		t.Errorf("%v, %v", got, err)
	}
	if n, err := m.Release(t.Context(), feed.CallThreat, "t1", true); err != nil || n != 1 {
		t.Errorf("%d failures, %v", n, err)
	}
	if claimed, err := m.Claim(t.Context(), feed.CallThreat, target, "job"); err != nil || claimed.Hash != 7 {
		t.Errorf("%+v, %v: the content was published", claimed, err)
	}
}
