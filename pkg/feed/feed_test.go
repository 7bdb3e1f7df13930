package feed_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
)

func TestEndpointOfASetIsTheSmallestThatCovers(t *testing.T) {
	t.Parallel()
	for want, set := range map[string]feed.Set{
		"/v2/siem/all":                {feed.ClicksBlocked, feed.ClicksPermitted, feed.MessagesBlocked, feed.MessagesDelivered},
		"/v2/siem/issues":             {feed.ClicksPermitted, feed.MessagesDelivered},
		"/v2/siem/clicks/blocked":     {feed.ClicksBlocked},
		"/v2/siem/clicks/permitted":   {feed.ClicksPermitted},
		"/v2/siem/messages/blocked":   {feed.MessagesBlocked},
		"/v2/siem/messages/delivered": {feed.MessagesDelivered},
	} {
		if got := set.Endpoint().Path; got != want {
			t.Errorf("%s: %s, want %s", set, got, want)
		}
	}
	if got := (feed.Set{feed.ClicksBlocked, feed.MessagesDelivered}).Endpoint().Path; got != "/v2/siem/all" {
		t.Errorf("a pair without an endpoint of its own: %s", got)
	}
}

// TestSetsSurviveTheirNames: any choice of feeds makes sets that cover it, whose
// names are tokens and read back as the same set.
func TestSetsSurviveTheirNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		chosen := rapid.SliceOfDistinct(rapid.SampledFrom(feed.SIEM()), func(f feed.Feed) feed.Feed { return f }).Draw(t, "feeds")
		var covered []feed.Feed
		for _, set := range feed.Cover(chosen) {
			name := set.String()
			back, ok := feed.ParseSet(name)
			if !ok || !slices.Equal(back, set) || strings.ContainsAny(name, ".*> /") {
				t.Fatalf("%v is named %q, which reads as %v", []feed.Feed(set), name, back)
			}
			for _, f := range set {
				if !slices.Contains(set.Endpoint().Feeds, f) {
					t.Fatalf("%s does not serve %s", set.Endpoint().Path, f)
				}
			}
			covered = append(covered, set...)
		}
		slices.Sort(covered)
		slices.Sort(chosen)
		if !slices.Equal(covered, chosen) {
			t.Fatalf("%v covers %v", covered, chosen)
		}
	})
}

func FuzzParseSet(f *testing.F) {
	f.Add("all")
	f.Add("clicksBlocked-messagesDelivered")
	f.Add("messagesDelivered-clicksBlocked") // out of order
	f.Add("clicksBlocked-clicksBlocked")     // twice
	f.Add("clicksBlocked-")                  // no feed behind the dash
	f.Fuzz(func(t *testing.T, name string) {
		if set, ok := feed.ParseSet(name); ok && set.String() != name {
			t.Errorf("%q reads as %s", name, set)
		}
	})
}
