package enricher

import (
	"errors"
	"strings"
	"testing"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/flatten"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// text is what marks add to an empty object, with or without the other keys.
func text(t *testing.T, e *Enricher, marks []flatten.Member) string {
	t.Helper()
	row, ok := e.appendRow(nil, []byte("{}"), "7", []byte("id"), marks...)
	if !ok {
		t.Error("no row")
	}
	return string(row)
}

// TestMarksOfRowsMadeAgain: the rules and the order, unless the added keys are switched off.
func TestMarksOfRowsMadeAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		added, rules bool
		order        string
		want         string
	}{
		{true, true, "", `{"@tapline_id":"id"}`},
		{true, true, "o", `{"@tapline_generation":1,"@tapline_reprocess_id":"o","@tapline_id":"id"}`},
		{true, false, "o", `{"@tapline_reprocess_id":"o","@tapline_id":"id"}`},
		{false, true, "o", `{}`},
	} {
		e := &Enricher{cfg: Config{Identity: identity.Config{TaplineID: c.added}}}
		if got := text(t, e, e.marks(order{id: c.order}, c.rules)); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestOnlyThreatsSayACampaign, and only one that can be a campaign's id.
func TestOnlyThreatsSayACampaign(t *testing.T) {
	t.Parallel()
	e := &Enricher{}
	for _, c := range []struct {
		call     feed.Call
		campaign string
		want     string
	}{
		{feed.CallThreat, "c1", `{"@tapline_generation":1,"@tapline_campaign_id":"c1"}`},
		{feed.CallThreat, "", `{"@tapline_generation":1}`},
		{feed.CallThreat, "not askable/", `{"@tapline_generation":1}`},
		{feed.CallThreatForensics, "c1", `{"@tapline_generation":1}`},
	} {
		v := &derivation{e: e, id: job.ID{Call: c.call}}
		if got := text(t, e, v.marks(&taplinev1.Target{Campaign: c.campaign})); got != c.want {
			t.Errorf("%s of %q: %s", c.call, c.campaign, got)
		}
	}
}

// TestThePullOfARow is the moment that its id says, or else that of the call.
func TestThePullOfARow(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]int64{"1773216000123": 1773216000123, "no number": noon.UnixMilli()} {
		ws := &workspace{raw: batch.Raw{Tenant: "main", Feed: "clicksBlocked", PullID: id, FetchedAt: noon, Records: []batch.Record{{ID: 1, JSON: []byte("{}")}}}}
		var e batch.Events
		if n := (&Enricher{}).convert(ws, 1, "table", order{}); n != 1 {
			t.Fatalf("%d rows", n)
		}
		if err := batch.DecodeEvents(batch.Pack(nil, ws.out), &e); err != nil || len(e.Events) != 1 || e.Events[0].PullMS != want || strings.Contains(string(e.Events[0].JSON), "tapline") {
			t.Errorf("%s: %+v, %v", id, e.Events, err)
		}
	}
}

// TestARowThatIsTooLong is dead, and its neighbors are rows. Bytes that are no text are three each
// in a row.
func TestARowThatIsTooLong(t *testing.T) {
	t.Parallel()
	long := []byte(`{"a":"` + strings.Repeat("\xff", longestRow/3) + `"}`)
	ws := &workspace{raw: batch.Raw{Tenant: "main", Feed: "clicksBlocked", PullID: "7", FetchedAt: noon, Records: []batch.Record{{JSON: []byte("{}")}, {JSON: long}, {JSON: []byte("{}")}}}}
	if n := (&Enricher{}).convert(ws, 1, "table", order{}); n != 2 || len(ws.dead) != 1 || ws.dead[0].index != 1 || !errors.Is(ws.dead[0].err, errLongRow) {
		t.Errorf("%d rows, %d dead", n, len(ws.dead))
	}
}
