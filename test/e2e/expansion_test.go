package e2e_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapctl"
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

// TestAnIDThatFailsHoldsNothingUp: Proofpoint answers for one threat with 500. Records and all
// other threats arrive; the one goes to DEAD, and comes when an operator asks for it again.
func TestAnIDThatFailsHoldsNothingUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) { c.Factor, c.Rate, c.Age, c.Threats = 1, 0.5, 30*time.Minute, 3 })
	var bad string
	for truth := range w.sim.Derived(w.sim.Now()) {
		if truth.Feed == feed.Threats {
			bad = strings.TrimPrefix(truth.Key, "id:")
			break
		}
	}
	if err := w.sim.Inject(tapsim.Fault{Kind: tapsim.FaultStatus, Status: 500, Path: "/v2/threat/summary/" + bad}); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	at := w.sim.Now().Add(-2 * time.Minute)
	w.run(t, "NATS_LISTEN="+address, "TAP_START_TIME=30m", "EXPAND_ATTEMPTS=3", "EXPAND_RETRY_DELAY=1ms")
	o := operator{t, append(w.environ(), "NATS_URL=nats://"+address)}
	w.complete(t, at)
	type letter struct {
		Sequence int `json:"sequence"`
		Message  struct {
			Reason, Source string
			Payload        []byte
		} `json:"message"`
	}
	list := func() (letters []letter) {
		t.Helper()
		code, text := 0, ""
		poll(t, "tapctl", func() bool {
			var out, problems bytes.Buffer
			code = tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"dead", "ls", "--output", "json"}, Environ: o.environ, Stdout: &out, Stderr: &problems})
			text = out.String()
			return code == 0
		})
		for decoder := json.NewDecoder(strings.NewReader(text)); decoder.More(); {
			var l letter
			if err := decoder.Decode(&l); err != nil {
				t.Fatal(err)
			}
			letters = append(letters, l)
		}
		return letters
	}
	var dead []letter
	poll(t, "the id in DEAD", func() bool {
		dead = list()
		return len(dead) > 0
	})
	if string(dead[0].Message.Payload) != bad || !strings.Contains(dead[0].Message.Reason, "status 500") {
		t.Errorf("DEAD has %+v", dead[0])
	}
	has := func(id string) bool {
		w.delivered(t)
		return slices.ContainsFunc(w.rows[feed.Threats], func(r row) bool { return r.ID == id })
	}
	poll(t, "all other threats", func() bool {
		for truth := range w.sim.Derived(at) {
			if id := strings.TrimPrefix(truth.Key, "id:"); truth.Feed == feed.Threats && id != bad && !has(id) {
				return false
			}
		}
		return true
	})
	if has(bad) {
		t.Error("there is a row of an id that was never answered")
	}
	w.sim.Clear()
	sequence := strconv.Itoa(dead[0].Sequence)
	o.run("dead", "show", sequence)
	if _, text := o.run("dead", "retry", sequence); !strings.Contains(text, bad) {
		t.Errorf("retry says %s", text)
	}
	poll(t, "the row of the id", func() bool { return has(bad) })
	for _, l := range list() {
		if l.Sequence == dead[0].Sequence {
			t.Error("the letter is still there")
		}
		o.run("dead", "drop", strconv.Itoa(l.Sequence))
	}
	if left := list(); len(left) > 0 {
		t.Errorf("after drop: %+v", left)
	}
}

// TestLateLinksAmendThreats: a threat whose campaign becomes known after it was delivered gets
// another row that says so.
func TestLateLinksAmendThreats(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) {
		c.Rate, c.Factor, c.Age, c.Threats, c.Campaigns = 0.1, 600, 2*time.Hour, 12, 2
	})
	p := w.run(t, "TAP_CAMPAIGN_INTERVAL=10m")
	amended := func() (n int) {
		w.delivered(t)
		campaigns := make(map[string]map[string]bool)
		for _, r := range w.rows[feed.Threats] {
			if campaigns[r.ID] == nil {
				campaigns[r.ID] = make(map[string]bool)
			}
			campaigns[r.ID][r.Campaign] = true
		}
		for _, of := range campaigns {
			if of[""] && len(of) > 1 {
				n++
			}
		}
		return n
	}
	poll(t, "threats that were linked late", func() bool {
		return p.counter(t, "tapline_enricher_amendments_total", "", "") >= 3 && amended() >= 3
	})
}

// onceEach checks that no row is there twice under different ids: what is the same has the same
// @tapline_id.
func (w *world) onceEach(t *testing.T) {
	t.Helper()
	changing := regexp.MustCompile(`"@devo_pulling_id":"\d+"|"generated":"[^"]*"|"interval":"[^"]*"`)
	ids := make(map[string]map[string]bool)
	rows := 0
	for f, all := range w.rows {
		for _, r := range all {
			text := string(f) + changing.ReplaceAllString(strings.Replace(r.text, r.TaplineID, "", 1), "")
			if ids[text] == nil {
				ids[text] = make(map[string]bool)
			}
			ids[text][r.TaplineID] = true
			rows++
		}
	}
	for text, of := range ids {
		if len(of) != 1 {
			t.Errorf("%d ids of one row: %.200s", len(of), text)
		}
	}
	t.Logf("%d rows of threats, campaigns and people, %d different", rows, len(ids))
}
