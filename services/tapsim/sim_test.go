package tapsim_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 3, 11, 12, 0, 10, 0, time.UTC)

// clock is a real clock that a test turns.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newSim(t interface{ Fatal(...any) }, change func(*tapsim.Config)) (*tapsim.Sim, *clock) {
	clk := &clock{epoch}
	c := tapsim.Default()
	c.Clock, c.Rate = clk.now, 0.05
	if change != nil {
		change(&c)
	}
	sim, err := tapsim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return sim, clk
}

// get asks the simulator without a network.
func get(sim *tapsim.Sim, path string, query url.Values, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, path+"?"+query.Encode(), nil)
	r.SetBasicAuth("demo", "demo")
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	sim.ServeHTTP(w, r)
	return w
}

func interval(from, to time.Time) url.Values {
	return url.Values{
		"format": {"JSON"}, "interval": {from.Format(time.RFC3339) + "/" + to.Format(time.RFC3339)},
		"threatStatus": {"active", "cleared", "falsePositive"},
	}
}

// keys reads the natural keys of an envelope.
func keys(t interface{ Fatal(...any) }, body []byte) map[string]int {
	var envelope map[string]json.RawMessage
	if err := json.Unmarshal(body, &envelope); err != nil {
		t.Fatal(err, string(body))
	}
	out := map[string]int{}
	for name, list := range envelope {
		if name == "queryEndTime" {
			continue
		}
		var records []json.RawMessage
		if err := json.Unmarshal(list, &records); err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			key, err := tapsim.NaturalKey(feed.Feed(name), r)
			if err != nil {
				t.Fatal(err)
			}
			if fast := string(tapsim.FastKey(nil, r)); fast != key {
				t.Fatal("fast key", fast, "is not", key)
			}
			out[name+" "+key]++
		}
	}
	return out
}

func TestParameterRules(t *testing.T) {
	t.Parallel()
	sim, _ := newSim(t, nil)
	hour := epoch.Add(-2 * time.Hour)
	for name, c := range map[string]struct {
		query  url.Values
		status int
		body   string
	}{
		"an hour":        {interval(hour, hour.Add(time.Hour)), 200, `{"queryEndTime" : "2026-03-11T11:00:10Z"`},
		"lower case":     {url.Values{"format": {"json"}, "interval": {"PT30M/2026-03-11T11:00:00Z"}}, 200, "queryEndTime"},
		"with an offset": {url.Values{"format": {"json"}, "interval": {"2026-03-11T01:00:00-0700/PT30M"}}, 200, `"2026-03-11T08:30:00Z"`},
		"too old":        {interval(epoch.Add(-7*24*time.Hour-time.Minute), epoch.Add(-7*24*time.Hour+time.Hour-time.Minute)), 400, "The requested start time is too far into the past."},
		"too short":      {interval(hour, hour.Add(29*time.Second)), 400, "The requested interval is too short."},
		"too long":       {interval(hour, hour.Add(time.Hour+time.Second)), 400, "The requested interval is too long."},
		"still current":  {interval(hour.Add(90*time.Minute), epoch.Add(time.Second)), 400, "The requested interval is still current."},
		"backwards":      {interval(hour, hour.Add(-time.Minute)), 400, ""},
		"nothing":        {url.Values{"format": {"JSON"}}, 400, "Exactly one of"},
		"two":            {url.Values{"format": {"JSON"}, "sinceSeconds": {"60"}, "sinceTime": {"2026-03-11T11:00:00Z"}}, 400, "Exactly one of"},
		"since seconds":  {url.Values{"format": {"JSON"}, "sinceSeconds": {"3600"}}, 200, `"2026-03-11T12:00:00Z"`},
		"garbage":        {url.Values{"format": {"JSON"}, "interval": {"yesterday/today"}}, 400, "is not an ISO 8601 time"},
		"bad format":     {url.Values{"format": {"xml"}, "sinceSeconds": {"60"}}, 400, "format"},
		"bad status":     {url.Values{"threatStatus": {"asleep"}, "sinceSeconds": {"60"}}, 400, "asleep"},
	} {
		w := get(sim, "/v2/siem/all", c.query)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s: status %d, %.200s", name, w.Code, w.Body)
		}
		if w.Header().Get("Date") != epoch.Format(http.TimeFormat) {
			t.Errorf("%s: Date %s is not the simulator's time", name, w.Header().Get("Date"))
		}
	}
}

func TestCredentialsPathsAndFormats(t *testing.T) {
	t.Parallel()
	sim, _ := newSim(t, nil)
	hour := interval(epoch.Add(-2*time.Hour), epoch.Add(-time.Hour))
	if w := get(sim, "/v2/siem/all", hour, func(r *http.Request) { r.SetBasicAuth("demo", "wrong") }); w.Code != 401 {
		t.Errorf("wrong secret: %d", w.Code)
	}
	if w := get(sim, "/v2/siem/nothing", hour); w.Code != 404 {
		t.Errorf("unknown path: %d", w.Code)
	}
	if w := get(sim, "/v2/siem/all", hour, func(r *http.Request) { r.Method = http.MethodPost }); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
	w := get(sim, "/v2/siem/all", hour, func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") })
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	zipped, err := io.ReadAll(z)
	if err != nil || len(keys(t, zipped)) == 0 {
		t.Errorf("gzip: %v", err)
	}
	hour.Del("format")
	if w := get(sim, "/v2/siem/all", hour); w.Code != 200 || !strings.HasPrefix(w.Body.String(), "<38>1 ") {
		t.Errorf("syslog: %d %.80s", w.Code, w.Body)
	}
	empty, _ := newSim(t, func(c *tapsim.Config) { c.Rate = 0 })
	if w := get(empty, "/v2/siem/all", hour); w.Code != 204 || w.Body.Len() != 0 {
		t.Errorf("empty syslog: %d", w.Code)
	}
	for _, e := range feed.SIEMEndpoints() {
		var envelope map[string]json.RawMessage
		if err := json.Unmarshal(get(sim, e.Path, interval(epoch.Add(-2*time.Hour), epoch.Add(-time.Hour))).Body.Bytes(), &envelope); err != nil {
			t.Fatal(err)
		}
		if len(envelope) != len(e.Feeds)+1 {
			t.Errorf("%s has %d members", e.Path, len(envelope))
		}
	}
}

// TestReadingAllWindowsGivesTheTruth: asking late enough gives every record once, whatever the seed
// and the cut.
func TestReadingAllWindowsGivesTheTruth(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sim, clk := newSim(t, func(c *tapsim.Config) {
			c.Seed = rapid.Uint64().Draw(t, "seed")
			c.Rate = rapid.Float64Range(0, 0.2).Draw(t, "rate")
			c.LateFraction, c.LateLag = 0.3, 30*time.Minute
		})
		from, to := epoch.Add(-90*time.Minute), epoch.Add(-10*time.Minute)
		want := map[string]int{}
		for truth := range sim.Truth(from, to) {
			if truth.Visible.Before(truth.Created) || truth.Created.Before(from) || !truth.Created.Before(to) {
				t.Fatalf("truth %+v", truth)
			}
			want[string(truth.Feed)+" "+truth.Key]++
		}
		early := read(t, sim, from, to)
		for key := range early {
			if want[key] != 1 {
				t.Fatalf("%s is not in the truth once", key)
			}
		}
		clk.at = epoch.Add(time.Hour)
		late := read(t, sim, from, to)
		if fmt.Sprint(late) != fmt.Sprint(want) {
			t.Fatalf("read %d records, truth has %d", len(late), len(want))
		}
	})
}

// read asks for a span in windows of odd lengths.
func read(t *rapid.T, sim *tapsim.Sim, from, to time.Time) map[string]int {
	out := map[string]int{}
	for at := from; at.Before(to); {
		end := at.Add(time.Duration(rapid.IntRange(31, 3600).Draw(t, "seconds")) * time.Second)
		if to.Sub(end) < 31*time.Second {
			end = to
		}
		if end.Sub(at) > time.Hour {
			end = at.Add(time.Hour - 31*time.Second)
		}
		w := get(sim, "/v2/siem/all", interval(at, end))
		if w.Code != 200 {
			t.Fatal(w.Code, w.Body.String())
		}
		for key, n := range keys(t, w.Body.Bytes()) {
			out[key] += n
		}
		at = end
	}
	return out
}

// TestThrottleIsASlidingLog compares with a plain list of call times.
func TestThrottleIsASlidingLog(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 10).Draw(t, "limit")
		sim, clk := newSim(t, func(c *tapsim.Config) { c.LimitSIEM, c.Rate = limit, 0 })
		var granted []time.Time
		for range rapid.IntRange(1, 60).Draw(t, "calls") {
			clk.at = clk.at.Add(time.Duration(rapid.IntRange(0, 5*3600).Draw(t, "pause")) * time.Second)
			used := 0
			for _, at := range granted {
				if at.After(clk.at.Add(-24 * time.Hour)) {
					used++
				}
			}
			w := get(sim, "/v2/siem/messages/blocked", interval(clk.at.Add(-time.Hour), clk.at.Add(-time.Minute)))
			switch {
			case used < limit && w.Code == 200:
				granted = append(granted, clk.at)
			case used >= limit && w.Code == 429:
			default:
				t.Fatalf("%d of %d used, status %d", used, limit, w.Code)
			}
		}
	})
}

func TestFaults(t *testing.T) {
	t.Parallel()
	sim, _ := newSim(t, nil)
	server := httptest.NewServer(sim)
	defer server.Close()
	call := func() (int, error) {
		q := interval(epoch.Add(-2*time.Hour), epoch.Add(-time.Hour))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v2/siem/all?"+q.Encode(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("demo", "demo")
		r.Close = true
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && !json.Valid(body) {
			err = errors.New("body is not JSON")
		}
		return resp.StatusCode, err
	}
	for _, c := range []struct {
		fault  tapsim.Fault
		status int
		fails  bool
	}{
		{tapsim.Fault{Kind: tapsim.FaultStatus, Status: 503, Count: 1}, 503, true},
		{tapsim.Fault{Kind: tapsim.FaultStatus, Status: 403, Count: 1}, 403, true},
		{tapsim.Fault{Kind: tapsim.FaultHTML, Count: 1}, 200, true},
		{tapsim.Fault{Kind: tapsim.FaultTruncated, Count: 1}, 200, true},
		{tapsim.Fault{Kind: tapsim.FaultCutJSON, Count: 1}, 200, true},
		{tapsim.Fault{Kind: tapsim.FaultReset, Count: 1}, 0, true},
		{tapsim.Fault{Kind: tapsim.FaultSlow, Delay: time.Millisecond, Count: 1}, 200, false},
		{tapsim.Fault{Kind: tapsim.FaultDrip, Delay: time.Millisecond, Count: 1}, 200, false},
	} {
		if err := sim.Inject(c.fault); err != nil {
			t.Fatal(err)
		}
		if status, err := call(); status != c.status || (err != nil) != c.fails {
			t.Errorf("%s: status %d, %v", c.fault.Kind, status, err)
		}
		if status, err := call(); status != 200 || err != nil {
			t.Errorf("after %s: status %d, %v", c.fault.Kind, status, err)
		}
	}
	if err := sim.Inject(tapsim.Fault{Kind: "earthquake"}); err == nil {
		t.Error("an unknown fault was accepted")
	}
}

func TestTesterEndpoints(t *testing.T) {
	t.Parallel()
	sim, _ := newSim(t, nil)
	do := func(method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		sim.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		return w
	}
	lines := strings.Count(do("GET", "/_sim/truth", "").Body.String(), "\n")
	n := 0
	for range sim.Truth(sim.Epoch(), sim.Now()) {
		n++
	}
	if lines != n || n == 0 {
		t.Errorf("%d lines for %d records", lines, n)
	}
	if w := do("POST", "/_sim/faults", `{"kind":"slow","delay":"2s","count":1}`); w.Code != 201 || sim.Faults()[0].Delay != 2*time.Second {
		t.Errorf("fault: %d %s", w.Code, w.Body)
	}
	if w := do("DELETE", "/_sim/faults", ""); w.Code != 204 || len(sim.Faults()) != 0 {
		t.Errorf("clear: %d", w.Code)
	}
	if w := do("POST", "/_sim/records", `{"feed":"clicksBlocked","record":{"id":"mine","n":1.0}}`); w.Code != 201 {
		t.Errorf("record: %d %s", w.Code, w.Body)
	}
	for _, bad := range []string{`{`, `{"feed":"x"}`, `{"feed":"clicksBlocked","record":{}}`} {
		if w := do("POST", "/_sim/records", bad); w.Code != 400 {
			t.Errorf("%s: %d", bad, w.Code)
		}
	}
	if w := do("GET", "/_sim/status", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"limit":1800`) {
		t.Errorf("status: %s", w.Body)
	}
	if w := do("GET", "/_sim/truth?from=x", ""); w.Code != 400 {
		t.Errorf("bad from: %d", w.Code)
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("format=JSON&interval=2026-03-11T10:00:00Z/2026-03-11T11:00:00Z")
	f.Add("interval=PT1H/2026-03-11T11:00:00%2B01:00&threatType=url,attachment")
	f.Add("sinceSeconds=99999999999")
	f.Add("")                                   // no time at all
	f.Add("sinceSeconds=0")                     // too short
	f.Add("sinceSeconds=7000")                  // too long
	f.Add("interval=P1/2026-03-11T11:00:00Z")   // no duration
	f.Add("interval=noon/2026-03-11T11:00:00Z") // no time
	sim, _ := newSim(f, func(c *tapsim.Config) { c.Rate, c.LimitSIEM = 0, 1<<30 })
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		switch w := get(sim, "/v2/siem/all", values); w.Code {
		case 200, 204, 400:
		default:
			t.Fatalf("status %d", w.Code)
		}
	})
}

// nowhere takes a response and forgets it.
type nowhere struct {
	header http.Header
	bytes  int64
}

func (n *nowhere) Header() http.Header { return n.header }
func (n *nowhere) WriteHeader(int)     {}
func (n *nowhere) Write(p []byte) (int, error) {
	n.bytes += int64(len(p))
	return len(p), nil
}

func BenchmarkGenerate(b *testing.B) {
	sim, _ := newSim(b, func(c *tapsim.Config) { c.Rate, c.LimitSIEM = 10, 1<<30 })
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/v2/siem/all?"+interval(epoch.Add(-2*time.Hour), epoch.Add(-time.Hour)).Encode(), nil)
	r.SetBasicAuth("demo", "demo")
	for b.Loop() {
		w := &nowhere{header: http.Header{}}
		sim.ServeHTTP(w, r)
		b.SetBytes(w.bytes)
	}
}
