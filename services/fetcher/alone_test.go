package fetcher

import (
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// TestWhatAnEntryIsNamedBy: a person by the list and the GUID, a campaign by its id and its update,
// and what has no name by its content.
func TestWhatAnEntryIsNamedBy(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 11, 12, 0, 0, 0, time.UTC)
	entry := func(call feed.Call, days, text string) batch.Record {
		t.Helper()
		c := &collector{id: job.ID{Call: call, Target: days}, head: batch.Raw{FetchedAt: noon}, hasher: identity.NewHasher()}
		r, err := c.entry(proofpoint.Record{JSON: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	const (
		person, busier            = `{"identity":{"guid":"g1"},"n":1}`, `{"identity":{"guid":"g1"},"n":2}`
		other                     = `{"identity":{"guid":"g2"},"n":1}`
		nameless, anotherNameless = `{"identity":{},"n":1}`, `{"identity":{},"n":2}`
		campaign, moved           = `{"id":"c1","lastUpdatedAt":"2026-03-11T10:00:00Z"}`, `{"id":"c1","lastUpdatedAt":"2026-03-11T11:00:00Z"}`
		unnamed, unlike           = `{"lastUpdatedAt":"2026-03-11T10:00:00Z","n":1}`, `{"lastUpdatedAt":"2026-03-11T10:00:00Z","n":2}`
	)
	for name, c := range map[string]struct {
		a, b batch.Record
		same bool
	}{
		"a person, at another time":     {entry(feed.CallVAP, "14", person), entry(feed.CallVAP, "14", busier), true},
		"two people":                    {entry(feed.CallVAP, "14", person), entry(feed.CallVAP, "14", other), false},
		"a person on another list":      {entry(feed.CallVAP, "14", person), entry(feed.CallVAP, "30", person), false},
		"a person on lists of others":   {entry(feed.CallVAP, "14", person), entry(feed.CallTopClickers, "14", person), false},
		"two people without a name":     {entry(feed.CallVAP, "14", nameless), entry(feed.CallVAP, "14", anotherNameless), false},
		"the same on another list":      {entry(feed.CallVAP, "14", nameless), entry(feed.CallVAP, "30", nameless), false},
		"a campaign":                    {entry(feed.CallCampaignIDs, "", campaign), entry(feed.CallCampaignIDs, "", campaign), true},
		"a campaign that was updated":   {entry(feed.CallCampaignIDs, "", campaign), entry(feed.CallCampaignIDs, "", moved), false},
		"two campaigns without a name":  {entry(feed.CallCampaignIDs, "", unnamed), entry(feed.CallCampaignIDs, "", unlike), false},
		"what has neither, in one form": {entry(feed.CallCampaignIDs, "", unnamed), entry(feed.CallCampaignIDs, "", " "+unnamed), true},
	} {
		if (c.a.ID == c.b.ID) != c.same {
			t.Errorf("%s: %x and %x", name, c.a.ID, c.b.ID)
		}
	}
	for text, want := range map[string]time.Time{campaign: noon.Add(-2 * time.Hour), `{"id":"c1"}`: {}, `{"id":"c1","lastUpdatedAt":"1970-01-01T00:00:00Z"}`: {}} {
		if got := entry(feed.CallCampaignIDs, "", text).TimeMS; got != max(want.UnixMilli(), 0) {
			t.Errorf("%s is of %d", text, got)
		}
	}
	if got := entry(feed.CallVAP, "14", person).TimeMS; got != noon.UnixMilli() {
		t.Errorf("a person is of %d", got)
	}
}

// TestWhileForensicsRestNothingIsTaken: no job is taken, and the pool is not even looked at.
func TestWhileForensicsRestNothingIsTaken(t *testing.T) {
	t.Parallel()
	f := &Fetcher{breakers: pace.NewBreakers(time.Now, func(d time.Duration) time.Duration { return d })}
	key := pace.Key{Lane: forensics, Endpoint: string(feed.CallThreatForensics)}
	for range 100 {
		f.breakers.Failed(key, pace.Failure{Words: "503", Curve: pace.CurveOf(forensics, 50)})
	}
	if f.breakers.Wait(key) <= 0 {
		t.Fatal("a hundred failures are no reason to rest")
	}
	if f.takeNext(t.Context(), feed.CallThreatForensics, nil, nil) {
		t.Error("a job was taken")
	}
}
