package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapsim"
)

// row is what the tests want to know of a row that is no SIEM record.
type row struct {
	ID        string `json:"id"`
	TaplineID string `json:"@tapline_id"`
	Campaign  string `json:"@tapline_campaign_id"`
	PullID    string `json:"@devo_pulling_id"`
	List      string `json:"list"`
	Window    int    `json:"window"`
	Interval  string `json:"interval"`
	Identity  struct {
		GUID string `json:"guid"`
	} `json:"identity"`
	Scope     string          `json:"scope"` // of forensics
	Forensics json.RawMessage `json:"forensics"`
	Found     *int            `json:"forensics_found"`
	Index     int             `json:"forensics_id"`
	text      string
}

func (w *world) take(tb testing.TB, f feed.Feed, message []byte) {
	tb.Helper()
	r := row{text: string(message)}
	if err := json.Unmarshal(message, &r); err != nil {
		tb.Fatalf("row of %s: %v: %s", f, err, message)
	}
	if w.rows == nil {
		w.rows = make(map[feed.Feed][]row)
	}
	w.rows[f] = append(w.rows[f], r)
}

// expanded waits until everything that is named by what is visible at a moment has its row.
func (w *world) expanded(tb testing.TB, at time.Time) {
	tb.Helper()
	want := make(map[string]tapsim.Truth)
	for truth := range w.sim.Derived(at) {
		want[string(truth.Feed)+" "+truth.Key] = truth
	}
	if len(want) == 0 {
		tb.Fatal("the simulator names nothing; the test would prove nothing")
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("%d threats and campaigns have no row: %v", len(want), want)
		}
	})
	poll(tb, "rows of all threats and campaigns", func() bool {
		w.delivered(tb)
		for _, f := range []feed.Feed{feed.Threats, feed.Campaigns} {
			for _, r := range w.rows[f] {
				if r.Found == nil {
					delete(want, string(f)+" id:"+r.ID)
				}
			}
		}
		return len(want) == 0
	})
}

// TestAllEightFeedsArrive: with default limits, everything that is named has its row and
// every list is complete.
func TestAllEightFeedsArrive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) { c.Rate, c.Factor, c.Age, c.Threats = 0.5, 60, 3*time.Hour, 4 })
	p := w.run(t, "EXPAND_RATE=1000")
	at := w.sim.Now()
	w.complete(t, at)
	w.expanded(t, at)
	for call, f := range map[feed.Call]feed.Feed{feed.CallVAP: feed.PeopleVAP, feed.CallTopClickers: feed.PeopleTopClicks} {
		poll(t, "the lists of "+string(f), func() bool {
			w.delivered(t)
			have := make(map[int]map[string]bool)
			for _, r := range w.rows[f] {
				if have[r.Window] == nil {
					have[r.Window] = make(map[string]bool)
				}
				have[r.Window][r.Identity.GUID] = true
			}
			for _, days := range []int{14, 30, 90} {
				for _, guid := range w.sim.People(call, days, at) {
					if !have[days][guid] {
						return false
					}
				}
			}
			return true
		})
		for _, r := range w.rows[f] {
			if r.List != string(call) || !strings.Contains(r.text, `"interval":"`) || r.TaplineID == "" || r.PullID == "" {
				t.Errorf("row of %s: %s", f, r.text)
			}
		}
	}
	if n := p.counter(t, "tapline_fetcher_calls_total", "result", "too-many-requests"); n > 0 {
		t.Errorf("%v calls were refused", n)
	}
	p.stop()
	for pool, q := range w.sim.Status().Quota {
		if q.Refused > 0 || q.Used > q.Limit {
			t.Errorf("pool %s: %+v", pool, q)
		}
	}
}
