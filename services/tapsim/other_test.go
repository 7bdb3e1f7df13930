package tapsim_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapsim"
)

// ask calls the simulator and gives status and body.
func ask(t *testing.T, sim *tapsim.Sim, path string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
	r.SetBasicAuth("demo", "demo")
	w := httptest.NewRecorder()
	sim.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func decode(t *testing.T, text string) (v struct {
	ID        string
	Status    string
	Generated string
	Users     []struct{ Identity struct{ GUID string } }
	Total     int `json:"totalTopClickers"`
	Campaigns []struct{ ID, LastUpdatedAt string }
	Members   []struct{ ID string } `json:"campaignMembers"`
	Reports   []struct {
		Scope, ID string
		Forensics []json.RawMessage
	}
},
) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %.200s", err, text)
	}
	return v
}

func world(t *testing.T, change func(*tapsim.Config)) (*tapsim.Sim, *time.Time) {
	t.Helper()
	now := time.Date(2026, 3, 11, 15, 30, 0, 0, time.UTC)
	c := tapsim.Default()
	c.Age, c.Rate, c.Clock = 6*time.Hour, 0.1, func() time.Time { return now }
	if change != nil {
		change(&c)
	}
	sim, err := tapsim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return sim, &now
}

// TestEverythingThatIsNamedCanBeAskedFor: each threat and campaign of the truth has an answer that
// is about it.
func TestEverythingThatIsNamedCanBeAskedFor(t *testing.T) {
	t.Parallel()
	sim, _ := world(t, nil)
	counts := make(map[feed.Feed]int)
	for truth := range sim.Derived(sim.Now()) {
		id := truth.Key[len("id:"):]
		path, parameter := "/v2/threat/summary/"+id, "threatId"
		if truth.Feed == feed.Campaigns {
			path, parameter = "/v2/campaign/"+id, "campaignId"
		}
		status, body := ask(t, sim, path)
		if status != http.StatusOK || decode(t, body).ID != id {
			t.Errorf("%s: status %d: %.100s", path, status, body)
		}
		if counts[truth.Feed]++; counts[truth.Feed] > 10 { // within the limit
			continue
		}
		status, body = ask(t, sim, "/v2/forensics?"+parameter+"="+id)
		if v := decode(t, body); status != http.StatusOK || len(v.Reports) != 1 || v.Reports[0].ID != id || v.Generated == "" {
			t.Errorf("forensics of %s: status %d: %.100s", id, status, body)
		}
	}
	campaign := false
	for truth := range sim.Derived(sim.Now()) {
		if truth.Feed != feed.Threats || campaign {
			continue
		}
		_, body := ask(t, sim, "/v2/forensics?includeCampaignForensics=true&threatId="+truth.Key[len("id:"):])
		if v := decode(t, body); v.Reports[0].Scope == "CAMPAIGN" {
			status, _ := ask(t, sim, "/v2/campaign/"+v.Reports[0].ID)
			campaign = status == http.StatusOK
		}
	}
	if !campaign {
		t.Error("no threat has the report of its campaign")
	}
	if counts[feed.Threats] < 20 || counts[feed.Campaigns] < 3 {
		t.Errorf("too little is named: %v", counts)
	}
	for _, path := range []string{
		"/v2/threat/summary/" + strings.Repeat("0", 64), "/v2/campaign/0d9f4b8a-6c1e-4b0b-8c2f-71d3c5a9e604", "/v2/forensics?threatId=x", "/v2/forensics?campaignId=x", "/v2/threat/summary/", "/v2/nothing",
	} {
		if status, _ := ask(t, sim, path); status != http.StatusNotFound {
			t.Errorf("%s: status %d", path, status)
		}
	}
}

func TestParametersThatAreRefused(t *testing.T) {
	t.Parallel()
	sim, now := world(t, nil)
	day := url.QueryEscape(now.Add(-25*time.Hour).Format(time.RFC3339) + "/" + now.Format(time.RFC3339))
	future := url.QueryEscape(now.Format(time.RFC3339) + "/" + now.Add(time.Hour).Format(time.RFC3339))
	for _, path := range []string{
		"/v2/people/vap", "/v2/people/vap?window=15", "/v2/people/top-clickers?window=14&size=201", "/v2/people/top-clickers?window=14&page=0",
		"/v2/campaign/ids", "/v2/campaign/ids?interval=" + day, "/v2/campaign/ids?interval=" + future, "/v2/campaign/ids?size=201&interval=PT1H/" + url.QueryEscape(now.Format(time.RFC3339)),
		"/v2/forensics", "/v2/forensics?threatId=a&campaignId=b",
	} {
		if status, body := ask(t, sim, path); status != http.StatusBadRequest {
			t.Errorf("%s: status %d: %.100s", path, status, body)
		}
	}
	for pool, q := range sim.Status().Quota {
		if q.Used != 0 {
			t.Errorf("refused calls were counted in %s: %+v", pool, q)
		}
	}
}

func TestListsHavePages(t *testing.T) {
	t.Parallel()
	sim, _ := world(t, func(c *tapsim.Config) { c.People = 250 })
	seen := make(map[string]bool)
	for page, want := range []int{200, 50, 0} {
		_, body := ask(t, sim, "/v2/people/top-clickers?window=14&size=200&page="+string(rune('1'+page)))
		v := decode(t, body)
		if len(v.Users) != want || v.Total != 250 {
			t.Errorf("page %d: %d users of %d", page+1, len(v.Users), v.Total)
		}
		for _, u := range v.Users {
			seen[u.Identity.GUID] = true
		}
	}
	if len(seen) != 250 || len(sim.People(feed.CallTopClickers, 14, sim.Now())) != 250 {
		t.Errorf("%d different people", len(seen))
	}
}

// TestCampaignsGrowAndAreListed: a campaign gets members during its day, and is listed by its last
// update.
func TestCampaignsGrowAndAreListed(t *testing.T) {
	t.Parallel()
	sim, now := world(t, func(c *tapsim.Config) { c.Campaigns = 1 })
	list := func() (id, updated string) {
		t.Helper()
		_, body := ask(t, sim, "/v2/campaign/ids?interval=PT1H/"+url.QueryEscape(now.Format(time.RFC3339)))
		v := decode(t, body)
		if len(v.Campaigns) != 1 {
			t.Fatalf("campaigns: %s", body)
		}
		return v.Campaigns[0].ID, v.Campaigns[0].LastUpdatedAt
	}
	id, before := list()
	_, body := ask(t, sim, "/v2/campaign/"+id)
	few := len(decode(t, body).Members)
	*now = now.Add(3 * time.Hour)
	again, after := list()
	_, body = ask(t, sim, "/v2/campaign/"+id)
	if many := len(decode(t, body).Members); again != id || after <= before || many <= few {
		t.Errorf("%s with %d members, updated %s, became %s with %d, updated %s", id, few, before, again, many, after)
	}
	if status, body := ask(t, sim, "/v2/campaign/ids?interval=2020-01-01T00:00:00Z/PT1H"); status != http.StatusNotFound || body != "" {
		t.Errorf("no campaigns: status %d, %q", status, body)
	}
}

func TestTheirLimits(t *testing.T) {
	t.Parallel()
	sim, _ := world(t, func(c *tapsim.Config) { c.LimitPeople = 2 })
	for i, want := range []int{200, 200, 429} {
		if status, _ := ask(t, sim, "/v2/people/vap?window=14"); status != want {
			t.Errorf("call %d: status %d", i+1, status)
		}
	}
	if status, _ := ask(t, sim, "/v2/people/top-clickers?window=14"); status != http.StatusOK {
		t.Errorf("the other list shares the limit: status %d", status)
	}
}
