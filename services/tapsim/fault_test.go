package tapsim_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/services/tapsim"
)

const allPath = "/v2/siem/all"

func inject(t *testing.T, sim *tapsim.Sim, faults ...string) {
	t.Helper()
	for _, text := range faults {
		w := httptest.NewRecorder()
		sim.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/_sim/faults", strings.NewReader(text)))
		if w.Code != http.StatusCreated {
			t.Fatalf("%s: %d %s", text, w.Code, w.Body)
		}
	}
}

func lastHour() url.Values { return interval(epoch.Add(-2*time.Hour), epoch.Add(-time.Hour)) }

// known counts the records of the hour that [lastHour] asks for.
func known(sim *tapsim.Sim) (n int) {
	for range sim.Truth(epoch.Add(-2*time.Hour), epoch.Add(-time.Hour)) {
		n++
	}
	return n
}

// TestOddAnswers: each fault is answered as told, the next call is as it should be, and the truth
// knows every record.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault  string
		status int
		body   string // what it contains; = says the whole
		lacks  string
		kept   func(all int) int // records in the answer; nil for no count
	}{
		"bad request without a body": {`{"kind":"bad-request"`, 400, "=", "", nil},
		"bad request with a page":    {`{"kind":"bad-request","text":"<html><body>Bad Request</body></html>"`, 400, "=<html><body>Bad Request</body></html>", "", nil},
		"bad request in new words":   {`{"kind":"bad-request","text":"Window exceeds one hour"`, 400, "=Window exceeds one hour", "", nil},
		"no content":                 {`{"kind":"no-content"`, 204, "=", "", nil},
		"nothing at all":             {`{"kind":"empty"`, 200, "=", "", nil},
		"syslog":                     {`{"kind":"syslog"`, 200, "<38>1 ", "queryEndTime", nil},
		"forbidden":                  {`{"kind":"status","status":403`, 403, "", "", nil},
		"not found, with a page":     {`{"kind":"html","status":404`, 404, "<html>", "", nil},
		"early end":                  {`{"kind":"early-end","delay":"60m"`, 200, `"2026-03-11T10:00:10Z"`, "", func(int) int { return 0 }},
		"no end":                     {`{"kind":"no-end"`, 200, "messagesBlocked", "queryEndTime", func(all int) int { return all }},
		"no arrays":                  {`{"kind":"no-arrays"`, 200, `{"queryEndTime" : "2026-03-11T11:00:10Z"}`, "[", func(int) int { return 0 }},
		"another spelling":           {`{"kind":"renamed-array","array":"messagesDelivered"`, 200, `"messagesdelivered" : [`, "messagesDelivered", nil},
		"an error":                   {`{"kind":"error-member"`, 200, `"error" : "backend partially unavailable", "clicksBlocked" : []`, "", nil},
		"too long":                   {`{"kind":"max-span","delay":"20m"`, 400, "The requested interval is too long. Requests must be for at most", "", nil},
		"too short, in other words":  {`{"kind":"min-span","delay":"61m","text":"give me more"`, 400, "=give me more", "", nil},
		"a long header":              {`{"kind":"headers","size":20`, 200, "=", "", nil},
		"a redirect":                 {`{"kind":"redirect"`, 302, "=", "", nil},
		"a long wait":                {`{"kind":"retry-after"`, 429, "=", "", nil},
		"brackets":                   {`{"kind":"brackets","size":70000`, 200, "[[[[", "", nil},
		"numbers":                    {`{"kind":"non-objects","size":3`, 200, ",0,1,2]", "", nil},
		"hours":                      {`{"kind":"hours","size":2`, 200, `{"id":"hostile-1","clickTime":"2026-03-11T11:`, "", nil},
		"records":                    {`{"kind":"records","array":"clicksBlocked","size":2`, 200, `{"id":"hostile-0"},{"id":"hostile-1"}], "clicksPermitted"`, "", nil},
		"members":                    {`{"kind":"members","size":2`, 200, `{"GUID":"hostile","recipient":["",""]}]`, "", nil},
		"still current":              {`{"kind":"head-lag","delay":"61m"`, 400, "=The requested interval is still current.", "", nil},
	} {
		sim, _ := newSim(t, nil)
		before := known(sim)
		inject(t, sim, c.fault+`,"count":1}`)
		w := get(sim, allPath, lastHour())
		want, whole := strings.CutPrefix(c.body, "=")
		if body := w.Body.String(); w.Code != c.status || !strings.Contains(body, want) || (whole && body != want) || (c.lacks != "" && strings.Contains(body, c.lacks)) {
			t.Errorf("%s: %d %.300s", name, w.Code, body)
		}
		if c.kept != nil {
			if n := len(keys(t, w.Body.Bytes())); n != c.kept(before) {
				t.Errorf("%s: %d records of %d", name, n, before)
			}
		}
		if w := get(sim, allPath, lastHour()); w.Code != 200 || len(keys(t, w.Body.Bytes())) != before {
			t.Errorf("after %s: %d", name, w.Code)
		}
		if after := known(sim); after != before || before < 20 {
			t.Errorf("%s: the truth has %d records, and had %d", name, after, before)
		}
	}
}

// TestOneArrayIsMissing: the others are whole.
func TestOneArrayIsMissing(t *testing.T) {
	t.Parallel()
	sim, _ := newSim(t, nil)
	whole := keys(t, get(sim, allPath, lastHour()).Body.Bytes())
	inject(t, sim, `{"kind":"no-array","array":"messagesDelivered"}`)
	part := get(sim, allPath, lastHour()).Body
	if strings.Contains(part.String(), "messagesDelivered") {
		t.Error("the array is there")
	}
	have := keys(t, part.Bytes())
	for key := range whole {
		if delivered := strings.HasPrefix(key, "messagesDelivered "); delivered == (have[key] == 1) {
			t.Errorf("%s: %d", key, have[key])
		}
	}
	if len(have) == 0 || len(have) == len(whole) {
		t.Errorf("%d records of %d", len(have), len(whole))
	}
}

// TestEarlyEndLeavesOut what lies behind the end that is told, and nothing else, as often as it is
// asked.
func TestEarlyEndLeavesOut(t *testing.T) {
	t.Parallel()
	sim, _ := newSim(t, nil)
	want := keys(t, get(sim, allPath, interval(epoch.Add(-2*time.Hour), epoch.Add(-70*time.Minute))).Body.Bytes())
	inject(t, sim, `{"kind":"early-end","delay":"10m"}`)
	for range 3 {
		w := get(sim, allPath, lastHour())
		if have := keys(t, w.Body.Bytes()); len(have) != len(want) || !strings.Contains(w.Body.String(), `"2026-03-11T10:50:10Z"`) {
			t.Errorf("%d records, want %d", len(have), len(want))
		}
	}
}

// TestPoisonInstant: each window that contains it is refused on every path that is meant, and no
// other is.
func TestPoisonInstant(t *testing.T) {
	t.Parallel()
	sim, _ := newSim(t, nil)
	at := epoch.Add(-90 * time.Minute)
	inject(t, sim, `{"kind":"status","status":500,"path":"/v2/siem/all","instant":"`+at.Format(time.RFC3339)+`"}`)
	for _, c := range []struct {
		path     string
		from, to time.Duration
		want     int
	}{
		{allPath, -time.Minute, time.Minute, 500},
		{allPath, 0, time.Minute, 500},
		{allPath, -30 * time.Minute, 30 * time.Minute, 500},
		{allPath, -time.Minute, 0, 200}, // the end does not belong to a window
		{allPath, time.Second, time.Minute, 200},
		{"/v2/siem/issues", -time.Minute, time.Minute, 200},
	} {
		if w := get(sim, c.path, interval(at.Add(c.from), at.Add(c.to))); w.Code != c.want {
			t.Errorf("%s from %s to %s: %d", c.path, c.from, c.to, w.Code)
		}
	}
}

func TestDateFaults(t *testing.T) {
	t.Parallel()
	sim, _ := newSim(t, nil)
	server := httptest.NewServer(sim)
	defer server.Close()
	date := func() []string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+allPath+"?"+lastHour().Encode(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("demo", "demo")
		r.Close = true
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return append([]string{resp.Status[:3]}, resp.Header["Date"]...)
	}
	is := func(what string, want ...string) {
		t.Helper()
		if got := date(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	told := func(d time.Duration) string { return epoch.Add(d).Format(http.TimeFormat) }
	inject(t, sim, `{"kind":"date","delay":"240h","count":1}`)
	is("one answer ahead", "200", told(240*time.Hour))
	is("and the next", "200", told(0))
	inject(t, sim, `{"kind":"no-date","count":1}`)
	is("absent", "200")
	inject(t, sim, `{"kind":"date","delay":"-3h","errors":true}`, `{"kind":"status","status":404,"count":1}`)
	is("on an error page", "404", told(-3*time.Hour))
	is("and not else", "200", told(0))
}

func TestFaultsByName(t *testing.T) {
	t.Parallel()
	sim, _ := newSim(t, nil)
	inject(t, sim, `{"kind":"slow","delay":"1ms","name":"a"}`, `{"kind":"empty","name":"b"}`)
	w := httptest.NewRecorder()
	sim.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodDelete, "/_sim/faults?name=b", http.NoBody))
	if left := sim.Faults(); w.Code != 204 || len(left) != 1 || left[0].Name != "a" {
		t.Errorf("%d, %v are left", w.Code, left)
	}
}

func TestFaultsAtTheStart(t *testing.T) {
	t.Parallel()
	list, err := tapsim.ReadFaults(`[{"kind":"empty"},{"kind":"early-end","delay":"10m","count":2}]`)
	if err != nil || len(list) != 2 || list[1].Delay != 10*time.Minute {
		t.Errorf("%v, %v", list, err)
	}
	if list, err := tapsim.ReadFaults(`{"kind":"empty"}`); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	for _, bad := range []string{
		`{`, `{"kind":"earthquake"}`, `{"kind":"early-end"}`, `{"kind":"slow","delay":"-1s"}`, `{"kind":"empty","errors":true}`, `{"kind":"status","status":200}`,
		`{"kind":"empty","probability":2}`, `{"kind":"date"}`,
	} {
		if list, err := tapsim.ReadFaults(bad); err == nil {
			t.Errorf("%s was taken for %v", bad, list)
		}
	}
}

// TestOtherServices: what may be otherwise than the documentation says.
func TestOtherServices(t *testing.T) {
	t.Parallel()
	sim, _ := newSim(t, func(c *tapsim.Config) {
		c.Empty204, c.EndSpelling, c.MinSpan, c.MaxSpan, c.HeadLag = true, ".000+00:00", 2*time.Minute, 30*time.Minute, 15*time.Minute
	})
	for what, c := range map[string]struct {
		from, to time.Duration
		status   int
		body     string
	}{
		"the end in another spelling": {-90 * time.Minute, -60 * time.Minute, 200, `"2026-03-11T11:00:10.000+00:00"`},
		"too short":                   {-90 * time.Minute, -89 * time.Minute, 400, "at least 120.00s of data"},
		"too long":                    {-90 * time.Minute, -50 * time.Minute, 400, "at most 0.50h of data"},
		"behind":                      {-30 * time.Minute, -10 * time.Minute, 400, "still current"},
		"no longer behind":            {-30 * time.Minute, -15 * time.Minute, 200, "queryEndTime"},
	} {
		if w := get(sim, allPath, interval(epoch.Add(c.from), epoch.Add(c.to))); w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
			t.Errorf("%s: %d %.200s", what, w.Code, w.Body)
		}
	}
	quiet, _ := newSim(t, func(c *tapsim.Config) { c.Rate, c.Empty204 = 0, true })
	if w := get(quiet, allPath, lastHour()); w.Code != 204 || w.Body.Len() != 0 {
		t.Errorf("an empty window: %d %s", w.Code, w.Body)
	}
}

// TestOddLists: the other endpoints answer oddly, too.
func TestOddLists(t *testing.T) {
	t.Parallel()
	sim, _ := newSim(t, nil)
	vap := url.Values{"window": {"14"}}
	for fault, want := range map[string]string{
		`{"kind":"no-array"`:      `{"other":{}}`,
		`{"kind":"renamed-array"`: `{"Users":[`,
		`{"kind":"error-member"`:  `{"error":"backend partially unavailable"}`,
	} {
		inject(t, sim, fault+`,"count":1}`)
		if w := get(sim, "/v2/people/vap", vap); w.Code != 200 || !json.Valid(w.Body.Bytes()) || !strings.HasPrefix(w.Body.String(), want) {
			t.Errorf("%s: %d %.100s", fault, w.Code, w.Body)
		}
	}
	if w := get(sim, "/v2/people/vap", vap); w.Code != 200 || !strings.HasPrefix(w.Body.String(), `{"users":[`) {
		t.Errorf("afterwards: %d %.100s", w.Code, w.Body)
	}
}

// TestPeakCountsEveryCall: also those that failed.
func TestPeakCountsEveryCall(t *testing.T) {
	t.Parallel()
	sim, clk := newSim(t, nil)
	inject(t, sim, `{"kind":"bad-request","count":3}`)
	for range 5 {
		get(sim, allPath, lastHour())
	}
	clk.at = clk.at.Add(25 * time.Hour)
	get(sim, allPath, lastHour())
	if q := sim.Status().Quota["siem"]; q.Peak != 5 || q.Used != 1 {
		t.Errorf("%+v", q)
	}
}
