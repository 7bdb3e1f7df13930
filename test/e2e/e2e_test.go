package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" { //nolint:forbidigo // the test binary is a program here, too
		os.Exit(child()) //nolint:forbidigo // the same
	}
	goleak.VerifyTestMain(m)
}

func taplineID(tb testing.TB, message []byte) string {
	tb.Helper()
	var row struct {
		ID   string `json:"@tapline_id"`
		Pull string `json:"@devo_pulling_id"`
	}
	if err := json.Unmarshal(message, &row); err != nil {
		tb.Fatalf("row is not JSON: %v: %q", err, message)
	}
	if len(row.ID) != 32 || len(row.Pull) != 13 {
		tb.Fatalf("row has @tapline_id %q and @devo_pulling_id %q", row.ID, row.Pull)
	}
	return row.ID
}

func TestEverythingVisibleArrivesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.run(t)
	first := w.complete(t, w.sim.Now())
	at := w.sim.Now() // and live windows continue
	for key, d := range w.complete(t, at) {
		if d.rows != 1 || len(d.ids) != 1 {
			t.Errorf("%s: %d rows, %d ids", key, d.rows, len(d.ids))
		}
	}
	if len(first) < 100 {
		t.Errorf("only %d records", len(first))
	}
	for pool, q := range w.sim.Status().Quota {
		if q.Refused != 0 {
			t.Errorf("pool %s: %d calls were refused", pool, q.Refused)
		}
	}
}

func TestSingleFeedUsesItsOwnEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.run(t, "TAP_FEEDS=clicksPermitted")
	ctx := t.Context()
	if _, err := w.sink.WaitFor(ctx, func(s devosink.Snapshot) bool { return s.Events > 20 }); err != nil {
		t.Fatal(err)
	}
	for tag := range w.sink.Snapshot().Tags {
		if tag != feed.ClicksPermitted.Table() {
			t.Errorf("rows in %s", tag)
		}
	}
	st := w.sim.Status()
	if st.Quota[feed.PoolSIEM].Used != 0 || st.Quota[feed.PoolSIEMPermitted].Used == 0 {
		t.Errorf("quota %+v", st.Quota)
	}
}

// TestBytesSurvive puts awkward records in and compares what comes out.
func TestBytesSurvive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) { c.Rate = 0 })
	records := map[string]string{ // as served: as it must be at the sink
		`{"id":"a1","n":123456789012345678901,"f":1.0,"e":1e400,"z":-0,"d":0.10000000000000000555}`:   "",
		`{"id":"a2","b":1,"a":2,"b":3,"":null,"nested":{"z":[[],{}],"y":"\u00e9 é 日本 \ud83d\ude80"}}`: "",
		`{"id":"a3","s":"<>&\/\" \\ \b\f\n\r\t"}`:                                                     "",
		"{ \"id\" : \"a4\" ,\n\t\"x\" : [ 1 , 2 ] }":                                                  `{ "id" : "a4" ,"x" : [ 1 , 2 ] }`,
		"{\"id\":\"a5\",\"bad\":\"\xff\xfe\"}":                                                        "{\"id\":\"a5\",\"bad\":\"\uFFFD\uFFFD\"}",
		`{"id":"a6","long":"` + strings.Repeat("long ", 50_000) + `"}`:                                "",
		`{"GUID":"g7","recipient":["b@corp.example","a@corp.example"],"messageTime":"not a time"}`:    "",
	}
	at := w.sim.Now().Add(-10 * time.Minute)
	want := map[string]bool{}
	for served, expected := range records {
		if expected == "" {
			expected = served
		}
		want[expected] = true
		if err := w.sim.AddRecord(feed.MessagesBlocked, at, at, []byte(served)); err != nil {
			t.Fatal(err)
		}
	}
	w.run(t, "TAP_FEEDS=messagesBlocked")
	if _, err := w.sink.WaitFor(t.Context(), func(s devosink.Snapshot) bool { return s.Events >= int64(len(want)) }); err != nil {
		t.Fatal(err)
	}
	for _, e := range w.sink.Events("") {
		body, _, ok := strings.Cut(string(e.Message), `,"@devo_pulling_id":"`)
		if !ok || !want[body+"}"] {
			t.Errorf("row %.200q was not served like that", e.Message)
		}
		delete(want, body+"}")
	}
	if len(want) != 0 {
		t.Errorf("missing: %.300q", fmt.Sprint(want))
	}
}

// TestFaultsOfTheAPI plays every fault while a backfill runs.
func TestFaultsOfTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) { c.MalformedFraction = 0.02 })
	for _, f := range []tapsim.Fault{
		{Kind: tapsim.FaultStatus, Status: 503, Count: 1, Path: "/v2/siem/all"},
		{Kind: tapsim.FaultTruncated, Count: 1},
		{Kind: tapsim.FaultCutJSON, Count: 1},
		{Kind: tapsim.FaultHTML, Count: 1},
		{Kind: tapsim.FaultReset, Count: 1, Path: "/v2/siem/all"},
		{Kind: tapsim.FaultDrip, Delay: 10 * time.Millisecond, Count: 1},
	} {
		if err := w.sim.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	p := w.run(t)
	at := w.sim.Now()
	// Malformed records go to DEAD; everything else arrives.
	w.completeBut(t, at, func() int {
		return p.counter(t, "tapline_fetcher_records_total", "fate", "dead")
	})
	if left := w.sim.Faults(); len(left) != 0 {
		t.Errorf("faults that never hit: %v", left)
	}
}
