package e2e_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/freeport"
	"github.com/tapline/tapline/pkg/overview"
	"github.com/tapline/tapline/services/tapctl"
	"github.com/tapline/tapline/services/tapsim"
)

// operator runs tapctl beside a pipeline.
type operator struct {
	t       *testing.T
	environ []string
}

func (o operator) run(args ...string) (code int, stdout string) {
	o.t.Helper()
	var out, problems bytes.Buffer
	code = tapctl.Execute(o.t.Context(), tapctl.Process{Args: args, Environ: o.environ, Stdout: &out, Stderr: &problems})
	if code == 1 || code == 2 {
		o.t.Fatalf("tapctl %v: status %d: %s", args, code, problems.String())
	}
	return code, out.String()
}

// read runs a command and decodes what it prints.
func (o operator) read(v any, args ...string) (code int) {
	o.t.Helper()
	code, stdout := o.run(append(args, "--output", "json")...)
	if err := json.Unmarshal([]byte(stdout), v); err != nil {
		o.t.Fatalf("tapctl %v: %v in %.200s", args, err, stdout)
	}
	return code
}

// try is read for a pipeline that may not be ready yet.
func (o operator) try(v any, args ...string) bool {
	o.t.Helper()
	var out, problems bytes.Buffer
	code := tapctl.Execute(o.t.Context(), tapctl.Process{Args: append(args, "--output", "json"), Environ: o.environ, Stdout: &out, Stderr: &problems})
	return code == 0 && json.Unmarshal(out.Bytes(), v) == nil
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	port, err := freeport.Find()
	if err != nil {
		tb.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// line is what the test looks at in a line of the ledger.
type line struct {
	Job       string `json:"job"`
	Feed      string `json:"feed"`
	State     string `json:"state"`
	Received  int64  `json:"received"`
	Published int64  `json:"published"`
	Dead      int64  `json:"dead"`
	Made      int64  `json:"made"`
	Confirmed int64  `json:"confirmed"`
}

func (o operator) days(w *world) (lines []line) {
	for day := w.sim.Epoch().Add(-time.Hour).Truncate(24 * time.Hour); day.Before(w.sim.Now()); day = day.Add(24 * time.Hour) {
		var some []line
		o.read(&some, "ledger", "--day", day.UTC().Format(time.DateOnly))
		lines = append(lines, some...)
	}
	return lines
}

// TestAccountOfEverything compares what tapctl says with what the sink has, then
// destroys the ledger and has it derived again.
func TestAccountOfEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *tapsim.Config) {
		c.Factor, c.Rate, c.Age, c.MalformedFraction = 1, 2, 40*time.Minute, 0.02
		c.Threats, c.LimitForensicsThreat = 4, 500
	})
	address := freeAddress(t)
	w.run(t, "NATS_LISTEN="+address, "TAP_START_TIME=40m", "TAP_POLL_INTERVAL=1h", "TAP_FORENSICS=true", "TAP_CAMPAIGN_FORENSICS=true", "QUOTA_FORENSICS_THREAT=500") // no live window meanwhile
	o := operator{t, append(w.environ(), "NATS_URL=nats://"+address)}
	var report overview.Report
	poll(t, "the backfill to be confirmed", func() bool {
		var out, problems bytes.Buffer
		code := tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"gaps"}, Environ: o.environ, Stdout: &out, Stderr: &problems})
		if code != 0 || !strings.Contains(out.String(), "nothing is missing") {
			return false
		}
		return o.read(&report, "verify") == 0 && report.Records > 1000 && report.Pending == 0
	})
	poll(t, "everything that was named to be asked for", func() bool {
		var s overview.Status
		o.read(&s, "status")
		busy := s.Expand.Waiting + uint64(s.Expand.InWork) + s.Sink.Waiting + uint64(s.Sink.InWork)
		for _, l := range s.Lanes {
			busy += l.Waiting + uint64(l.InWork) + uint64(l.Outstanding)
		}
		return busy == 0 && o.read(&report, "verify") == 0 && report.Pending == 0
	})
	before := o.days(w)
	confirmed, dead := make(map[feed.Feed]int64), int64(0)
	for _, l := range before {
		f := feed.Feed(l.Feed)
		if f.IsSIEM() {
			f = "SIEM"
		}
		confirmed[f] += l.Confirmed
		dead += l.Dead
	}
	if n := int64(len(w.delivered(t))); confirmed["SIEM"] != n || n < 1000 || dead == 0 {
		t.Errorf("the ledger counts %d confirmed and %d dead, the sink has %d", confirmed["SIEM"], dead, n)
	}
	// The rows of a campaign's report stand in both tables and in the account of campaigns.
	ofBoth := int64(len(w.rows[feed.Threats]) + len(w.rows[feed.Campaigns]))
	if have := confirmed[feed.Threats] + confirmed[feed.Campaigns]; have != ofBoth || flattened(w.rows[feed.Threats]) == 0 || flattened(w.rows[feed.Campaigns]) == 0 {
		t.Errorf("the ledger counts %d rows of threats and campaigns, the sink has %d", have, ofBoth)
	}
	for _, f := range []feed.Feed{feed.PeopleVAP, feed.PeopleTopClicks} {
		if n := int64(len(w.rows[f])); confirmed[f] != n || n == 0 {
			t.Errorf("the ledger counts %d rows of %s, the sink has %d", confirmed[f], f, n)
		}
	}
	traceOne(t, w, o)
	checkStatus(t, o)

	b, err := bus.Connect(t.Context(), bus.Config{URL: "nats://" + address}, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	destroy(t, b)
	if code := o.read(&report, "verify"); code != 3 || len(report.Gaps) == 0 || report.Gaps[0].State != overview.Missing {
		t.Errorf("a destroyed ledger: status %d, %+v", code, report)
	}
	o.run("ledger", "rebuild")
	if code := o.read(&report, "verify"); code != 0 || report.Pending != 0 {
		t.Errorf("a ledger derived again: status %d, %+v", code, report)
	}
	known := make(map[line]bool)
	for _, l := range o.days(w) {
		known[l] = true
	}
	for _, l := range before {
		if !known[l] {
			t.Errorf("not derived again: %+v", l)
		}
	}
}

func flattened(rows []row) (n int) {
	for _, r := range rows {
		if r.Found != nil {
			n++
		}
	}
	return n
}

func destroy(t *testing.T, b *bus.Bus) {
	t.Helper()
	bucket, err := b.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := bucket.Keys(t.Context(), "read.>", "made.>", "sent.>")
	if err != nil || len(keys) == 0 {
		t.Fatalf("%d pages, %v", len(keys), err)
	}
	for _, key := range keys {
		if err := bucket.Put(t.Context(), key, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func traceOne(t *testing.T, w *world, o operator) {
	t.Helper()
	var id string
	for name := range w.delivered(t) {
		if _, own, ok := strings.Cut(name, " id:"); ok {
			id = own
			break
		}
	}
	var found []overview.Trace
	o.read(&found, "trace", id)
	if len(found) != 1 || len(found[0].TaplineID) != 32 || len(found[0].Deliver) != 1 || found[0].Deliver[0].Confirmed.IsZero() {
		t.Errorf("the life of %s: %+v", id, found)
	}
	byName := found[0]
	if o.read(&found, "trace", byName.TaplineID); len(found) != 1 || found[0].Raw != byName.Raw {
		t.Errorf("the life of %s: %+v, and by @tapline_id %+v", id, byName, found)
	}
	if code := o.read(&found, "trace", "no-such-record"); code != 3 || len(found) != 0 {
		t.Errorf("the life of nothing: status %d, %+v", code, found)
	}
}

func checkStatus(t *testing.T, o operator) {
	t.Helper()
	var s overview.Status
	o.read(&s, "status")
	if len(s.Feeds) != 4 || len(s.Lanes) != 10 || len(s.Lists) != 7 || s.Expand.HitRate <= 0 || len(s.Pools) != 8 || len(s.Streams) != 4 || len(s.Programs) != 4 || len(s.Gaps) != 0 {
		t.Errorf("status: %+v", s)
	}
	for _, a := range s.Alarms {
		if a.Name != string(alarm.Dead) { // some records of this world are malformed
			t.Errorf("alarm: %+v", a)
		}
	}
	for _, f := range s.Feeds {
		if f.Pending != 0 || !f.Confirmed.Equal(f.Read) {
			t.Errorf("feed: %+v", f)
		}
	}
	if _, text := o.run("status"); !strings.Contains(text, "messagesDelivered") || !strings.HasPrefix(text, "main: ") {
		t.Errorf("status says %s", text)
	}
	var findings []struct{ OK bool }
	if code := o.read(&findings, "check"); code != 0 || len(findings) != 3 {
		t.Errorf("check: status %d, %+v", code, findings)
	}
	broken := operator{o.t, append(o.environ, "TAP_SECRET=wrong")}
	if code := broken.read(&findings, "check"); code != 3 || findings[2].OK {
		t.Errorf("check with a wrong secret: status %d, %+v", code, findings)
	}
}
