package feed

import (
	"net/url"
	"slices"
	"strconv"
)

// Call names what one request to Proofpoint asks for, besides a window of SIEM
// records.
type Call string

// The calls.
const (
	CallSIEM              Call = "" // a window of SIEM records: see [Set]
	CallThreat            Call = "threat"
	CallCampaign          Call = "campaign"
	CallCampaignIDs       Call = "campaign-ids"
	CallVAP               Call = "vap"
	CallTopClickers       Call = "top-clickers"
	CallThreatForensics   Call = "threat-forensics"
	CallCampaignForensics Call = "campaign-forensics"
)

// callFacts say what there is to know about a call.
type callFacts struct {
	feed Feed
	pool Pool
	path string // below the base URL, without what names the target
	size int    // of a page; Proofpoint's greatest where it is documented
}

var calls = map[Call]callFacts{
	CallThreat:            {Threats, PoolNone, "/v2/threat/summary", 0},
	CallCampaign:          {Campaigns, PoolNone, "/v2/campaign", 0},
	CallCampaignIDs:       {Campaigns, PoolCampaignIDs, "/v2/campaign/ids", 200},
	CallVAP:               {PeopleVAP, PoolPeopleVAP, "/v2/people/vap", 1000},
	CallTopClickers:       {PeopleTopClicks, PoolPeopleTopClickers, "/v2/people/top-clickers", 200},
	CallThreatForensics:   {Threats, PoolForensicsThreat, "/v2/forensics", 0},
	CallCampaignForensics: {Campaigns, PoolForensicsCampaign, "/v2/forensics", 0},
}

// Kind is what a call asks for, and thereby what kind of job makes it.
type Kind int

// The kinds.
const (
	KindWindow Kind = iota // the SIEM records of a window
	KindPage               // one page of a list
	KindLookup             // what is known of ids, one request for each
)

// Kind of the call.
func (c Call) Kind() Kind {
	switch {
	case c == CallSIEM:
		return KindWindow
	case c.PageSize() > 0:
		return KindPage
	}
	return KindLookup
}

// Valid reports whether the call exists.
func (c Call) Valid() bool { return c == CallSIEM || calls[c].pool != "" }

// Feed is what the answer belongs to; "" for [CallSIEM], which serves several.
func (c Call) Feed() Feed { return calls[c].feed }

// Pool is what the call takes a unit of.
func (c Call) Pool() Pool { return calls[c].pool }

// Path is the endpoint, without what names the target.
func (c Call) Path() string { return calls[c].path }

// PageSize is how many entries a page of a list has at most; 0 for what is no list.
func (c Call) PageSize() int { return calls[c].size }

// IsPeople reports whether the answer is a list of people.
func (c Call) IsPeople() bool { return c == CallVAP || c == CallTopClickers }

// IsForensics reports whether the answer is a forensic report.
func (c Call) IsForensics() bool { return c == CallThreatForensics || c == CallCampaignForensics }

// Address is the path and the query of a call. target is the id, or the days that
// a list of people covers; interval is that of a list of campaigns; pages begin at 1.
func (c Call) Address(target, interval string, page int) (path string, query url.Values) {
	query = url.Values{}
	switch c {
	case CallThreat, CallCampaign:
		return c.Path() + "/" + url.PathEscape(target), query
	case CallThreatForensics:
		query.Set("threatId", target)
	case CallCampaignForensics:
		query.Set("campaignId", target)
	case CallCampaignIDs:
		query.Set("interval", interval)
	case CallVAP, CallTopClickers:
		query.Set("window", target)
	case CallSIEM:
	}
	if size := c.PageSize(); size > 0 {
		query.Set("page", strconv.Itoa(page))
		query.Set("size", strconv.Itoa(size))
	}
	return c.Path(), query
}

// maxTarget bounds the length of an id that is asked for.
const maxTarget = 128

// Askable reports whether an id out of a record can be asked for: ids stand in
// subjects and keys of the bus, and in addresses.
func Askable(id string) bool {
	return id != "" && len(id) <= maxTarget && !slices.ContainsFunc([]byte(id), func(b byte) bool {
		return (b < '0' || b > '9') && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && b != '-' && b != '_'
	})
}
