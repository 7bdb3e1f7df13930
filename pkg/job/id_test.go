package job_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

func TestParseReadsWhatStringWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		start := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "start"), 0)
		var set feed.Set
		for _, f := range feed.SIEM() {
			if rapid.Bool().Draw(t, string(f)) {
				set = append(set, f)
			}
		}
		if len(set) == 0 {
			set = feed.Set{feed.ClicksBlocked}
		}
		id := job.ID{
			Tenant: rapid.StringMatching(`[a-z][a-z0-9-]{0,20}`).Draw(t, "tenant"), Set: set,
			Window: window.New(start, start.Add(time.Duration(rapid.IntRange(1, 3600).Draw(t, "span"))*time.Second)),
			Lane:   taplinev1.Lane(rapid.IntRange(1, len(job.Lanes())).Draw(t, "lane")), Pass: rapid.Uint32().Draw(t, "pass"),
		}
		calls := []feed.Call{
			feed.CallThreat, feed.CallCampaign, feed.CallCampaignIDs, feed.CallVAP, feed.CallTopClickers, feed.CallThreatForensics, feed.CallCampaignForensics,
		}
		if rapid.Bool().Draw(t, "call") {
			id.Call = rapid.SampledFrom(calls).Draw(t, "which")
			id.Set = feed.Set{id.Call.Feed()}
			id.Target = rapid.StringMatching(`[A-Za-z0-9_-]{0,64}`).Draw(t, "target")
		}
		got, err := job.Parse(id.String())
		if err != nil || got.String() != id.String() || got.Window != id.Window || got.Lane != id.Lane || got.Pass != id.Pass ||
			got.Call != id.Call || got.Target != id.Target || got.Set.String() != id.Set.String() {
			t.Fatalf("%s became %+v, %v", id, got, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("main/all/20260311T080000Z/20260311T090000Z/sweep/35")
	f.Add("main/clicksBlocked-messagesBlocked/20260311T080000Z/20260311T090000Z/live/0")
	f.Add("main/threat/20260311T080000Z/20260311T090000Z/retry/7/945bd475668ecf49")
	f.Add("main/campaign-ids/20260311T080000Z/20260311T090000Z/list/1")
	f.Add("//////")
	f.Add("main")                                                        // too few parts
	f.Add("main/all/20260311T080000Z/20260311T090000Z/fast/0")           // no such lane
	f.Add("main/threat/20260311/20260311T090000Z/retry/7")               // no such time
	f.Add("main/threat/20260311T080000Z/20260311T090000Z/retry/7/\xe6")  // nothing to ask Proofpoint for
	f.Add("main/threat/20260311T080000Z/20260311T090000Z/retry/07/9400") // a zero that String does not write
	f.Fuzz(func(t *testing.T, s string) {
		id, err := job.Parse(s)
		if err != nil {
			if !errors.Is(err, job.ErrMalformed) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if id.String() != s {
			t.Fatalf("%q became %q", s, id)
		}
	})
}
