package tapctl_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/enricher"
)

// enrich runs an enricher until the test ends.
func (d *delivery) enrich() {
	d.t.Helper()
	var c enricher.Config
	if err := config.Load(&c, nil); err != nil {
		d.t.Fatal(err)
	}
	e := enricher.New(c, enricher.Deps{Bus: d.bus, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	ctx, stop := context.WithCancel(context.WithoutCancel(d.t.Context()))
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	d.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	})
}

// row is the account of the one job of a page.
func (d *delivery) row(w window.Window) (row ledger.Row) {
	d.t.Helper()
	pages, err := d.bus.Bucket(d.t.Context(), bus.BucketLedger)
	if err != nil {
		d.t.Fatal(err)
	}
	report, err := ledger.New(pages).Load(d.t.Context(), "main", w.Start, w.End)
	if err != nil {
		d.t.Fatal(err)
	}
	if v := report.Violations(); len(v) > 0 || len(report.Rows) > 1 {
		d.t.Fatalf("%v, %+v", v, report.Rows)
	}
	if covered := report.Covered(feed.ClicksBlocked, taplinev1.WindowState_WINDOW_STATE_FETCHED); len(w.Missing(covered)) != 1 {
		d.t.Fatalf("a record that is sent on makes its window read: %v", covered)
	}
	if len(report.Rows) == 1 {
		row = report.Rows[0]
	}
	return row
}

// TestARecordWithAControlCharacterIsSentOn, escaped and accounted for, once however often that is
// asked for; the window that it came with is not read by that.
func TestARecordWithAControlCharacterIsSentOn(t *testing.T) {
	t.Parallel()
	d := newDelivery(t)
	d.enrich()
	start := time.Now().UTC().Truncate(time.Hour).Add(-2 * time.Hour)
	w := window.New(start, start.Add(time.Minute))
	source := job.ID{Tenant: "main", Set: feed.Set{feed.ClicksBlocked, feed.ClicksPermitted}, Window: w, Lane: taplinev1.Lane_LANE_LIVE}
	payload := "{\"id\":\"control\",\"clickTime\":\"" + start.Format(time.RFC3339) + "\",\"subject\":\"two\nlines\x01\"}"
	deadLetter := func(name string) {
		t.Helper()
		letter := &taplinev1.DeadLetter{
			Tenant: "main", Stage: "fetcher", Feed: string(feed.ClicksBlocked), Reason: "a raw control character", Payload: []byte(payload),
			Source: source.String(), DiedAt: timestamppb.New(start.Add(2 * time.Minute)),
		}
		if err := d.bus.PublishDead(t.Context(), letter, name); err != nil {
			t.Fatal(err)
		}
	}
	deadLetter("first")
	if out := d.must("dead"); !strings.Contains(out, "(may be retried)") {
		t.Errorf("dead says %s", out)
	}
	if out := d.must("dead", "retry", "1"); !strings.Contains(out, "sent on") {
		t.Errorf("retry says %s", out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for d.row(w).Confirmed == 0 {
		select {
		case <-ctx.Done():
			t.Fatalf("not delivered: %+v", d.row(w))
		case <-tick.C:
		}
	}
	deadLetter("second") // as after a kill before the letter was taken away
	d.must("dead", "retry", "2")
	if out := d.must("dead"); out != "" {
		t.Errorf("dead says %s", out)
	}
	if r := d.row(w); r.Received != 1 || r.Published != 1 || r.Confirmed != 1 || r.Pending() != 0 || r.Feed != feed.ClicksBlocked {
		t.Errorf("account %+v", r)
	}
	usage, err := d.bus.Usage(t.Context(), bus.StreamRaw)
	if err != nil || usage.Messages != 2 {
		t.Errorf("%d messages in RAW, want a batch and its marker: %v", usage.Messages, err)
	}
	rows := d.sink.Events(table)
	if len(rows) != 1 {
		t.Fatalf("%d rows at the sink", len(rows))
	}
	var row map[string]string
	if err := json.Unmarshal(rows[0].Message, &row); err != nil || row["subject"] != "two\nlines\x01" || row["@devo_pulling_id"] == "" || len(row["@tapline_id"]) != 32 {
		t.Errorf("row %s: %v", rows[0].Message, err)
	}
}

// TestPiecesAreOne: a record that is too large for one letter is listed, shown and dropped as one,
// whatever lies between.
func TestPiecesAreOne(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("setup")
	b := bustest.Connect(t, c.Server)
	var follows []byte
	for i, part := range []string{"aaa", "between", "aaa", "bbb"} { // two of them look alike
		letter := &taplinev1.DeadLetter{Tenant: "main", Stage: "fetcher", Feed: "clicksBlocked", Reason: "too long", Payload: []byte(part), Source: "x"}
		if part != "between" {
			letter.Part, letter.More, letter.Follows = []uint32{1, 0, 2, 3}[i], i < 3, follows
			sum := sha256.Sum256(slices.Concat(follows, letter.GetPayload()))
			follows = sum[:]
		}
		if err := b.PublishDead(t.Context(), letter, part+string(rune('0'+i))); err != nil {
			t.Fatal(err)
		}
	}
	out := c.must("dead")
	if strings.Count(out, "too long") != 2 || !strings.Contains(out, "1  ") || !strings.Contains(out, "(9 bytes in 3 letters)") {
		t.Errorf("dead says %s", out)
	}
	var shown struct{ Message struct{ Payload []byte } }
	if err := json.Unmarshal([]byte(c.must("dead", "show", "1")), &shown); err != nil || string(shown.Message.Payload) != "aaaaaabbb" {
		t.Errorf("%s, %v", shown.Message.Payload, err)
	}
	if code, _, stderr := c.run("dead", "retry", "1"); code != 2 || !strings.Contains(stderr, "too long") {
		t.Errorf("retry: status %d: %s", code, stderr)
	}
	c.must("dead", "drop", "1")
	if out := c.must("dead"); strings.Count(out, "too long") != 1 || !strings.Contains(out, "between") {
		t.Errorf("after drop: %s", out)
	}
}

// TestALetterOfAnotherStage: a stage can write what it likes into a letter, on its own subjects
// only. What a letter says of its stage has to fit, before tapctl acts on it with rights of its
// own.
func TestALetterOfAnotherStage(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.must("setup")
	letter := &taplinev1.DeadLetter{
		Tenant: "main", Stage: "fetcher", Feed: "clicksBlocked", Reason: "broken", Source: "x",
		Payload: []byte("{\"id\":\"a\",\"subject\":\"two\nlines\"}"),
	}
	data, err := proto.Marshal(letter)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Publish(t, c.Server, "dead.main.shipper.clicksBlocked", data)
	if code, _, stderr := c.run("dead", "retry", "1"); code != 2 || !strings.Contains(stderr, "dead.main.shipper.clicksBlocked") {
		t.Errorf("status %d: %s", code, stderr)
	}
}
