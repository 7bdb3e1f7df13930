package enricher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/known"
	"github.com/tapline/tapline/pkg/replay"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

var noon = time.Date(2026, 3, 11, 12, 0, 0, 0, time.UTC)

// people is the bucket KNOWN in memory.
type people struct {
	pairs map[string][]byte
	reads int
	err   error
}

func (p *people) Put(_ context.Context, key string, value []byte) error {
	p.pairs[key] = value
	return p.err
}

func (p *people) Select(_ context.Context, filters ...string) (found []bus.Pair, err error) {
	p.reads++
	for key, value := range p.pairs {
		if slices.ContainsFunc(filters, func(f string) bool { return strings.HasPrefix(key, strings.TrimSuffix(f, "*")) }) {
			found = append(found, bus.Pair{Key: key, Entry: bus.Entry{Value: value}})
		}
	}
	return found, p.err
}

// searcher is an expander without a bus.
func searcher(feeds feed.Selection) (*expander, *people) {
	store := &people{pairs: make(map[string][]byte)}
	e := &Enricher{cfg: Config{Feeds: feeds}, now: func() time.Time { return noon }}
	return &expander{Enricher: e, vaps: &vaps{store: store, tenant: "main", now: e.now}}, store
}

// found is what a batch names, as text: call, id, level; in order.
func found(t *testing.T, x *expander, call feed.Call, f feed.Feed, records ...string) string {
	t.Helper()
	raw := &batch.Raw{Tenant: "main", Feed: string(f), FetchedAt: noon}
	for _, r := range records {
		raw.Records = append(raw.Records, batch.Record{JSON: []byte(r)})
	}
	var text []string
	lookups, err := x.lookups(t.Context(), nil, job.ID{Call: call}, raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range lookups {
		one := fmt.Sprintf("%s %s", w.call, w.target.GetId())
		if w.level > 0 {
			one += fmt.Sprintf(" %d", w.level)
		}
		if w.link {
			one += " of " + w.target.GetCampaign()
		}
		if at := w.target.GetUpdated(); at != nil {
			one += at.AsTime().Format(" @15:04:05")
		}
		text = append(text, one)
	}
	slices.Sort(text)
	return strings.Join(text, ", ")
}

// TestWhatRecordsName: by what is collected; each thing once, with the most important of its
// levels.
func TestWhatRecordsName(t *testing.T) {
	t.Parallel()
	const (
		alone    = `{"threatID":"t1","recipient":"a@x"}`
		inOne    = `{"threatID":"t2","campaignId":"c2","recipient":"b@x"}`
		list     = `{"id":"c3","lastUpdatedAt":"2026-03-11T10:04:51.000Z"}`
		nameless = `{"lastUpdatedAt":"2026-03-11T10:04:51.000Z"}`
		detail   = `{"id":"c4","campaignMembers":[{"id":"t4"},{"id":"not askable/"},{"id":"t5"}]}`
	)
	both, threats, campaigns := []feed.Feed{feed.Threats, feed.Campaigns}, []feed.Feed{feed.Threats}, []feed.Feed{feed.Campaigns}
	for name, c := range map[string]struct {
		feeds   feed.Selection
		call    feed.Call
		feed    feed.Feed
		records []string
		want    string
	}{
		"nothing is collected":     {feed.Selection{}, feed.CallSIEM, feed.ClicksPermitted, []string{alone, inOne}, ""},
		"threats":                  {feed.Selection{Names: threats}, feed.CallSIEM, feed.ClicksPermitted, []string{alone, inOne}, "threat t1, threat t2"},
		"campaigns":                {feed.Selection{Names: campaigns}, feed.CallSIEM, feed.ClicksPermitted, []string{alone, inOne}, "campaign c2"},
		"what is no record":        {feed.Selection{Names: both}, feed.CallSIEM, feed.ClicksPermitted, []string{`[`, alone}, "threat t1"},
		"reports":                  {feed.Selection{Names: both, Forensics: true}, feed.CallSIEM, feed.ClicksPermitted, []string{alone, inOne}, "campaign c2, campaign-forensics c2 2, threat t1, threat t2, threat-forensics t1 2, threat-forensics t2 2"},
		"what was stopped":         {feed.Selection{Names: both, Forensics: true}, feed.CallSIEM, feed.ClicksBlocked, []string{alone}, "threat t1, threat-forensics t1 4"},
		"messages that were":       {feed.Selection{Names: both, Forensics: true}, feed.CallSIEM, feed.MessagesBlocked, []string{alone}, "threat t1, threat-forensics t1 4"},
		"reports of campaigns":     {feed.Selection{Names: both, Forensics: true, CampaignForensics: true}, feed.CallSIEM, feed.ClicksPermitted, []string{alone, inOne}, "campaign c2, campaign-forensics c2 2, threat t1, threat t2, threat-forensics t1 2"},
		"for threats alone":        {feed.Selection{Names: threats, Forensics: true, CampaignForensics: true}, feed.CallSIEM, feed.ClicksPermitted, []string{inOne}, "campaign-forensics c2 2, threat t2"},
		"reports of threats alone": {feed.Selection{Names: threats, Forensics: true}, feed.CallSIEM, feed.ClicksPermitted, []string{inOne}, "threat t2, threat-forensics t2 2"},
		"a list":                   {feed.Selection{Names: both}, feed.CallCampaignIDs, feed.Campaigns, []string{list, nameless, list}, "campaign c3 @10:04:51"},
		"a list, with reports":     {feed.Selection{Names: both, Forensics: true}, feed.CallCampaignIDs, feed.Campaigns, []string{list}, "campaign c3 @10:04:51, campaign-forensics c3 4 @10:04:51"},
		"members":                  {feed.Selection{Names: both}, feed.CallCampaign, feed.Campaigns, []string{detail, nameless, `[`}, "threat t4 of c4, threat t5 of c4"},
		"members without threats":  {feed.Selection{Names: campaigns}, feed.CallCampaign, feed.Campaigns, []string{detail}, ""},
		"a threat":                 {feed.Selection{Names: both, Forensics: true}, feed.CallThreat, feed.Threats, []string{detail}, ""},
	} {
		x, store := searcher(c.feeds)
		if got := found(t, x, c.call, c.feed, c.records...); got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
		if store.reads > 0 && !c.feeds.Forensics {
			t.Errorf("%s: who is attacked is read for nothing", name)
		}
	}
}

// TestReportsOfVAPsComeFirst: as the lists of the last days say, read now and then; a list that
// cannot be read is an error.
func TestReportsOfVAPsComeFirst(t *testing.T) {
	t.Parallel()
	x, store := searcher(feed.Selection{Names: []feed.Feed{feed.Threats}, Forensics: true})
	now := noon
	x.vaps.now = func() time.Time { return now }
	learn := func(sequence uint64, at time.Time, envelope string, records ...string) error {
		raw := &batch.Raw{FetchedAt: at, Envelope: []byte(envelope)}
		for _, r := range records {
			raw.Records = append(raw.Records, batch.Record{JSON: []byte(r)})
		}
		return x.vaps.learn(t.Context(), sequence, raw)
	}
	level := func(address string) string {
		return found(t, x, feed.CallSIEM, feed.ClicksPermitted, `{"threatID":"t","recipient":"`+address+`"}`)
	}
	const first, second = "threat t, threat-forensics t 1", "threat t, threat-forensics t 2"
	if got := level("a@x"); got != second {
		t.Errorf("before any list: %s", got)
	}
	person := func(address, index string) string {
		return `{"identity":{"emails":["` + address + `"]},"threatStatistics":{"attackIndex":` + index + `}}`
	}
	threshold := `{"vapAttackIndexThreshold":100}`
	for sequence, err := range []error{
		learn(0, noon, threshold, person("A@x", "100"), person("below@x", "99"), person("odd@x", `"?"`), `{"identity":7}`),
		learn(1, noon.Add(-vapsKept), `{}`, person("edge@x", "1")),
		learn(2, noon.Add(-vapsKept-time.Millisecond), `{}`, person("old@x", "1")),
	} {
		if err != nil {
			t.Fatalf("list %d: %v", sequence, err)
		}
	}
	store.pairs["main.attacked.20260311.broken"] = []byte("short")
	for address, want := range map[string]string{"a@X": first, "below@x": second, "odd@x": first, "edge@x": first, "old@x": second, "b@x": second} {
		if got := level(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	reads := store.reads
	now = now.Add(vapsReread)
	if level("a@x"); store.reads != reads {
		t.Errorf("read %d times before it was time", store.reads-reads)
	}
	now = now.Add(time.Millisecond)
	if level("a@x"); store.reads != reads+1 {
		t.Errorf("read %d times when it was time", store.reads-reads)
	}
	store.err = errors.New("refused")
	if err := learn(3, noon, `{}`); err == nil {
		t.Error("a list that was not stored counts as learned")
	}
	now = now.Add(time.Hour)
	raw := &batch.Raw{Feed: string(feed.ClicksBlocked), Records: []batch.Record{{JSON: []byte(`{"threatID":"t"}`)}}}
	if _, err := x.lookups(t.Context(), nil, job.ID{Call: feed.CallSIEM}, raw); err == nil {
		t.Error("lists that cannot be read count as empty")
	}
}

// TestRecent: what was added is known for one to two spans, and there is room for no more than two
// generations.
func TestRecent(t *testing.T) {
	t.Parallel()
	r := newRecent()
	r.add("a", noon)
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{recentFor - 1, true}, {recentFor, true}, {2*recentFor - 1, true}, {2 * recentFor, false}} {
		if got := r.has("a", noon.Add(c.after)); got != c.want {
			t.Errorf("after %s: %t", c.after, got)
		}
	}
	r = newRecent()
	r.add("a", noon)
	r.add("a", noon.Add(recentFor)) // it is of the generation before, and is not renewed
	if r.has("a", noon.Add(2*recentFor)) {
		t.Error("what is asked for again and again is never looked up again")
	}
	r = newRecent()
	r.add("a", noon)
	if r.has("a", noon.Add(3*recentFor)) {
		t.Error("known after a long pause")
	}
	for i := range 2*recentMax + 1 {
		r.add(fmt.Sprint(i), noon.Add(3*recentFor))
	}
	if n := len(r.now) + len(r.old); n > 2*recentMax || r.has("0", noon.Add(3*recentFor)) || !r.has(fmt.Sprint(recentMax), noon.Add(3*recentFor)) {
		t.Errorf("%d are known", n)
	}
}

// TestWhatAnOrderWants of a batch.
func TestWhatAnOrderWants(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		order *taplinev1.ReplayOrder
		want  int
	}{
		"all":           {&taplinev1.ReplayOrder{}, 2},
		"its feed":      {&taplinev1.ReplayOrder{Feeds: []string{"clicksBlocked"}}, 2},
		"another feed":  {&taplinev1.ReplayOrder{Feeds: []string{"clicksPermitted"}}, 0},
		"its job":       {&taplinev1.ReplayOrder{Jobs: []string{"j"}}, 2},
		"another job":   {&taplinev1.ReplayOrder{Jobs: []string{"k"}}, 0},
		"one record":    {&taplinev1.ReplayOrder{Records: []string{"one"}}, 1},
		"no such one":   {&taplinev1.ReplayOrder{Records: []string{"none"}}, 0},
		"both of these": {&taplinev1.ReplayOrder{Records: []string{"one", "two"}}, 2},
	} {
		raw := &batch.Raw{Feed: "clicksBlocked", JobID: "j", Records: []batch.Record{{ID: 1, JSON: []byte(`{"id":"one"}`)}, {ID: 2, JSON: []byte(`{"id":"two"}`)}}}
		some := wanted(replay.NewFilter(c.order), raw)
		if some != (c.want > 0) || some && len(raw.Records) != c.want {
			t.Errorf("%s: %t, %d records", name, some, len(raw.Records))
		}
	}
	if (order{}).reprocesses() || !(order{}).table("any") || (order{}).name("n") != "n" || (order{id: "o"}).name("n") == "n" {
		t.Error("what is made first is of an order")
	}
}

// TestLookupsAreToldApart by all that makes another answer.
func TestLookupsAreToldApart(t *testing.T) {
	t.Parallel()
	keys := make(map[string]bool)
	for _, w := range []*lookup{
		{call: feed.CallThreat, target: &taplinev1.Target{Id: "a"}},
		{call: feed.CallCampaign, target: &taplinev1.Target{Id: "a"}},
		{call: feed.CallThreat, target: &taplinev1.Target{Id: "b"}},
		{call: feed.CallThreat, target: &taplinev1.Target{Id: "a", Status: "s"}},
		{call: feed.CallThreat, target: &taplinev1.Target{Id: "a", Campaign: "s"}},
		{call: feed.CallThreat, target: &taplinev1.Target{Id: "a", Updated: timestamppb.New(noon)}},
	} {
		keys[w.key()] = true
	}
	if len(keys) != 6 {
		t.Errorf("%d keys: %v", len(keys), keys)
	}
}

// answers is the bucket KNOWN with what was asked in memory.
type answers map[string]bus.Entry

func (a answers) Get(_ context.Context, key string) (bus.Entry, error) {
	entry, ok := a[key]
	if !ok {
		return entry, bus.ErrNotFound
	}
	return entry, nil
}

func (a answers) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	a[key] = bus.Entry{Value: value, Revision: revision + 1}
	return revision + 1, nil
}

// TestWhichLookupsAreCovered: by an answer that is young enough and about just this; a report is
// asked for once, unless its campaign has changed.
func TestWhichLookupsAreCovered(t *testing.T) {
	t.Parallel()
	early, late := timestamppb.New(noon.Add(-30*time.Hour)), timestamppb.New(noon.Add(-20*time.Hour))
	plain, of, updated := &taplinev1.Target{Id: "x"}, &taplinev1.Target{Id: "x", Campaign: "c"}, &taplinev1.Target{Id: "x", Updated: late}
	for name, c := range map[string]struct {
		known  *taplinev1.Target // what was asked 25 hours ago, which is too old, or an hour ago
		young  bool
		lookup *lookup
		want   known.Verdict
	}{
		"a new threat":                   {nil, false, &lookup{call: feed.CallThreat, target: plain}, known.New},
		"a threat of late":               {plain, true, &lookup{call: feed.CallThreat, target: plain}, known.Covered},
		"a threat of long ago":           {plain, false, &lookup{call: feed.CallThreat, target: plain}, known.Changed},
		"now of a campaign":              {plain, true, &lookup{call: feed.CallThreat, target: of}, known.Linked},
		"a new member":                   {nil, false, &lookup{call: feed.CallThreat, target: of, link: true}, known.Covered},
		"a member that is known":         {plain, false, &lookup{call: feed.CallThreat, target: of, link: true}, known.Linked},
		"a member that is linked":        {of, false, &lookup{call: feed.CallThreat, target: of, link: true}, known.Covered},
		"a new report":                   {nil, false, &lookup{call: feed.CallCampaignForensics, target: plain, level: 1}, known.New},
		"a report of long ago":           {plain, false, &lookup{call: feed.CallCampaignForensics, target: plain, level: 1}, known.Covered},
		"a report of a changed campaign": {&taplinev1.Target{Id: "x", Updated: early}, true, &lookup{call: feed.CallCampaignForensics, target: updated, level: 1}, known.Changed},
		"a campaign of long ago":         {plain, false, &lookup{call: feed.CallCampaign, target: plain}, known.Changed},
	} {
		x, _ := searcher(feed.Selection{})
		x.recent = newRecent()
		at := noon
		x.known = known.Open(answers{}, "main", known.Config{Refresh: 24 * time.Hour}, func() time.Time { return at })
		if c.known != nil {
			at = noon.Add(map[bool]time.Duration{true: -time.Hour, false: -25 * time.Hour}[c.young])
			if err := x.known.Complete(t.Context(), c.lookup.call, "x", 7, c.known); err != nil {
				t.Fatal(err)
			}
			at = noon
		}
		if got, err := x.verdict(t.Context(), c.lookup.key(), c.lookup); err != nil || got != c.want {
			t.Errorf("%s: %v, %v; want %v", name, got, err, c.want)
		}
		x.recent.add(c.lookup.key(), noon)
		if got, err := x.verdict(t.Context(), c.lookup.key(), c.lookup); err != nil || got != known.Covered {
			t.Errorf("%s, ordered a moment ago: %v, %v", name, got, err)
		}
	}
}
