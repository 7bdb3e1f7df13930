package feed_test

import (
	"testing"

	"github.com/tapline/tapline/pkg/feed"
)

func TestEachCallMakesOneKindOfJob(t *testing.T) {
	t.Parallel()
	for call, want := range map[feed.Call]feed.Kind{
		feed.CallSIEM: feed.KindWindow, feed.CallCampaignIDs: feed.KindPage, feed.CallVAP: feed.KindPage, feed.CallTopClickers: feed.KindPage,
		feed.CallThreat: feed.KindLookup, feed.CallCampaign: feed.KindLookup,
		feed.CallThreatForensics: feed.KindLookup, feed.CallCampaignForensics: feed.KindLookup,
	} {
		if got := call.Kind(); got != want {
			t.Errorf("call %q is of kind %d, want %d", call, got, want)
		}
	}
}
