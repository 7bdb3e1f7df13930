package replay_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
)

// TestReprocess: rows are made again, marked, beside those that were made first.
func TestReprocess(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	e := p.enricher()
	p.shipper()
	p.publish(feed.ClicksBlocked, 20, 10)
	p.publish(feed.MessagesBlocked, 5, 10)
	p.settled()
	first := count(rows(t, p.live()))
	if dry := p.dry("--from", "1h", "--reprocess", "--feed", "clicksBlocked"); dry.Rows != 200 || dry.Messages != 20 {
		t.Errorf("dry: %+v", dry)
	}
	v := p.ask("replay", "--from", "1h", "--reprocess", "--feed", "clicksBlocked", "--rate", "100", "--detach")
	p.await(v.ID, "to begin", func(v view) bool { return v.Rows > 0 })
	e.stop() // another one continues
	p.enricher()
	if v = p.done(v.ID); v.Rows != 200 || v.Settled != 20 || v.Messages != 20 {
		t.Errorf("%+v", v)
	}
	p.settled()
	second := map[string]int{}
	for _, r := range rows(t, p.live()) {
		if r.Reprocess == "" {
			continue
		}
		if r.Reprocess != v.ID || r.Generation != 1 || r.Replay != "" || first[r.TaplineID] != 1 || !strings.HasPrefix(r.ID, "clicksBlocked-") {
			t.Errorf("row %+v", r)
		}
		second[r.TaplineID]++
	}
	if len(second) != 200 {
		t.Errorf("%d rows made again", len(second))
	}
	for _, r := range p.account().Rows {
		want := int64(10)
		if r.Feed != feed.ClicksBlocked {
			want = 0
		}
		if r.Published != 10 || r.Events != 10 || r.Confirmed != 10 || r.Remade != want || r.Redelivered != want || r.Pending() != 0 {
			t.Errorf("%s: %+v", r.Job, r)
		}
	}
	p.tells(v.ID)
	// A second order makes them once more, within the time in which the bus drops repetitions.
	again := p.ask("replay", "--from", "1h", "--reprocess", "--window", minute(feed.ClicksBlocked, 3))
	if again.Rows != 10 || again.Messages != 1 {
		t.Errorf("%+v", again)
	}
	p.settled()
	if n := len(rows(t, p.live())); n != 250+200+10 {
		t.Errorf("%d rows", n)
	}
	for _, id := range []string{v.ID, again.ID} {
		p.ask("replay", "show", id)
		if _, err := p.Backlog(t.Context(), bus.ReprocessConsumer(id)); !errors.Is(err, bus.ErrNotSetUp) {
			t.Errorf("the consumer of %s is still there: %v", id, err)
		}
	}
	// What was made again can be replayed like everything else, and the streams alone tell the
	// same.
	whole := p.ask("replay", "--from", "1h", "--all", "--sink", "file", "--table", feed.ClicksBlocked.Table())
	if whole.Rows != 200+200+10 {
		t.Errorf("%+v", whole)
	}
	if code, _, stderr := p.tapctl("ledger", "rebuild"); code != 0 {
		t.Fatal(stderr)
	}
	remade := int64(0)
	for _, r := range p.account().Rows {
		remade += r.Remade
		if r.Confirmed != 10 || r.Remade != r.Redelivered {
			t.Errorf("after rebuild: %s: %+v", r.Job, r)
		}
	}
	if remade != 210 {
		t.Errorf("after rebuild: %d rows made again", remade)
	}
}

// tells checks what verify, trace and ledger say about rows that were made again.
func (p *place) tells(id string) {
	p.tb.Helper()
	_, stdout, stderr := p.tapctl("verify", "--output", "json") // time without windows is missing here: only the sums are looked at
	var report struct {
		Records, Rows, Confirmed, Pending int
		Remade                            struct{ Rows, Confirmed int }
		Violations                        []any
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		p.tb.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	if report.Records != 250 || report.Rows != 250 || report.Confirmed != 250 || report.Pending != 0 || report.Remade.Rows != 200 || report.Remade.Confirmed != 200 || len(report.Violations) != 0 {
		p.tb.Errorf("verify: %+v", report)
	}
	code, stdout, _ := p.tapctl("trace", "clicksBlocked-3-4")
	if text := strings.Join(strings.Fields(stdout), " "); code != 0 || !strings.Contains(text, "made again by replay "+id) || !strings.Contains(text, "confirmed again by replay "+id) {
		p.tb.Errorf("trace: status %d\n%s", code, stdout)
	}
	code, stdout, _ = p.tapctl("ledger", "--day", hour.Format("2006-01-02"), "--feed", "clicksBlocked")
	if code != 0 || !strings.Contains(stdout, "AGAIN") {
		p.tb.Errorf("ledger: status %d\n%s", code, stdout)
	}
}
