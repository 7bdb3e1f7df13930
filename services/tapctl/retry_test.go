package tapctl_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// orders are what the scheduler will find; they are taken away.
func (c console) orders(b *bus.Bus) (all []string) {
	c.t.Helper()
	state, err := b.Bucket(c.t.Context(), bus.BucketState)
	if err != nil {
		c.t.Fatal(err)
	}
	pairs, err := state.Select(c.t.Context(), plan.RetryKeys("main"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, pair := range pairs {
		order := &taplinev1.Retry{}
		if err := proto.Unmarshal(pair.Value, order); err != nil {
			c.t.Fatal(err)
		}
		w, err := window.FromProto(order.GetWindow())
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, w.String()+" "+strings.Join(order.GetFeeds(), ","))
		if err := state.Delete(c.t.Context(), pair.Key, pair.Revision); err != nil {
			c.t.Fatal(err)
		}
	}
	return all
}

// TestRetry: a span, a job, and all that is lost go back into the plan, as far as Proofpoint still
// serves them.
func TestRetry(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("setup")
	b := bustest.Connect(t, c.Server)
	start := c.planned(b)
	span := window.New(start.Add(-2*time.Hour), start.Add(-time.Hour))
	ordered := func(want ...string) {
		t.Helper()
		if got := c.orders(b); strings.Join(got, "; ") != strings.Join(want, "; ") {
			t.Errorf("ordered %q, want %q", got, want)
		}
	}
	if out := c.must("retry", span.String(), "--dry-run"); !strings.Contains(out, "would be read once more") {
		t.Errorf("says %s", out)
	}
	ordered()
	if out := c.must("retry", span.String()); !strings.Contains(out, "is read once more") {
		t.Errorf("says %s", out)
	}
	ordered(span.String() + " clicksBlocked")
	id := job.ID{Tenant: "main", Set: feed.Set{feed.ClicksBlocked}, Window: span, Lane: taplinev1.Lane_LANE_LIVE}
	c.must("retry", id.String())
	ordered(span.String() + " clicksBlocked")

	old := window.New(start.Add(-10*24*time.Hour), start.Add(-9*24*time.Hour))
	if code, out, _ := c.run("retry", old.String()); code != 3 || !strings.Contains(out, "too old") {
		t.Errorf("too old: status %d: %s", code, out)
	}
	ordered()
	half := window.New(old.Start, start.Add(-time.Hour))
	if out := c.must("retry", half.String()); !strings.Contains(out, "is read once more") || !strings.Contains(out, "is too old") {
		t.Errorf("says %s", out)
	}
	c.orders(b)
	for _, args := range [][]string{
		{"retry"},
		{"retry", span.String(), "--lost"},
		{"retry", "yesterday"},
		{"retry", span.End.Format(time.RFC3339) + "/" + span.Start.Format(time.RFC3339)},
		{"retry", span.String(), "--feed", "threats"},
		{"retry", "2999-01-01T00:00:00Z/2999-01-02T00:00:00Z"},
		{"retry", strings.Replace(id.String(), "main", "other", 1)},
		{"retry", "main/campaign-ids/20260311T080000Z/20260311T090000Z/list/1"},
	} {
		if code, _, stderr := c.run(args...); code != 2 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: status %d: %s", args, code, stderr)
		}
	}
	ordered()
}

// TestRetryOfWhatIsLost: what gaps calls lost, and what a fetcher of an earlier version gave up
// with a dead letter.
func TestRetryOfWhatIsLost(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("setup")
	b := bustest.Connect(t, c.Server)
	start := c.planned(b)
	if out := c.must("retry", "--lost"); !strings.Contains(out, "nothing is lost that can") {
		t.Errorf("says %s", out)
	}
	part := window.New(start.Add(2*time.Minute), start.Add(4*time.Minute))
	pages, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	id := job.ID{Tenant: "main", Set: feed.Set{feed.ClicksBlocked}, Window: part, Lane: taplinev1.Lane_LANE_LIVE}
	record := &taplinev1.JobRecord{JobId: id.String(), State: taplinev1.WindowState_WINDOW_STATE_LOST, Reason: "400 without a body", NotedAt: timestamppb.Now()}
	if err := ledger.New(pages).RecordJob(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	var spans []struct {
		From, To time.Time
		Feeds    []string
		Ordered  bool
	}
	if err := json.Unmarshal([]byte(c.must("retry", "--lost", "--output", "json")), &spans); err != nil || len(spans) != 1 || !spans[0].Ordered || !spans[0].From.Equal(part.Start) {
		t.Errorf("%+v, %v", spans, err)
	}
	if got := c.orders(b); len(got) != 1 || got[0] != part.String()+" clicksBlocked" {
		t.Errorf("ordered %q", got)
	}
	given := &taplinev1.Job{Id: id.String(), Tenant: "main", Feeds: []string{"clicksBlocked"}, Window: part.Proto(), Lane: taplinev1.Lane_LANE_LIVE}
	payload, err := proto.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "fetcher", Reason: "400", Payload: payload, Source: id.String()}
	if err := b.PublishDead(t.Context(), letter, "1"); err != nil {
		t.Fatal(err)
	}
	if out := c.must("dead"); !strings.Contains(out, "(may be retried)") {
		t.Errorf("dead says %s", out)
	}
	if out := c.must("dead", "retry", "1"); !strings.Contains(out, "is read once more") {
		t.Errorf("says %s", out)
	}
	if got, left := c.orders(b), c.must("dead"); len(got) != 1 || got[0] != part.String()+" clicksBlocked" || left != "" {
		t.Errorf("ordered %q, and in DEAD is %q", got, left)
	}
	old := window.New(start.Add(-10*24*time.Hour), start.Add(-9*24*time.Hour))
	id.Window, given.Window = old, old.Proto()
	given.Id = id.String()
	if payload, err = proto.Marshal(given); err != nil {
		t.Fatal(err)
	}
	letter.Payload = payload
	if err := b.PublishDead(t.Context(), letter, "2"); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := c.run("dead", "retry", "2"); code != 3 || !strings.Contains(out, "too old") {
		t.Errorf("too old: status %d: %s", code, out)
	}
	if out := c.must("dead"); out == "" {
		t.Error("the letter about a window that is too old is gone")
	}
}
