package replay_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/services/devosink"
)

// account loads the ledger, which must add up.
func (p *place) account() *ledger.Report {
	p.tb.Helper()
	report, err := p.book.Load(context.WithoutCancel(p.tb.Context()), "main", hour, hour.Add(24*time.Hour))
	if err != nil {
		p.tb.Fatal(err)
	}
	if len(report.Violations()) > 0 {
		p.tb.Errorf("the ledger check failed: %v", report.Violations())
	}
	return report
}

// filled is a place in which minutes of clicks are delivered, so many rows each.
func filled(t *testing.T, minutes, records int) (*place, map[string]int) {
	t.Helper()
	p := newPlace(t)
	p.enricher()
	s := p.shipper()
	p.publish(feed.ClicksBlocked, minutes, records)
	p.settled()
	s.stop()
	first := count(rows(t, p.live()))
	if len(first) != minutes*records {
		t.Fatalf("%d rows delivered", len(first))
	}
	return p, first
}

// TestAnHourToAFile: the rows of an hour, sent to another sink, are those of the first delivery.
func TestAnHourToAFile(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.enricher()
	p.shipper()
	p.publish(feed.ClicksBlocked, 60, 20)
	p.publish(feed.MessagesBlocked, 60, 10)
	p.settled()
	first := rows(t, p.live())
	if len(first) != 60*30 {
		t.Fatalf("%d rows at first", len(first))
	}
	v := p.ask("replay", "--from", "1h", "--sink", "file", "--all")
	if v.State != "done" || v.Rows != len(first) || v.Messages != 120 || v.Settled != 120 || v.Delivered != 0 {
		t.Errorf("%+v", v)
	}
	again := rows(t, p.fileOf(v.ID))
	if !maps.Equal(count(again), count(first)) {
		t.Errorf("%d rows again, which are not the %d of the first time", len(again), len(first))
	}
	for _, r := range again {
		if r.Replay != v.ID {
			t.Fatalf("row %+v is not marked as of %s", r, v.ID)
		}
	}
	if now := rows(t, p.live()); len(now) != len(first) {
		t.Errorf("%d rows in the live file", len(now))
	}
	for _, r := range p.account().Rows {
		if r.Resent != r.Published || r.Confirmed != r.Published || r.Pending() != 0 {
			t.Errorf("%s: published %d, confirmed %d, resent %d", r.Job, r.Published, r.Confirmed, r.Resent)
		}
	}
	if _, err := p.Backlog(t.Context(), bus.ReplayConsumer(v.ID)); !errors.Is(err, bus.ErrNotSetUp) {
		t.Errorf("its consumer is still there: %v", err)
	}
}

// TestCancelWhileItRuns: the shipper lets go, and works on the next order.
func TestCancelWhileItRuns(t *testing.T) {
	t.Parallel()
	p, first := filled(t, 30, 20)
	s := p.shipper()
	v := p.ask("replay", "--from", "1h", "--sink", "file", "--all", "--rate", slow, "--detach")
	p.await(v.ID, "to begin", func(v view) bool { return v.Rows > 0 })
	p.ask("replay", "cancel", v.ID)
	poll(t, "the shipper to let go", func() bool { return value(t, s.metrics, "tapline_replay_active") == 0 })
	if n := len(rows(t, p.fileOf(v.ID))); n == 0 || n >= len(first) {
		t.Errorf("%d rows of a cancelled replay", n)
	}
	if next := p.ask("replay", "--from", "1h", "--sink", "file", "--all"); next.State != "done" || next.Rows != len(first) {
		t.Errorf("%+v", next)
	}
}

// TestLiveRowsGoOn while a replay is held back by its rate.
func TestLiveRowsGoOn(t *testing.T) {
	t.Parallel()
	p, first := filled(t, 60, 50)
	p.shipper()
	v := p.ask("replay", "--from", "1h", "--all", "--rate", slow, "--detach")
	p.await(v.ID, "to begin", func(v view) bool { return v.Rows > 0 })
	p.publish(feed.MessagesBlocked, 60, 10)
	p.settled()
	fresh := 0
	for _, r := range rows(t, p.live()) {
		if r.Replay == "" {
			fresh++
		}
	}
	if fresh != len(first)+600 {
		t.Errorf("%d rows that are not the replay's, want %d", fresh, len(first)+600)
	}
	now := p.ask("replay", "show", v.ID)
	if now.State != "running" || now.Settled >= 60 {
		t.Fatalf("it ended in spite of its rate: %+v", now)
	}
	p.ask("replay", "cancel", v.ID)
}

// TestOnlyWhatIsNotDelivered is sent if not all is asked for, and then counts as delivered.
func TestOnlyWhatIsNotDelivered(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.enricher()
	p.publish(feed.ClicksBlocked, 20, 10)
	p.publish(feed.MessagesBlocked, 5, 10)
	p.lose(10)
	s := p.shipper()
	p.settled()
	delivered := count(rows(t, p.live()))
	if len(delivered) != 150 || p.pending() != 100 {
		t.Fatalf("%d delivered, %d pending", len(delivered), p.pending())
	}
	dry := p.dry("--from", "1h")
	if dry.Rows != 100 || dry.Delivered != 150 || dry.Messages != 10 {
		t.Errorf("dry: %+v", dry)
	}
	v := p.ask("replay", "--from", "1h")
	if v.Rows != 100 || v.Delivered != 150 || v.Settled != 25 {
		t.Errorf("%+v", v)
	}
	s.stop()
	all := rows(t, p.live())
	if got := count(all); len(got) != 250 || len(all) != 250 {
		t.Errorf("%d rows, %d different", len(all), len(got))
	}
	for _, r := range all {
		if lost := delivered[r.TaplineID] == 0; lost != (r.Replay == v.ID) {
			t.Errorf("row %+v, lost at first: %t", r, lost)
		}
	}
	if p.pending() != 0 {
		t.Errorf("%d pending", p.pending())
	}
	for _, r := range p.account().Rows {
		if r.Confirmed != r.Published || r.Resent != 0 {
			t.Errorf("%s: published %d, confirmed %d, resent %d", r.Job, r.Published, r.Confirmed, r.Resent)
		}
	}
	p.shipper()
	if again := p.ask("replay", "--from", "1h"); again.Rows != 0 || again.Delivered != 250 {
		t.Errorf("a second replay: %+v", again)
	}
	if whole := p.ask("replay", "--from", "1h", "--all"); whole.Rows != 250 {
		t.Errorf("all: %+v", whole)
	}
	for _, r := range p.account().Rows {
		if r.Confirmed != r.Published || r.Resent != r.Published {
			t.Errorf("%s: published %d, confirmed %d, resent %d", r.Job, r.Published, r.Confirmed, r.Resent)
		}
	}
}

// TestWhatIsOnItsWayIsLeftOut: rows that wait for the sink are not sent twice when it is back.
func TestWhatIsOnItsWayIsLeftOut(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	sink, environ := devo(t)
	if err := sink.Inject(devosink.Fault{Kind: devosink.FaultRefuse}); err != nil {
		t.Fatal(err)
	}
	p.enricher()
	p.publish(feed.ClicksBlocked, 20, 10)
	poll(t, "rows in the stream", func() bool {
		left, err := p.Backlog(t.Context(), bus.ConsumerShipper)
		return err == nil && left.Waiting == 20
	})
	p.shipper(append(environ, "SINK=devo")...)
	v := p.ask("replay", "--from", "1h", "--detach") // it waits for the sink, like everything else
	if dry := p.dry("--from", "1h"); dry.Rows != 0 || dry.Delivered != 200 {
		t.Errorf("dry: %+v", dry)
	}
	if v := p.ask("replay", "--from", "1h", "--sink", "file"); v.Rows != 200 { // another sink has nothing on its way
		t.Errorf("%+v", v)
	}
	if p.pending() != 200 {
		t.Errorf("%d pending", p.pending())
	}
	if err := sink.Clear(); err != nil {
		t.Fatal(err)
	}
	if v = p.done(v.ID); v.Rows != 0 || v.Delivered != 200 || v.Settled != 20 {
		t.Errorf("%+v", v)
	}
	p.settled()
	if n := sink.Snapshot().Events; n != 200 || p.pending() != 0 {
		t.Errorf("%d rows, %d pending", n, p.pending())
	}
}

// lose acknowledges messages of EVENTS without delivering them.
func (p *place) lose(messages int) {
	p.tb.Helper()
	sub, err := p.Subscribe(p.tb.Context(), bus.ConsumerShipper, 1)
	if err != nil {
		p.tb.Fatal(err)
	}
	defer sub.Stop()
	for range messages {
		d, err := sub.Next(p.tb.Context())
		if err != nil {
			p.tb.Fatal(err)
		}
		if err := d.Ack(); err != nil {
			p.tb.Fatal(err)
		}
	}
}

func (p *place) pending() (n int64) {
	p.tb.Helper()
	for _, r := range p.account().Rows {
		n += r.Pending()
	}
	return n
}

// TestSelections: tables, feeds, windows, ids.
func TestSelections(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.enricher()
	p.shipper()
	p.publish(feed.ClicksBlocked, 10, 10)
	p.publish(feed.MessagesBlocked, 10, 10)
	p.settled()
	name := ""
	for _, r := range rows(t, p.live()) {
		if r.ID == "clicksBlocked-3-4" {
			name = r.TaplineID
		}
	}
	window := minute(feed.ClicksBlocked, 2)
	for what, c := range map[string]struct {
		args []string
		rows int
	}{
		"table":           {[]string{"--from", "1h", "--table", feed.ClicksBlocked.Table()}, 100},
		"two tables":      {[]string{"--from", "1h", "--table", feed.ClicksBlocked.Table(), "--table", feed.MessagesBlocked.Table()}, 200},
		"feed":            {[]string{"--from", "1h", "--feed", "messagesBlocked"}, 100},
		"nothing of it":   {[]string{"--from", "1h", "--feed", "threats"}, 0},
		"feed, table":     {[]string{"--from", "1h", "--feed", "messagesBlocked", "--table", feed.ClicksBlocked.Table()}, 0},
		"job":             {[]string{"--window", window}, 10},
		"window":          {[]string{"--window", strings.TrimSuffix(window, "/live/0")}, 10},
		"windows":         {[]string{"--window", window, "--window", minute(feed.MessagesBlocked, 7)}, 20},
		"window and feed": {[]string{"--window", window, "--feed", "messagesBlocked"}, 0},
		"id":              {[]string{"--id", "clicksBlocked-3-4"}, 1},
		"@tapline_id":     {[]string{"--id", name}, 1},
		"ids":             {[]string{"--id", "clicksBlocked-3-4,messagesBlocked-1-1", "--from", "1h"}, 2},
		"id in a window":  {[]string{"--id", "clicksBlocked-3-4", "--window", window}, 0},
		"before it all":   {[]string{"--from", "3h", "--to", "2h"}, 0},
	} {
		if dry := p.dry(append(c.args, "--all")...); dry.Rows != c.rows {
			t.Errorf("%s, dry: %d rows, want %d", what, dry.Rows, c.rows)
		}
		if c.rows == 0 {
			continue
		}
		if v := p.ask(append([]string{"replay", "--all", "--sink", "file"}, c.args...)...); v.Rows != c.rows || len(rows(t, p.fileOf(v.ID))) != c.rows {
			t.Errorf("%s: %d rows, want %d", what, v.Rows, c.rows)
		}
	}
	if files, err := filepath.Glob(p.fileOf("*")); err != nil || len(files) != 9 {
		t.Errorf("files %v, %v", files, err)
	}
	for _, r := range p.account().Rows {
		if r.Confirmed != r.Published {
			t.Errorf("%s: published %d, confirmed %d", r.Job, r.Published, r.Confirmed)
		}
	}
}
