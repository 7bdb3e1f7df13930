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
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// planned gives tenant main a plan of one feed whose live reading began ten minutes ago.
func (c console) planned(b *bus.Bus) (start time.Time) {
	c.t.Helper()
	start = time.Now().UTC().Truncate(time.Minute).Add(-10 * time.Minute)
	at := timestamppb.New(start)
	c.put(b, "main.clicksBlocked", &taplinev1.PlanState{Start: at, BackfillNext: at, BackfillEnd: at, LiveHead: timestamppb.New(start.Add(10 * time.Minute))})
	return start
}

func (c console) put(b *bus.Bus, key string, m proto.Message) {
	c.t.Helper()
	state, err := b.Bucket(c.t.Context(), bus.BucketState)
	if err != nil {
		c.t.Fatal(err)
	}
	data, err := proto.Marshal(m)
	if err == nil {
		err = state.Put(c.t.Context(), key, data)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// read records that windows were read that had no records.
func (c console) read(b *bus.Bus, windows ...window.Window) {
	c.t.Helper()
	pages, err := b.Bucket(c.t.Context(), bus.BucketLedger)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, w := range windows {
		id := job.ID{Tenant: "main", Set: feed.Set{feed.ClicksBlocked}, Window: w, Lane: taplinev1.Lane_LANE_LIVE}
		record := &taplinev1.JobRecord{
			JobId: id.String(), State: taplinev1.WindowState_WINDOW_STATE_FETCHED, FetchedAt: timestamppb.Now(),
			Feeds: []*taplinev1.FeedResult{{Feed: string(feed.ClicksBlocked)}},
		}
		if err := ledger.New(pages).RecordJob(c.t.Context(), record); err != nil {
			c.t.Fatal(err)
		}
	}
}

// TestNothingIsNotWell: before anything was planned or read there is nothing to say, and that is
// what is said.
func TestNothingIsNotWell(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("setup")
	b := bustest.Connect(t, c.Server)
	says := func(command, want string) {
		t.Helper()
		if code, out, stderr := c.run(command); code != 3 || !strings.Contains(out, want) {
			t.Errorf("%s: status %d, want 3 and %q: %s%s", command, code, want, out, stderr)
		}
	}
	says("verify", "nothing was compared")
	says("gaps", "nothing was compared")
	says("status", "nothing was planned yet")
	start := c.planned(b)
	says("verify", "nothing was compared")
	says("status", "nothing was read yet")
	c.must("status", "--exit-zero")
	c.read(b, window.New(start, start.Add(10*time.Minute)))
	if out := c.must("verify"); !strings.Contains(out, "everything adds up") {
		t.Errorf("verify says %s", out)
	}
	if out := c.must("gaps"); !strings.Contains(out, "nothing is missing") {
		t.Errorf("gaps says %s", out)
	}
}

// TestUnknownTenant: a tenant that does not exist is not well, it is a mistake.
func TestUnknownTenant(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("setup")
	c.planned(bustest.Connect(t, c.Server))
	c.tenant = "other"
	for _, command := range []string{"status", "gaps", "verify"} {
		code, out, stderr := c.run(command)
		if code != 2 || out != "" || !strings.Contains(stderr, `TENANT="other"`) || !strings.Contains(stderr, "main") {
			t.Errorf("%s: status %d, %s%s", command, code, out, stderr)
		}
	}
}

// TestStatusAsJSON: the names that others read.
func TestStatusAsJSON(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("setup")
	b := bustest.Connect(t, c.Server)
	start := c.planned(b)
	c.read(b, window.New(start, start.Add(10*time.Minute)))
	for command, want := range map[string][]string{
		"status": {"verdict", "programs", "alarms", "unproven", "learned", "gaps", "feeds", "others", "streams", "violations"},
		"verify": {"compared", "lost", "unproven", "dead", "gaps", "violations", "received", "duplicates", "records", "rows", "confirmed", "pending"},
	} {
		_, out, _ := c.run(command, "--output", "json")
		var members map[string]any
		if err := json.Unmarshal([]byte(out), &members); err != nil {
			t.Fatal(err)
		}
		for _, name := range want {
			if v, ok := members[name]; !ok || v == nil {
				t.Errorf("%s has no member %q: %s", command, name, out)
			}
		}
		if command == "status" {
			verdict, _ := members["verdict"].(map[string]any)
			for _, name := range []string{"ok", "text", "needs"} {
				if verdict[name] == nil {
					t.Errorf("the verdict has no member %q: %v", name, verdict)
				}
			}
		}
	}
	if out, _, _ := strings.Cut(strings.TrimSpace(c.must("status", "--exit-zero")), "\n"); !strings.HasPrefix(out, "main: ") {
		t.Errorf("the first line is %q", out)
	}
}
