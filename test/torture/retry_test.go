package torture

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// effects are what retries of dead letters have led to: jobs, markers of records that were sent on,
// and windows to be read.
func (p *tapctlOf) effects(t *testing.T) (names []string) {
	t.Helper()
	for _, m := range bustest.Messages(t, p.Server, bus.StreamJobs) {
		j := &taplinev1.Job{}
		if err := proto.Unmarshal(m.Data, j); err != nil {
			t.Fatal(err)
		}
		names = append(names, "job "+j.GetId())
	}
	for _, m := range bustest.Messages(t, p.Server, bus.StreamRaw) {
		names = append(names, fmt.Sprintf("message %x", m.Data))
	}
	for _, m := range bustest.Messages(t, p.Server, "KV_"+bus.BucketState) {
		names = append(names, "key "+m.Subject)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestAKilledRetry: whatever a tapctl dead retry leaves that was killed, the letter is there until
// what it asks for is, and the next one asks for the same.
func TestAKilledRetry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := build(t.Context(), dir, []string{folderOf("tapctl")}); err != nil {
		t.Fatal(err)
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	steps, err := Steps(root)
	if err != nil {
		t.Fatal(err)
	}
	died := time.Now().Add(-3 * time.Hour).UTC().Truncate(time.Second)
	w := window.New(died.Add(-time.Minute), died)
	id := job.ID{Tenant: "main", Call: feed.CallThreat, Set: feed.Set{feed.Threats}, Window: w, Lane: taplinev1.Lane_LANE_RETRY, Target: "abc"}
	ids := &taplinev1.Job{
		Id: id.String(), Tenant: "main", Call: string(id.Call), Feeds: feed.Names(id.Set), Window: w.Proto(), Lane: id.Lane, Targets: []*taplinev1.Target{{Id: "abc"}},
	}
	id = job.ID{Tenant: "main", Set: feed.Set{feed.ClicksBlocked}, Window: w, Lane: taplinev1.Lane_LANE_LIVE}
	read, err := proto.Marshal(&taplinev1.Job{Id: id.String(), Tenant: "main", Feeds: feed.Names(id.Set), Window: w.Proto(), Lane: id.Lane})
	if err != nil {
		t.Fatal(err)
	}
	killed := make(map[string]bool)
	for name, letter := range map[string]*taplinev1.DeadLetter{
		"an id":    {Payload: []byte("abc"), Retry: ids, Source: ids.GetId()},
		"a record": {Payload: []byte("{\"id\":\"control\",\"subject\":\"two\nlines\"}"), Feed: string(feed.ClicksBlocked), Source: id.String()},
		"a window": {Payload: read, Source: id.String()},
	} {
		letter.Tenant, letter.Stage, letter.Reason, letter.DiedAt = "main", "fetcher", name, timestamppb.New(died)
		if letter.GetFeed() == "" {
			letter.Feed = string(feed.Threats)
		}
		for _, s := range steps {
			if s.Program != letters {
				continue
			}
			p := newTapctl(t, filepath.Join(dir, "tapctl"))
			if err := p.bus.PublishDead(t.Context(), letter, name); err != nil {
				t.Fatal(err)
			}
			o := p.run(t, []string{"TAPLINE_KILL=" + s.Name}, 0, "dead", "retry", "1")
			if !o.killed {
				if o.status != 0 {
					t.Errorf("%s, %s: %+v", name, s.Name, o)
				}
				continue
			}
			killed[s.Name] = true
			before := p.effects(t)
			if len(before) == 0 && s.Name != "dead.forgotten" || len(bustest.Messages(t, p.Server, bus.StreamDead)) != 1 {
				t.Errorf("%s, killed at %s: it led to %q", name, s.Name, before)
			}
			p.must(t, "dead", "retry", "1")
			after := p.effects(t)
			if len(after) == 0 || len(before) > 0 && !slices.Equal(before, after) {
				t.Errorf("%s, killed at %s: it led to %q, and then to %q", name, s.Name, before, after)
			}
			// What the job of an id is called must not depend on when it is ordered: two would be
			// two calls, and two rows.
			if letter.GetRetry() != nil && !strings.Contains(after[0], window.New(died, died.Add(time.Hour)).Compact("/")) {
				t.Errorf("%s, killed at %s: %q", name, s.Name, after)
			}
			if left := bustest.Messages(t, p.Server, bus.StreamDead); len(left) > 0 {
				t.Errorf("%s, killed at %s and done again: %d letters are left", name, s.Name, len(left))
			}
		}
	}
	for _, s := range steps {
		if s.Program == letters && !killed[s.Name] {
			t.Errorf("nothing was killed at %s", s.Name)
		}
	}
}
