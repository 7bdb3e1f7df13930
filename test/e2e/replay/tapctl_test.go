package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapctl"
)

// dryRow is what --dry-run counts.
type dryRow struct {
	Table                            string
	Messages, Rows, Bytes, Delivered int
}

// dry adds up what --dry-run counts of all tables.
func (p *place) dry(args ...string) (sum dryRow) {
	p.tb.Helper()
	code, stdout, stderr := p.tapctl(append([]string{"replay", "--dry-run", "--output", "json"}, args...)...)
	if code != 0 {
		p.tb.Fatalf("%v: status %d: %s", args, code, stderr)
	}
	var tables []dryRow
	if err := json.Unmarshal([]byte(stdout), &tables); err != nil {
		p.tb.Fatalf("%v: %v: %s", args, err, stdout)
	}
	for _, t := range tables {
		sum.Messages, sum.Rows, sum.Bytes, sum.Delivered = sum.Messages+t.Messages, sum.Rows+t.Rows, sum.Bytes+t.Bytes, sum.Delivered+t.Delivered
	}
	return sum
}

// value adds up the series of a metric.
func value(tb testing.TB, g prometheus.Gatherer, name string) (sum float64) {
	tb.Helper()
	families, err := g.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// TestOrdersThatCannotBe: one clear message each, and status 2.
func TestOrdersThatCannotBe(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.enricher()
	s := p.shipper()
	p.publish(feed.ClicksBlocked, 3, 10)
	p.settled()
	s.stop()
	for args, want := range map[string]string{
		"":                                        "--from: say from when on, or which --window or --id",
		"--from yesterday":                        `--from="yesterday": want RFC 3339`,
		"--from 2199-01-01T00:00:00Z":             `--from="2199-01-01T00:00:00Z": lies in the future`,
		"--from 1h --to 2199-01-01T00:00:00Z":     `--to="2199-01-01T00:00:00Z": lies in the future`,
		"--from 1h --to 2h":                       `--from="1h": want a time before --to`,
		"--from 1h --to 1h":                       `--from="1h": want a time before --to`,
		"--from 1h --table some.table":            `--table="some.table": want one of mail.proofpoint.tapsiem_v2.clicksblocked`,
		"--from 1h --feed swimming":               `--feed="swimming": want one of clicksBlocked`,
		"--from 1h --sink kafka":                  `--sink="kafka": want one of devo, devo-http, file, stdout`,
		"--from 1h --sink file --reprocess":       `--sink="file": --reprocess makes rows for the stream`,
		"--from 1h --all --reprocess":             `--all="true": --reprocess makes all rows again`,
		"--window today":                          `--window="today": want the id of a job`,
		"--window " + minute("threats", 0):        `--window="main/threats/`,
		"--window " + minute("clicksBlocked", 99): "the ledger knows no rows of it",
		"--id x":              `--id="x": want the id`,
		"--from 1h --rate -1": "invalid argument",
		"now":                 `="now": want tapctl replay`,
		"show nothing":        `ID="nothing": there is no such replay`,
		"cancel NOT-AN-ID":    `ID="NOT-AN-ID": want the id of a replay`,
		"pause":               "want tapctl replay pause ID",
	} {
		code, stdout, stderr := p.tapctl(append([]string{"replay"}, strings.Fields(args)...)...)
		if code != 2 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 || stdout != "" {
			t.Errorf("replay %s: status %d, %q%q, want %q", args, code, stdout, stderr, want)
		}
	}
	if code, stdout, _ := p.tapctl("replay", "ls"); code != 0 || !strings.Contains(stdout, "no replays") {
		t.Errorf("something was ordered: status %d, %s", code, stdout)
	}
}

// TestWhatHasAgedOut is refused, and tapctl says from when on it can.
func TestWhatHasAgedOut(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.enricher()
	p.shipper()
	p.publish(feed.ClicksBlocked, 1, 10)
	p.settled() // the first window has the first place
	for i := range 4 {
		p.window(feed.ClicksBlocked, i+1, 10)
	}
	p.settled()
	for sequence := range uint64(2) { // as age would
		if err := p.Delete(t.Context(), bus.StreamEvents, sequence+1); err != nil {
			t.Fatal(err)
		}
	}
	usage, err := p.Usage(t.Context(), bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	oldest := usage.Oldest.UTC().Format("2006-01-02T15:04:05")
	for _, args := range [][]string{{"--from", "1h"}, {"--from", "2h", "--to", "1h"}, {"--window", minute(feed.ClicksBlocked, 0)}} {
		code, _, stderr := p.tapctl(append([]string{"replay", "--all"}, args...)...)
		if code != 2 || !strings.Contains(stderr, "EVENTS has everything from "+oldest) {
			t.Errorf("%v: status %d, %q", args, code, stderr)
		}
	}
	if v := p.ask("replay", "--from", usage.Oldest.Format("2006-01-02T15:04:05.999999999Z07:00"), "--all", "--sink", "file"); v.Rows != 30 {
		t.Errorf("%+v", v)
	}
	if v := p.ask("replay", "--window", minute(feed.ClicksBlocked, 4), "--all", "--sink", "file"); v.Rows != 10 {
		t.Errorf("%+v", v)
	}
}

// TestASinkThatIsNotConfigured: the shipper says what is missing.
func TestASinkThatIsNotConfigured(t *testing.T) {
	t.Parallel()
	p, _ := filled(t, 2, 5)
	p.shipper()
	for sink, missing := range map[string]string{"devo": "DEVO_CERT_FILE", "devo-http": "DEVO_HTTP_TOKEN"} {
		for _, detach := range []string{"--detach=true", "--detach=false"} {
			code, stdout, stderr := p.tapctl("replay", "--from", "1h", "--all", "--sink", sink, detach)
			if code != 2 || !strings.Contains(stderr, "is not configured in this shipper") || !strings.Contains(stderr, missing) || !strings.Contains(stdout, "refused") {
				t.Errorf("%s: status %d, %q, %q", sink, code, stdout, stderr)
			}
		}
	}
}

// TestInterrupted: the end of the command is not the end of the replay.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	p, first := filled(t, 10, 10)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out, errOut bytes.Buffer
	done := make(chan int, 1)
	go func() {
		done <- tapctl.Execute(ctx, tapctl.Process{
			Args: []string{"replay", "--from", "1h", "--all", "--sink", "file"}, Environ: []string{"NATS_URL=" + p.url}, Stdout: &out, Stderr: &errOut,
		})
	}()
	var all []view
	poll(t, "the order", func() bool {
		code, stdout, _ := p.tapctl("replay", "ls", "--output", "json")
		return code == 0 && errors.Join(json.Unmarshal([]byte(stdout), &all)) == nil && len(all) == 1
	})
	interrupt()
	if code := <-done; code != 0 || !strings.Contains(out.String(), "tapctl replay cancel "+all[0].ID) {
		t.Errorf("status %d, %q, %q", code, out.String(), errOut.String())
	}
	p.shipper()
	code, stdout, stderr := p.tapctl("replay", "wait", all[0].ID)
	if code != 0 || !strings.Contains(stdout, "10 of 10 messages, 100 rows sent") {
		t.Errorf("wait: status %d, %q, %q", code, stdout, stderr)
	}
	if got := rows(t, p.fileOf(all[0].ID)); len(got) != len(first) {
		t.Errorf("%d rows", len(got))
	}
}

// TestStatusListsReplays: those that are not over, and what holds them up.
func TestStatusListsReplays(t *testing.T) {
	t.Parallel()
	p, _ := filled(t, 10, 10)
	status := func() (all []view) {
		t.Helper()
		code, stdout, stderr := p.tapctl("status", "--exit-zero", "--output", "json")
		var s struct{ Replays []view }
		if err := json.Unmarshal([]byte(stdout), &s); code != 0 || err != nil || s.Replays == nil {
			t.Fatalf("status %d, %v, %q, %q", code, err, stdout, stderr)
		}
		return s.Replays
	}
	if all := status(); len(all) != 0 {
		t.Errorf("without an order: %+v", all)
	}
	var ordered view
	if _, stdout, stderr := p.tapctl("replay", "--from", "1h", "--all", "--sink", "file", "--detach", "--output", "json"); json.Unmarshal([]byte(stdout), &ordered) != nil {
		t.Fatalf("%q, %q", stdout, stderr)
	}
	p.ask("replay", "pause", ordered.ID)
	if all := status(); len(all) != 1 || all[0].ID != ordered.ID || all[0].State != "paused" || all[0].Messages != 10 {
		t.Errorf("of a paused order: %+v", all)
	}
	if _, stdout, _ := p.tapctl("status"); !strings.Contains(stdout, "REPLAY") || !strings.Contains(stdout, ordered.ID) || !strings.Contains(stdout, "0 of 10") {
		t.Errorf("the screen does not name it: %q", stdout)
	}
	p.shipper()
	p.ask("replay", "resume", ordered.ID)
	p.done(ordered.ID)
	if all := status(); len(all) != 0 {
		t.Errorf("when it is done: %+v", all)
	}
}
