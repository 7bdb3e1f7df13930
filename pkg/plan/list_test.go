package plan_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func readPage(received, total int64) *taplinev1.JobRecord {
	return &taplinev1.JobRecord{
		State: taplinev1.WindowState_WINDOW_STATE_FETCHED, Total: total, Feeds: []*taplinev1.FeedResult{{Received: received}},
	}
}

// TestCampaignsAreReadWithoutAGap: whatever is in the pages, however long planning pauses, the
// windows of a list of campaigns touch, none is longer than a day, each is read to its last page,
// and the calls of any 24 hours stay below the limit once the list has caught up.
func TestCampaignsAreReadWithoutAGap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := plan.ListConfig{
			Tenant: "main", Call: feed.CallCampaignIDs, Interval: time.Duration(rapid.IntRange(1, 24*60).Draw(t, "interval")) * time.Minute,
			Start: epoch.Add(-time.Duration(rapid.IntRange(0, 168).Draw(t, "age")) * time.Hour), Margin: 5 * time.Second, Limit: 50, Lists: 1,
		}
		state, now := &taplinev1.ListState{}, epoch.Add(time.Hour)
		covered := c.Start.Truncate(time.Second)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			out := plan.StepList(c, state, now, nil)
			for out.New != nil {
				id, err := job.Parse(out.New.GetId())
				if err != nil || id.Call != c.Call || id.Lane != taplinev1.Lane_LANE_LIST {
					t.Fatalf("%s: %v", out.New.GetId(), err)
				}
				if id.Window.Span() > 24*time.Hour || id.Window.Span() < window.MinSpan || id.Window.Start.After(covered) || id.Window.End.After(now) {
					t.Fatalf("window %s at %s, covered up to %s", id.Window, now, covered)
				}
				now = now.Add(time.Second)
				full := rapid.IntRange(0, 9).Draw(t, "full page") == 0
				received := int64(rapid.IntRange(0, 199).Draw(t, "entries"))
				if full {
					received = 200
				}
				if !full && id.Window.End.After(covered) {
					covered = id.Window.End
				}
				if again := plan.StepList(c, state, now, nil); again.New != nil {
					t.Fatal("a page was ordered while another is read")
				}
				out = plan.StepList(c, state, now, readPage(received, 0))
				if next := out.New; full && (next == nil || next.GetPass() != id.Pass+1) {
					t.Fatalf("no page behind page %d of 200 entries", id.Pass)
				}
			}
			if gap := now.Sub(covered); gap > c.Interval+12*time.Hour { // many pages stretch the interval
				t.Fatalf("at %s it is read up to %s only, and nothing is planned", now, covered)
			}
			now = now.Add(time.Duration(rapid.IntRange(1, 40*60).Draw(t, "minutes")) * time.Minute)
		}
	})
}

// TestAnEarlierStartOfAList: the campaigns of the time between are read, as far as Proofpoint
// serves them, whatever was under way; a later start, the same one and one of an earlier version
// change nothing.
func TestAnEarlierStartOfAList(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, text string
		age          time.Duration
		call         feed.Call
		want         time.Duration // age of where reading resumes
	}{
		"earlier":          {"12h", "72h", 72 * time.Hour, feed.CallCampaignIDs, 72 * time.Hour},
		"beyond the edge":  {"12h", "1 March", 200 * time.Hour, feed.CallCampaignIDs, epoch.Sub(plan.Oldest(epoch))},
		"later":            {"12h", "1h", time.Hour, feed.CallCampaignIDs, 0},
		"the same text":    {"12h", "12h", 72 * time.Hour, feed.CallCampaignIDs, 0},
		"a version before": {"", "72h", 72 * time.Hour, feed.CallCampaignIDs, 0},
		"people":           {"12h", "72h", 72 * time.Hour, feed.CallVAP, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := plan.ListConfig{
				Tenant: "main", Call: c.call, Interval: time.Hour, Snapshot: 24 * time.Hour, Start: epoch.Add(-c.age), Text: c.text, Margin: 5 * time.Second, Limit: 50, Lists: 1,
			}
			under := &taplinev1.Job{Id: "under way", Window: window.New(epoch.Add(-time.Hour), epoch).Proto(), PlannedAt: timestamppb.New(epoch)}
			state := &taplinev1.ListState{
				Start: timestamppb.New(epoch.Add(-12 * time.Hour)), StartTime: c.before, Head: timestamppb.New(epoch.Add(-time.Hour)), Outstanding: under, Due: timestamppb.New(epoch),
			}
			out := plan.StepList(list, state, epoch, nil)
			if c.want == 0 {
				if out.New != nil || out.Earlier != "" || state.GetOutstanding().GetId() != under.GetId() {
					t.Fatalf("%+v", out)
				}
				return
			}
			if out.New == nil || out.Earlier == "" {
				t.Fatalf("%+v", out)
			}
			var covered []window.Window
			for now := epoch; out.New != nil && len(covered) < 20; now = now.Add(time.Second) {
				covered = append(covered, span(out.New))
				out = plan.StepList(list, state, now, readPage(3, 0))
				if out.New == nil {
					out = plan.StepList(list, state, now, nil)
				}
			}
			if open := window.New(epoch.Add(-c.want).Add(time.Second), epoch.Add(-time.Minute)).Missing(covered); len(open) > 0 || state.GetStartTime() != c.text {
				t.Errorf("not read: %v of %v", open, covered)
			}
		})
	}
}

func TestCampaignsStayWithinTheirCalls(t *testing.T) {
	t.Parallel()
	c := plan.ListConfig{Tenant: "main", Call: feed.CallCampaignIDs, Interval: time.Hour, Start: epoch, Margin: 5 * time.Second, Limit: 50, Lists: 1}
	state := &taplinev1.ListState{}
	var calls []time.Time
	for now := epoch.Add(time.Minute); now.Before(epoch.Add(5 * 24 * time.Hour)); now = now.Add(time.Minute) {
		out := plan.StepList(c, state, now, nil)
		for page := 1; out.New != nil; page++ {
			if calls = append(calls, now); len(out.New.GetTargets()) > 0 {
				t.Fatalf("a list without days asks for %v", out.New.GetTargets())
			}
			received := int64(200)
			if page == 3 { // three pages each time would make 72 calls a day
				received = 7
			}
			out = plan.StepList(c, state, now, readPage(received, 0))
		}
	}
	for i, from := range calls {
		n := 0
		for _, at := range calls[i:] {
			if at.Before(from.Add(24 * time.Hour)) {
				n++
			}
		}
		if n > 50 {
			t.Fatalf("%d calls in the day from %s", n, from)
		}
	}
	if len(calls) < 5*30 {
		t.Errorf("%d calls in five days: more could be made", len(calls))
	}
}

// TestPeopleAreReadToTheEnd: with a total, up to it; without one, up to an empty page; never for
// ever.
func TestPeopleAreReadToTheEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pages []int64
		total int64
	}{
		"one page":              {[]int64{17}, 17},
		"one person":            {[]int64{1}, 1},
		"empty":                 {[]int64{0}, 0},
		"exactly full":          {[]int64{1000}, 1000},
		"small pages":           {[]int64{200, 200, 200, 100}, 700}, // the server may have its own idea of a page
		"a total that is wrong": {[]int64{200, 100, 0}, 9999},
		"no total":              {[]int64{1000, 3, 0}, 0},
	} {
		list := plan.ListConfig{Tenant: "main", Call: feed.CallVAP, Days: "14", Interval: 8 * time.Hour, Snapshot: 24 * time.Hour, Margin: 5 * time.Second, Limit: 50, Lists: 3}
		state := &taplinev1.ListState{}
		out := plan.StepList(list, state, epoch.Add(time.Hour), nil)
		for i, received := range c.pages {
			if out.New == nil || out.New.GetPass() != uint32(i+1) || out.New.GetTargets()[0].GetId() != "14" {
				t.Fatalf("%s: page %d: %v", name, i+1, out.New)
			}
			out = plan.StepList(list, state, epoch.Add(time.Hour), readPage(received, c.total))
		}
		if out.New != nil || state.GetPages() != uint32(len(c.pages)) {
			t.Errorf("%s: it goes on with %v", name, out.New)
		}
		if due := state.GetDue().AsTime(); !due.After(epoch.Add(time.Hour)) || due.After(epoch.Add(13*time.Hour)) {
			t.Errorf("%s: due at %s", name, due)
		}
	}
}

func TestAListWithoutEndIsEnded(t *testing.T) {
	t.Parallel()
	c := plan.ListConfig{Tenant: "main", Call: feed.CallTopClickers, Days: "14", Interval: time.Hour, Snapshot: 24 * time.Hour, Limit: 50, Lists: 3}
	state, pages := &taplinev1.ListState{}, 0
	out := plan.StepList(c, state, epoch.Add(time.Hour), nil)
	for ; out.New != nil && pages < 10_000; pages++ {
		out = plan.StepList(c, state, epoch.Add(time.Hour), readPage(200, 0))
	}
	if pages != 500 || out.Note == "" {
		t.Errorf("%d pages, %q", pages, out.Note)
	}
}

// TestNoAnswerEndsAList: a page that a fetcher gave up is read later, in another length, until
// seven days are over.
func TestNoAnswerEndsAList(t *testing.T) {
	t.Parallel()
	lost := &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_LOST, Reason: "too far into the past"}
	c := plan.ListConfig{Tenant: "main", Call: feed.CallCampaignIDs, Interval: time.Hour, Start: epoch.Add(-48 * time.Hour), Limit: 50, Lists: 1}
	state, now := &taplinev1.ListState{}, epoch
	first := plan.StepList(c, state, now, nil).New
	tries := 0
	for at := first; ; tries++ {
		out := plan.StepList(c, state, now, lost)
		if out.Lost != nil {
			if !span(at).End.Before(now.Add(-window.Lookback)) || out.Lost.Reason != lost.GetReason() || out.Lost.Feeds[0] != "campaigns" {
				t.Errorf("%+v at %s", out.Lost, now)
			}
			break
		}
		for out.New == nil {
			now = now.Add(10 * time.Minute)
			out = plan.StepList(c, state, now, nil)
		}
		if next := span(out.New); next.Start != span(first).Start || out.New.GetId() == at.GetId() {
			t.Fatalf("after %s comes %s", at.GetId(), out.New.GetId())
		}
		at = out.New
	}
	if days := now.Sub(epoch).Hours() / 24; tries < 4 || float64(tries) > days*4+1 {
		t.Errorf("%d tries in %.1f days", tries, days)
	}
	people := plan.ListConfig{Tenant: "main", Call: feed.CallVAP, Days: "14", Interval: 8 * time.Hour, Snapshot: 24 * time.Hour, Limit: 50, Lists: 3}
	state = &taplinev1.ListState{}
	plan.StepList(people, state, epoch, nil)
	if out := plan.StepList(people, state, epoch.Add(30*24*time.Hour), lost); out.Lost != nil || state.GetOutstanding() != nil {
		t.Errorf("a list of the present: %+v", out)
	}
}

// TestAListGoesOnFromWhatWasRead: whatever the start time says at a later start.
func TestAListGoesOnFromWhatWasRead(t *testing.T) {
	t.Parallel()
	c := plan.ListConfig{Tenant: "main", Call: feed.CallCampaignIDs, Interval: time.Hour, Start: epoch.Add(-12 * time.Hour), Limit: 50, Lists: 1}
	state := &taplinev1.ListState{}
	plan.StepList(c, state, epoch, nil)
	for _, read := range []bool{false, true} { // before the first reading is over, and after
		c.Start = epoch.Add(3*24*time.Hour - 12*time.Hour) // as an age of twelve hours is three days later
		again := proto.CloneOf(state)
		want := epoch.Add(-12 * time.Hour)
		if read {
			plan.StepList(c, again, epoch, readPage(3, 0))
			want = epoch.Add(-time.Hour)
		} else {
			again.Outstanding = nil
		}
		out := plan.StepList(c, again, epoch.Add(3*24*time.Hour), nil)
		if out.New == nil || span(out.New).Start.After(want) {
			t.Errorf("read %t: after three days it goes on with %v, want from %s on", read, out.New, want)
		}
	}
	if out := plan.StepList(c, &taplinev1.ListState{}, epoch.Add(3*24*time.Hour), nil); !span(out.New).Start.Equal(c.Start) {
		t.Errorf("a first start begins with %v", out.New)
	}
}

// TestPeopleOfYesterday: a page that waits for a whole snapshot is left for a reading of the next
// one.
func TestPeopleOfYesterday(t *testing.T) {
	t.Parallel()
	c := plan.ListConfig{Tenant: "main", Call: feed.CallVAP, Days: "14", Interval: 8 * time.Hour, Snapshot: 24 * time.Hour, Limit: 50, Lists: 3}
	state := &taplinev1.ListState{}
	midnight := epoch.Truncate(24 * time.Hour).Add(24 * time.Hour)
	first := plan.StepList(c, state, midnight.Add(-time.Hour), nil).New
	if out := plan.StepList(c, state, midnight.Add(30*time.Minute), nil); out.New != nil || out.Note != "" {
		t.Errorf("a reading over midnight was left: %+v", out)
	}
	out := plan.StepList(c, state, midnight.Add(2*time.Hour), nil)
	if out.New == nil || out.New.GetId() == first.GetId() || !span(out.New).Start.Equal(midnight) || out.Note == "" {
		t.Errorf("%+v", out)
	}
}
