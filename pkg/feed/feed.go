package feed

import (
	"fmt"
	"slices"
	"strings"
)

// Feed names one data source, spelled as Devo's own collector spells its services.
type Feed string

// The eight feeds.
const (
	ClicksBlocked     Feed = "clicksBlocked"
	ClicksPermitted   Feed = "clicksPermitted"
	MessagesBlocked   Feed = "messagesBlocked"
	MessagesDelivered Feed = "messagesDelivered"
	Threats           Feed = "threats"
	Campaigns         Feed = "campaigns"
	PeopleTopClicks   Feed = "people_topclicks"
	PeopleVAP         Feed = "people_vap"
)

// SIEM lists the feeds that the /v2/siem endpoints serve, in a fixed order.
func SIEM() []Feed {
	return []Feed{ClicksBlocked, ClicksPermitted, MessagesBlocked, MessagesDelivered}
}

// All lists every feed, SIEM feeds first, in a fixed order.
func All() []Feed {
	return append(SIEM(), Threats, Campaigns, PeopleTopClicks, PeopleVAP)
}

// tables maps each feed to the Devo tag that its rows carry.
var tables = map[Feed]string{
	ClicksBlocked:     "mail.proofpoint.tapsiem_v2.clicksblocked",
	ClicksPermitted:   "mail.proofpoint.tapsiem_v2.clickspermitted",
	MessagesBlocked:   "mail.proofpoint.tapsiem_v2.messagesblocked",
	MessagesDelivered: "mail.proofpoint.tapsiem_v2.messagesdelivered",
	Threats:           "mail.proofpoint.tap_threats.events",
	Campaigns:         "mail.proofpoint.tap_campaigns.events",
	PeopleTopClicks:   "mail.proofpoint.tap_people.top_clicks",
	PeopleVAP:         "mail.proofpoint.tap_people.vap",
}

// Table is the Devo tag that rows of the feed carry. It is empty for a feed
// that does not exist.
func (f Feed) Table() string { return tables[f] }

// Valid reports whether f is one of the eight feeds.
func (f Feed) Valid() bool { return tables[f] != "" }

// IsSIEM reports whether a /v2/siem endpoint serves the feed.
func (f Feed) IsSIEM() bool { return slices.Contains(SIEM(), f) }

// IsClick reports whether the feed's records are clicks (the others that SIEM
// endpoints serve are messages).
func (f Feed) IsClick() bool { return f == ClicksBlocked || f == ClicksPermitted }

// UnmarshalText accepts exactly the eight names.
func (f *Feed) UnmarshalText(text []byte) error {
	name := Feed(strings.TrimSpace(string(text)))
	if !name.Valid() {
		return fmt.Errorf("unknown feed %q: use any of %s", name, strings.Join(Names(All()), ", "))
	}
	*f = name
	return nil
}

// Names turns feeds into strings, keeping their order.
func Names(feeds []Feed) []string {
	names := make([]string, len(feeds))
	for i, f := range feeds {
		names[i] = string(f)
	}
	return names
}
