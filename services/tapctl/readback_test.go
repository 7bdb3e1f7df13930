package tapctl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/devoquery"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/devosink/devocert"
	"github.com/tapline/tapline/services/shipper"
	"github.com/tapline/tapline/services/tapctl"
	"github.com/tapline/tapline/services/tapctl/internal/readback"
)

const (
	patience = 3 * time.Minute
	table    = "mail.proofpoint.tapsiem_v2.clicksblocked"
	devToken = "f0e1d2c3b4a5968778695a4b3c2d1e0f"
)

// delivery is a bus, a shipper and a Devo that may be queried.
type delivery struct {
	console
	bus  *bus.Bus
	sink *devosink.Sink
	env  []string
	sent int    // batches
	stop func() // ends the shipper
}

func newDelivery(t *testing.T) *delivery {
	t.Helper()
	d := &delivery{console: newConsole(t)}
	d.must("setup")
	d.bus = bustest.Connect(t, d.Server)
	set, err := devocert.New(devocert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	files, err := set.Write(filepath.Join(t.TempDir(), "certs"))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := set.Server()
	if err != nil {
		t.Fatal(err)
	}
	if d.sink, err = devosink.New(devosink.Config{TLS: conf}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.sink.Close() })
	api := httptest.NewServer(d.sink.Query(devosink.QueryConfig{Token: devToken, Key: "key", Secret: "secret"}))
	t.Cleanup(api.Close)
	d.env = []string{
		"NATS_URL=" + d.URL(), "TENANT=main", "DEVO_QUERY_URL=" + api.URL, "DEVO_QUERY_INSECURE=true", "DEVO_QUERY_SETTLE=0s", "DEVO_QUERY_TOKEN=" + devToken,
	}
	d.ship(t, files)
	return d
}

func (d *delivery) ship(t *testing.T, files devocert.Files) {
	t.Helper()
	var c shipper.Config
	if err := config.Load(&c, []string{
		"DEVO_ADDRESS=" + d.sink.Addr(), "DEVO_CHAIN_FILE=" + files.Chain, "DEVO_CERT_FILE=" + files.ClientCert, "DEVO_KEY_FILE=" + files.ClientKey,
		"EVENT_MAX_BYTES=1024",
	}); err != nil {
		t.Fatal(err)
	}
	s, err := shipper.New(c, shipper.Deps{Bus: d.bus, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Health: telemetry.NewHealth()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(d.stop)
}

// publish stores a batch of rows of a window of its own and waits until it is confirmed.
func (d *delivery) publish(rows ...string) {
	d.t.Helper()
	sequence := d.store(rows...)
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := d.bus.Backlog(ctx, bus.ConsumerShipper)
		if err != nil {
			d.t.Fatal(err)
		}
		if left.Done >= sequence { // a consumer hears of a new message a moment later, so nothing may seem to wait
			return
		}
		<-tick.C
	}
}

// store stores a batch of rows of a window of its own.
func (d *delivery) store(rows ...string) (sequence uint64) {
	d.t.Helper()
	start := time.Now().UTC().Truncate(time.Hour).Add(time.Duration(d.sent-60) * time.Minute)
	id := job.ID{Tenant: "main", Set: feed.Set{feed.ClicksBlocked}, Window: window.New(start, start.Add(time.Minute)), Lane: taplinev1.Lane_LANE_LIVE}
	d.sent++
	e := batch.Events{Tenant: "main", Table: table, Feed: string(feed.ClicksBlocked), JobID: id.String(), SourceSequence: uint64(d.sent)}
	for _, row := range rows {
		e.Events = append(e.Events, batch.Event{ID: []byte("x"), PullMS: time.Now().UnixMilli(), JSON: []byte(row)})
	}
	meta := bus.EventMeta{Tenant: "main", Table: table, MsgID: fmt.Sprint(d.sent)}
	sequence, err := d.bus.PublishEvents(d.t.Context(), batch.AppendEvents(nil, &e), meta)
	if err != nil {
		d.t.Fatal(err)
	}
	return sequence
}

func name(i int) string { return fmt.Sprintf("%032x", i) }

func numbered(first, n int) (rows []string) {
	for i := range n {
		rows = append(rows, fmt.Sprintf(`{"n":%d,"@tapline_id":"%s"}`, first+i, name(first+i)))
	}
	return rows
}

// compared is what verify --devo prints as JSON.
type compared struct {
	Tables []struct {
		Confirmed, Found, Missing, Doubled, Nameless int64
	}
	Pending          int64
	Compared         int64
	Missing, Doubled []struct {
		ID    string `json:"tapline_id"`
		Times int
	}
	Windows []struct{ Missing, Doubled int64 }
	Repair  []string
}

func (d *delivery) compare(wantCode int, extra ...string) (c compared) {
	d.t.Helper()
	code, out, errs := d.verify("json", extra...)
	if code != wantCode {
		d.t.Fatalf("status %d, want %d: %s%s", code, wantCode, out, errs)
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
	return c
}

func (d *delivery) verify(form string, extra ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	args := append([]string{"verify", "--devo", "--output", form}, extra...)
	code = tapctl.Execute(d.t.Context(), tapctl.Process{Args: args, Environ: d.env, Stdout: &out, Stderr: &errs})
	return code, out.String(), errs.String()
}

// inSlices compares in many slices, with the same result.
func (d *delivery) inSlices(missing int64) {
	d.t.Helper()
	var c struct{ Query devoquery.Config }
	if err := config.Load(&c, d.env); err != nil {
		d.t.Fatal(err)
	}
	client, err := devoquery.New(c.Query)
	if err != nil {
		d.t.Fatal(err)
	}
	defer client.Close()
	pages, err := d.bus.Bucket(d.t.Context(), bus.BucketLedger)
	if err != nil {
		d.t.Fatal(err)
	}
	r, err := readback.Comparison{
		Bus: d.bus, Ledger: ledger.New(pages), Devo: client, Tenant: "main", From: time.Now().Add(-time.Hour), To: time.Now(), Now: time.Now, MaxRows: 1,
	}.Run(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	if len(r.Tables) != 1 || r.Tables[0].Confirmed != 55 || r.Tables[0].Missing != missing || len(r.Missing) != int(missing) {
		d.t.Errorf("in slices: %+v", r)
	}
}

// TestVerifyDevo: rows that Devo acknowledged and did not store are found, by name, and so are
// doubled ones; rows in DEAD and rows without a name are not taken for missing.
func TestVerifyDevo(t *testing.T) {
	t.Parallel()
	d := newDelivery(t)
	d.publish(append(numbered(0, 50), `{"long":"`+strings.Repeat("x", 2000)+`","@tapline_id":"`+name(999)+`"}`, `{"nameless":true}`)...)
	got := d.compare(0)
	if len(got.Tables) != 1 || got.Tables[0].Confirmed != 50 || got.Tables[0].Found != 50 || got.Tables[0].Nameless != 1 || len(got.Repair) != 0 {
		t.Errorf("all is well: %+v", got)
	}

	if err := d.sink.Inject(devosink.Fault{Kind: devosink.FaultDiscard}); err != nil {
		t.Fatal(err)
	}
	d.publish(numbered(100, 3)...)
	if err := d.sink.Clear(); err != nil {
		t.Fatal(err)
	}
	if err := d.sink.Inject(devosink.Fault{Kind: devosink.FaultTwice}); err != nil {
		t.Fatal(err)
	}
	d.publish(numbered(200, 2)...)
	if err := d.sink.Clear(); err != nil {
		t.Fatal(err)
	}
	// An answer that breaks off is asked for again; a busy API, too.
	for _, f := range []devosink.Fault{{Kind: devosink.FaultQueryCut, Bytes: 7, Count: 1}, {Kind: devosink.FaultQueryStatus, Bytes: 429, Delay: time.Second, Count: 1}} {
		if err := d.sink.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	got = d.compare(3)
	table := got.Tables[0]
	if table.Confirmed != 55 || table.Found != 52 || table.Missing != 3 || table.Doubled != 2 || len(got.Windows) != 2 || got.Windows[0].Missing != 3 || got.Windows[1].Doubled != 2 {
		t.Errorf("lost and doubled: %+v", got)
	}
	for i, row := range got.Missing {
		if row.ID != name(100+i) || row.Times != 0 {
			t.Errorf("missing %+v", row)
		}
	}
	if len(got.Missing) != 3 || len(got.Doubled) != 2 || got.Doubled[0].ID != name(200) || got.Doubled[0].Times != 2 {
		t.Errorf("missing %+v, doubled %+v", got.Missing, got.Doubled)
	}
	if len(got.Repair) != 1 || !strings.HasPrefix(got.Repair[0], "tapctl replay --all ") || !strings.Contains(got.Repair[0], name(102)) {
		t.Errorf("repair %q", got.Repair)
	}
	d.inSlices(3)
	code, text, _ := d.verify("text")
	if code != 3 || !strings.Contains(text, "missing: "+name(101)) || !strings.Contains(text, got.Repair[0]) {
		t.Errorf("status %d: %s", code, text)
	}
	if got = d.compare(3, "--to", "1h"); len(got.Tables) != 0 || got.Compared != 0 {
		t.Errorf("an hour ago, when there was nothing to compare: %+v", got)
	}
	if code, text, _ := d.verify("text", "--to", "1h"); code != 3 || !strings.Contains(text, "nothing was compared") {
		t.Errorf("an hour ago: status %d: %s", code, text)
	}
	d.env = append(d.env, "DEVO_QUERY_SETTLE=1h") // too early to judge
	if got = d.compare(3, "--to", time.Now().UTC().Format(time.RFC3339)); got.Pending != 57 {
		t.Errorf("too early: %+v", got)
	}
}

// TestVerifyDevoAfterHistoryWasGivenUp compares what EVENTS still has, says so, and prints a repair
// that is accepted.
func TestVerifyDevoAfterHistoryWasGivenUp(t *testing.T) {
	t.Parallel()
	d := newDelivery(t)
	d.publish(numbered(0, 5)...)
	if err := d.sink.Inject(devosink.Fault{Kind: devosink.FaultDiscard}); err != nil {
		t.Fatal(err)
	}
	d.publish(numbered(100, 20)...) // too many to send again by name
	if err := d.sink.Clear(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.bus.GiveUp(t.Context(), bus.StreamEvents, 2); err != nil {
		t.Fatal(err)
	}
	got := d.compare(3)
	if got.Compared != 20 || len(got.Missing) != 20 || len(got.Repair) != 1 || !strings.Contains(got.Repair[0], " --from ") {
		t.Fatalf("after the first five were given up: %+v", got)
	}
	if code, text, _ := d.verify("text"); code != 3 || !strings.Contains(text, "not compared: rows stored from ") {
		t.Errorf("status %d: %s", code, text)
	}
	var out, errs bytes.Buffer
	args := append(strings.Fields(got.Repair[0])[1:], "--detach")
	if code := tapctl.Execute(t.Context(), tapctl.Process{Args: args, Environ: d.env, Stdout: &out, Stderr: &errs}); code != 0 {
		t.Fatalf("%s: status %d: %s", got.Repair[0], code, errs.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if code, _, _ := d.verify("json"); code == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("the repair mends nothing")
		case <-tick.C:
		}
	}
}

// TestVerifyDevoLeavesAloneWhatIsOnItsWay: rows that the sink has not confirmed cannot be missing,
// whatever else is.
func TestVerifyDevoLeavesAloneWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	d := newDelivery(t)
	if err := d.sink.Inject(devosink.Fault{Kind: devosink.FaultRefuse}); err != nil {
		t.Fatal(err)
	}
	d.store(numbered(0, 7)...)
	if got := d.compare(3); got.Pending != 7 || got.Compared != 0 || len(got.Missing)+len(got.Tables) != 0 {
		t.Errorf("nothing is confirmed: %+v", got)
	}
	if err := d.sink.Clear(); err != nil {
		t.Fatal(err)
	}
	d.publish(numbered(100, 5)...)
	if got := d.compare(0); got.Pending != 0 || got.Compared != 12 || len(got.Missing) != 0 {
		t.Errorf("all is confirmed: %+v", got)
	}
	d.stop()
	d.store(numbered(200, 3)...)
	if got := d.compare(0); got.Pending != 3 || got.Compared != 12 || len(got.Missing) != 0 {
		t.Errorf("some are not confirmed: %+v", got)
	}
}

// TestVerifyDevoOfARowThatIsCut: a row of which Devo stored only a part is missing, though that
// part has its name.
func TestVerifyDevoOfARowThatIsCut(t *testing.T) {
	t.Parallel()
	d := newDelivery(t)
	if err := d.sink.Inject(devosink.Fault{Kind: devosink.FaultCut, Bytes: 500}); err != nil {
		t.Fatal(err)
	}
	d.publish(`{"@tapline_id":"`+name(1)+`","rest":"`+strings.Repeat("x", 500)+`"}`, `{"@tapline_id":"`+name(2)+`"}`)
	if events := d.sink.Events(table); len(events) != 2 || !strings.Contains(string(events[0].Message), name(1)) {
		t.Fatalf("the sink has %+v", events)
	}
	if got := d.compare(3); len(got.Missing) != 1 || got.Missing[0].ID != name(1) {
		t.Errorf("missing %+v", got.Missing)
	}
}

func TestVerifyDevoRefusals(t *testing.T) {
	t.Parallel()
	d := newDelivery(t)
	good := d.env
	for want, env := range map[string][]string{
		"DEVO_QUERY_TOKEN": append(good[:5:5], "DEVO_QUERY_TOKEN=wrong0token"),
		"DEVO_QUERY_KEY":   append(good[:5:5], "DEVO_QUERY_KEY=key", "DEVO_QUERY_SECRET=wrong0token"),
	} {
		d.publish(numbered(d.sent*100, 1)...)
		d.env = env
		if code, _, errs := d.verify("text"); code != 2 || !strings.Contains(errs, want) || strings.Contains(errs, "wrong0token") {
			t.Errorf("%s: status %d: %s", want, code, errs)
		}
	}
	d.env = append(good[:5:5], "DEVO_QUERY_KEY=key", "DEVO_QUERY_SECRET=secret")
	d.compare(0)
	for token, want := range map[string]string{devToken: "ok      Devo queries", "wrong0token": "FAILED  Devo queries"} {
		var out bytes.Buffer
		environ := append(good[:5:5], "DEVO_QUERY_TOKEN="+token, "SINK=stdout", "TAP_PRINCIPAL=p", "TAP_SECRET=s", "TAP_URL=http://127.0.0.1:9", "TAP_INSECURE_HTTP=true")
		tapctl.Execute(t.Context(), tapctl.Process{Args: []string{"check"}, Environ: environ, Stdout: &out, Stderr: &out})
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "wrong0token") {
			t.Errorf("check says %s, want %s", &out, want)
		}
	}
	for _, flags := range [][]string{{"--from", "soon"}, {"--from", "1h", "--to", "2h"}, {"--to", "2999-01-01T00:00:00Z"}} {
		if code, _, errs := d.verify("text", flags...); code != 2 || !strings.Contains(errs, flags[0]) {
			t.Errorf("%v: status %d: %s", flags, code, errs)
		}
	}
	if code, _, errs := d.run("verify", "--from", "1h"); code != 2 || !strings.Contains(errs, "--devo") {
		t.Errorf("status %d: %s", code, errs)
	}
}
