package plan_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

var errStore = errors.New("the store refuses")

// bucket is STATE in memory.
type bucket struct {
	pairs  []bus.Pair
	filter string // of the last question
	err    error
}

func (b *bucket) Select(_ context.Context, filters ...string) ([]bus.Pair, error) {
	b.filter = strings.Join(filters, " ")
	return b.pairs, b.err
}

func (b *bucket) Put(_ context.Context, key string, value []byte) error {
	b.pairs = append(b.pairs, bus.Pair{Key: key, Entry: bus.Entry{Value: value}})
	return b.err
}

func pair(t *testing.T, key string, m proto.Message) bus.Pair {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return bus.Pair{Key: key, Entry: bus.Entry{Value: data}}
}

// TestWhichJobsAreWanted: those that a plan in force lists, or all when there is no plan. What
// cannot be read wants nothing: it is an error.
func TestWhichJobsAreWanted(t *testing.T) {
	t.Parallel()
	outstanding, due, waiting := &taplinev1.Job{Id: "outstanding"}, &taplinev1.Job{Id: "due", Aside: true}, &taplinev1.Job{Id: "waiting"}
	state := &taplinev1.PlanState{Outstanding: []*taplinev1.Job{outstanding}, Asides: []*taplinev1.Aside{{Job: due}, {Job: waiting}}}
	key := plan.Key("main", feed.SIEM())
	siem, damaged := pair(t, key, state), bus.Pair{Key: key, Entry: bus.Entry{Value: []byte("\xff")}}
	list := pair(t, plan.ListKey("main", "vap-14"), &taplinev1.ListState{Outstanding: &taplinev1.Job{Id: "page"}})
	other := pair(t, plan.ListKey("main", "vap-30"), &taplinev1.ListState{})
	people := func(id string) *taplinev1.Job {
		return &taplinev1.Job{Id: id, Tenant: "main", Call: string(feed.CallVAP)}
	}
	for name, c := range map[string]struct {
		job    *taplinev1.Job
		pairs  []bus.Pair
		err    error
		want   bool
		filter string
		text   string // of the error
	}{
		"outstanding":        {outstanding, []bus.Pair{siem}, nil, true, "main.*", ""},
		"aside and due":      {due, []bus.Pair{siem}, nil, true, "main.*", ""},
		"aside and not due":  {waiting, []bus.Pair{siem}, nil, false, "main.*", ""},
		"not listed":         {&taplinev1.Job{Id: "another"}, []bus.Pair{siem}, nil, false, "main.*", ""},
		"no plan":            {outstanding, nil, nil, true, "main.*", ""},
		"no answer":          {outstanding, []bus.Pair{siem}, errStore, false, "main.*", "outstanding"},
		"a damaged plan":     {outstanding, []bus.Pair{damaged}, nil, false, "main.*", key},
		"a key of no feeds":  {outstanding, []bus.Pair{{Key: "main.nonsense"}}, nil, false, "main.*", "main.nonsense"},
		"page outstanding":   {people("page"), []bus.Pair{other, list}, nil, true, "list.main.*", ""},
		"page not listed":    {people("another"), []bus.Pair{other, list}, nil, false, "list.main.*", ""},
		"no list":            {people("page"), nil, nil, true, "list.main.*", ""},
		"a damaged list":     {people("page"), []bus.Pair{{Key: list.Key, Entry: bus.Entry{Value: []byte("\xff")}}}, nil, false, "list.main.*", list.Key},
		"no answer for list": {people("page"), nil, errStore, false, "list.main.*", "page"},
	} {
		c.job.Tenant = "main"
		b := &bucket{pairs: c.pairs, err: c.err}
		wanted, err := plan.Wanted(t.Context(), b, c.job)
		if wanted != c.want || b.filter != c.filter || (err != nil) != (c.text != "") || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %t, asked for %s, %v", name, wanted, b.filter, err)
		}
	}
}

// TestWhichOrdersAreTaken: those about a time of which Proofpoint serves something. The others are
// an error that says what it serves.
func TestWhichOrdersAreTaken(t *testing.T) {
	t.Parallel()
	now := epoch.Add(10 * day)
	oldest := plan.Oldest(now)
	for name, c := range map[string]struct {
		order *taplinev1.Retry
		err   error
		key   string
		text  string
	}{
		"all feeds":      {&taplinev1.Retry{Window: window.New(now.Add(-2*time.Hour), now.Add(-time.Hour)).Proto()}, nil, ".all", ""},
		"two feeds":      {&taplinev1.Retry{Window: window.New(now.Add(-2*time.Hour), now.Add(-time.Hour)).Proto(), Feeds: []string{"a", "b"}}, nil, ".a-b", ""},
		"partly served":  {&taplinev1.Retry{Window: window.New(oldest.Add(-time.Hour), oldest.Add(time.Minute)).Proto()}, nil, ".all", ""},
		"too old":        {&taplinev1.Retry{Window: window.New(oldest.Add(-time.Hour), oldest).Proto()}, nil, "", oldest.Format("2006-01-02T15:04")},
		"to come":        {&taplinev1.Retry{Window: window.New(now, now.Add(time.Hour)).Proto()}, nil, "", "serves"},
		"without a time": {&taplinev1.Retry{}, nil, "", "order"},
		"not stored":     {&taplinev1.Retry{Window: window.New(now.Add(-2*time.Hour), now.Add(-time.Hour)).Proto()}, errStore, ".all", "refuses"},
	} {
		b := &bucket{err: c.err}
		err := plan.RequestRetry(t.Context(), b, "main", now, c.order)
		if (err != nil) != (c.text != "") || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
		if c.key == "" {
			if len(b.pairs) > 0 {
				t.Errorf("%s: stored all the same", name)
			}
			continue
		}
		var stored taplinev1.Retry
		if len(b.pairs) != 1 || !strings.HasPrefix(b.pairs[0].Key, "retry.main.") || !strings.HasSuffix(b.pairs[0].Key, c.key) || proto.Unmarshal(b.pairs[0].Value, &stored) != nil {
			t.Fatalf("%s: %v", name, b.pairs)
		}
		if !stored.GetAt().AsTime().Equal(now) || !proto.Equal(stored.GetWindow(), c.order.GetWindow()) {
			t.Errorf("%s: %v", name, &stored)
		}
	}
}
