package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// streams are RAW, EVENTS and DEAD in memory.
type streams struct {
	stored map[string][]bus.Stored // by selection
	done   uint64                  // up to where the shipper has acknowledged
	fail   string                  // the selection that cannot be read, or "backlog"
}

func (s *streams) Scan(_ context.Context, selection bus.Selection, visit func(bus.Stored) (bool, error)) error {
	if fmt.Sprint(selection) == s.fail {
		return errors.New("refused")
	}
	for _, m := range s.stored[fmt.Sprint(selection)] {
		if more, err := visit(m); err != nil || !more {
			return err
		}
	}
	return nil
}

func (s *streams) Backlog(context.Context, bus.Consumer) (bus.Backlog, error) {
	if s.fail == "backlog" {
		return bus.Backlog{}, errors.New("refused")
	}
	return bus.Backlog{Done: s.done}, nil
}

func (s *streams) put(t *testing.T, selection bus.Selection, sequence uint64, data []byte) {
	t.Helper()
	key := fmt.Sprint(selection)
	s.stored[key] = append(s.stored[key], bus.Stored{Sequence: sequence, Time: hour, Data: data})
}

func (s *streams) message(t *testing.T, selection bus.Selection, sequence uint64, m proto.Message) {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, selection, sequence, data)
}

func (s *streams) events(t *testing.T, sequence uint64, e *batch.Events, rows int) {
	t.Helper()
	for range rows {
		e.Events = append(e.Events, batch.Event{ID: []byte("x"), JSON: []byte("{}")})
	}
	s.put(t, bus.Events("main"), sequence, batch.AppendEvents(nil, e))
}

// days is an hour of every kind of job: clicks of which some went to DEAD, a list of campaigns, and
// a report in two tables of which one is in two parts. The clicks were reprocessed once.
func days(t *testing.T) *streams {
	t.Helper()
	const (
		list   = "main/campaign-ids/20260311T080000Z/20260311T090000Z/list/1"
		report = "main/campaign-forensics/20260311T080000Z/20260311T090000Z/forensics-1/7/c1"
	)
	s := &streams{stored: make(map[string][]bus.Stored), done: 4}
	job := func(id string, f feed.Feed, marker uint64, batches uint32, n int64) {
		s.message(t, bus.Markers("main"), marker, &taplinev1.JobResult{
			JobId: id, Tenant: "main", Batches: batches, FetchedAt: timestamppb.New(hour), Status: 200, Feeds: []*taplinev1.FeedResult{{Feed: string(f), Received: n, Published: n}},
		})
	}
	job(minute(0), feed.ClicksBlocked, 3, 2, 4) // RAW 1: a row and a letter; RAW 2: two letters
	job(list, feed.Campaigns, 6, 2, 3)
	job(report, feed.Campaigns, 8, 1, 1) // RAW 7
	letter := func(stage, source string, f feed.Feed, sequence uint64) {
		s.message(t, bus.Dead("main", stage), sequence, &taplinev1.DeadLetter{Tenant: "main", Stage: stage, Feed: string(f), Source: source})
	}
	letter("enricher", "RAW/1", feed.ClicksBlocked, 1)
	letter("enricher", "RAW/2", feed.ClicksBlocked, 2)
	for part := range uint32(3) { // one letter in pieces
		s.message(t, bus.Dead("main", "enricher"), 3+uint64(part)*10, &taplinev1.DeadLetter{
			Tenant: "main", Stage: "enricher", Feed: string(feed.ClicksBlocked), Source: "RAW/2", Part: part + 1, More: part < 2,
		})
	}
	letter("enricher", "names/RAW/1", feed.Threats, 4) // about an id, and no record
	letter("shipper", "EVENTS/2", feed.Campaigns, 5)
	clicks := batch.Events{Tenant: "main", Table: table, Feed: string(feed.ClicksBlocked), JobID: minute(0), SourceSequence: 1}
	again, stranger := clicks, clicks
	again.ReprocessID, stranger.JobID = "r", "none"
	s.events(t, 1, &clicks, 1)
	of := func(f feed.Feed, part uint32, extra int64) *batch.Events {
		return &batch.Events{Tenant: "main", Table: f.Table(), Feed: string(feed.Campaigns), JobID: report, SourceSequence: 7, Part: part, Extra: extra}
	}
	s.events(t, 2, of(feed.Campaigns, 0, 2), 3)
	s.events(t, 3, of(feed.Campaigns, 1, 2), 2)
	s.events(t, 4, of(feed.Threats, 0, 5), 5)
	s.events(t, 5, &again, 1)
	s.events(t, 6, &stranger, 1)
	s.put(t, bus.Events("main"), 7, []byte("\xff"))
	return s
}

// rebuilt is the ledger of an hour that was rebuilt.
func rebuilt(t *testing.T, s *streams) (ledger.Rebuilt, *ledger.Report) {
	t.Helper()
	p := &pages{entries: make(map[string]bus.Entry)}
	var found ledger.Rebuilt
	for range 2 { // any number of times
		var err error
		if found, err = ledger.New(p).Rebuild(t.Context(), s, "main"); err != nil {
			t.Fatal(err)
		}
	}
	var all []*taplinev1.LedgerPage
	for _, entry := range p.entries {
		page, err := ledger.DecodePage(entry.Value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page)
	}
	report, err := ledger.Join(all...)
	if err != nil {
		t.Fatal(err)
	}
	return found, report
}

// TestEveryKindOfJobIsRebuilt: what the streams have makes accounts that add up.
func TestEveryKindOfJobIsRebuilt(t *testing.T) {
	t.Parallel()
	found, report := rebuilt(t, days(t))
	if want := (ledger.Rebuilt{Jobs: 3, Made: 4, Confirmed: 4, Unknown: 1}); found != want {
		t.Errorf("%+v, want %+v", found, want)
	}
	if len(report.Violations()) > 0 || len(report.Rows) != 3 {
		t.Fatalf("%d accounts, %v", len(report.Rows), report.Violations())
	}
	for _, r := range report.Rows {
		have := fmt.Sprintf("%d made, %d extra, %d dead; %d confirmed, %d dead; %d made again, %d of them confirmed; %d on their way, complete %t",
			r.Events, r.Extra, r.MadeDead, r.Confirmed, r.SentDead, r.Remade, r.Redelivered, r.Pending(), r.Made)
		want := map[feed.Call]string{
			feed.CallSIEM:              "1 made, 0 extra, 3 dead; 1 confirmed, 0 dead; 1 made again, 0 of them confirmed; 0 on their way, complete true",
			feed.CallCampaignIDs:       "0 made, -3 extra, 0 dead; 0 confirmed, 0 dead; 0 made again, 0 of them confirmed; 0 on their way, complete true",
			feed.CallCampaignForensics: "10 made, 9 extra, 0 dead; 9 confirmed, 1 dead; 0 made again, 0 of them confirmed; 0 on their way, complete true",
		}[r.Job.Call]
		if have != want {
			t.Errorf("%s: %s\nwant %s", r.Job, have, want)
		}
	}
	s := days(t)
	s.done = 3
	if found, report := rebuilt(t, s); found.Confirmed != 3 || report.Undelivered(0) != 4 {
		t.Errorf("%d confirmed, the lowest that waits is %d", found.Confirmed, report.Undelivered(0))
	}
	s.done = 5
	_, report = rebuilt(t, s)
	for _, r := range report.Rows {
		if r.Job.Call == feed.CallSIEM && r.Redelivered != 1 {
			t.Errorf("of the rows made again %d are confirmed", r.Redelivered)
		}
	}
}

// TestWhatCannotBeReadIsNotRebuilt: the error names it.
func TestWhatCannotBeReadIsNotRebuilt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*streams)
		want   string
	}{
		"the markers":       {func(s *streams) { s.fail = fmt.Sprint(bus.Markers("main")) }, "refused"},
		"letters":           {func(s *streams) { s.fail = fmt.Sprint(bus.Dead("main", "enricher")) }, "refused"},
		"the shipper's too": {func(s *streams) { s.fail = fmt.Sprint(bus.Dead("main", "shipper")) }, "refused"},
		"rows":              {func(s *streams) { s.fail = fmt.Sprint(bus.Events("main")) }, "refused"},
		"the backlog":       {func(s *streams) { s.fail = "backlog" }, "refused"},
	} {
		s, p := days(t), &pages{entries: make(map[string]bus.Entry)}
		c.change(s)
		if _, err := ledger.New(p).Rebuild(t.Context(), s, "main"); err == nil || !strings.Contains(err.Error(), c.want) || len(p.entries) > 0 {
			t.Errorf("%s: %v, %d pages written", name, err, len(p.entries))
		}
	}
}

// TestForgedMessagesAreNotRebuilt: markers and letters that say nothing are counted, and all else
// is rebuilt.
func TestForgedMessagesAreNotRebuilt(t *testing.T) {
	t.Parallel()
	honest, _ := rebuilt(t, days(t))
	for name, change := range map[string]func(*streams){
		"a marker":       func(s *streams) { s.put(t, bus.Markers("main"), 17, []byte("\xff")) },
		"a marker's job": func(s *streams) { s.put(t, bus.Markers("main"), 17, nil) },
		"a letter":       func(s *streams) { s.put(t, bus.Dead("main", "shipper"), 17, []byte("\xff")) },
	} {
		s := days(t)
		change(s)
		found, _ := rebuilt(t, s)
		want := honest
		want.Unknown++
		if found != want {
			t.Errorf("%s: %+v, want %+v", name, found, want)
		}
	}
}
