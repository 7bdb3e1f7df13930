package feed

import (
	"slices"
	"strings"
)

// Pool names a set of endpoints that share one rolling-24-hour limit at Proofpoint.
type Pool string

// The pools. Their limits are configured; see package quota.
const (
	PoolSIEM              Pool = "siem"
	PoolSIEMPermitted     Pool = "siem-permitted"
	PoolCampaignIDs       Pool = "campaign-ids"
	PoolPeopleVAP         Pool = "people-vap"
	PoolPeopleTopClickers Pool = "people-top-clickers"
	PoolForensicsThreat   Pool = "forensics-threat"
	PoolForensicsCampaign Pool = "forensics-campaign"
	// PoolNone holds the endpoints without a limit; their calls are counted all the same.
	PoolNone Pool = "none"
)

// Unlimited is the limit of [PoolNone].
const Unlimited = 0

// Pools lists every pool in a fixed order.
func Pools() []Pool {
	return []Pool{
		PoolSIEM, PoolSIEMPermitted, PoolCampaignIDs, PoolPeopleVAP,
		PoolPeopleTopClickers, PoolForensicsThreat, PoolForensicsCampaign, PoolNone,
	}
}

// Endpoint is one SIEM path of the Proofpoint TAP API.
type Endpoint struct {
	Path  string // below the base URL, such as "/v2/siem/all"
	Feeds []Feed // what one response carries
	Pool  Pool   // what one call costs a unit of
}

// The six SIEM endpoints.
var (
	SIEMAll               = Endpoint{"/v2/siem/all", SIEM(), PoolSIEM}
	SIEMIssues            = Endpoint{"/v2/siem/issues", []Feed{ClicksPermitted, MessagesDelivered}, PoolSIEM}
	SIEMClicksBlocked     = Endpoint{"/v2/siem/clicks/blocked", []Feed{ClicksBlocked}, PoolSIEM}
	SIEMClicksPermitted   = Endpoint{"/v2/siem/clicks/permitted", []Feed{ClicksPermitted}, PoolSIEMPermitted}
	SIEMMessagesBlocked   = Endpoint{"/v2/siem/messages/blocked", []Feed{MessagesBlocked}, PoolSIEM}
	SIEMMessagesDelivered = Endpoint{"/v2/siem/messages/delivered", []Feed{MessagesDelivered}, PoolSIEM}
)

// SIEMEndpoints lists the six SIEM endpoints.
func SIEMEndpoints() []Endpoint {
	return []Endpoint{
		SIEMAll, SIEMIssues, SIEMClicksBlocked, SIEMClicksPermitted, SIEMMessagesBlocked, SIEMMessagesDelivered,
	}
}

// Set is a group of feeds that one call serves. Its order is that of [SIEM].
type Set []Feed

// String is the set's name as it stands in job ids and subjects: the feeds
// joined by "-", "all" for the four SIEM feeds. It contains no character that
// is special on the bus or in a key.
func (s Set) String() string {
	if len(s) == len(SIEM()) {
		return "all"
	}
	return strings.Join(Names(s), "-")
}

// ParseSet reads what [Set.String] wrote.
func ParseSet(name string) (Set, bool) {
	if name == "all" {
		return SIEM(), true
	}
	var set Set
	for part := range strings.SplitSeq(name, "-") {
		f := Feed(part)
		if !f.IsSIEM() || slices.Contains(set, f) {
			return nil, false
		}
		set = append(set, f)
	}
	if set.String() != name || !slices.IsSortedFunc(set, bySIEMOrder) {
		return nil, false
	}
	return set, true
}

func bySIEMOrder(a, b Feed) int { return slices.Index(SIEM(), a) - slices.Index(SIEM(), b) }

// Endpoint is the endpoint whose response covers the set with the fewest feeds that were not asked
// for: a single feed's own, else issues, else all.
func (s Set) Endpoint() Endpoint {
	best := SIEMAll
	for _, e := range SIEMEndpoints() {
		if len(e.Feeds) < len(best.Feeds) && covers(e.Feeds, s) {
			best = e
		}
	}
	return best
}

// Cover groups the SIEM feeds among feeds into the sets that cost the fewest
// calls: all of them in one, since /siem/all serves any two or more for a
// single unit. Feeds that are not SIEM feeds are left out.
func Cover(feeds []Feed) []Set {
	var set Set
	for _, f := range SIEM() {
		if slices.Contains(feeds, f) {
			set = append(set, f)
		}
	}
	if len(set) == 0 {
		return nil
	}
	return []Set{set}
}

func covers(have, want []Feed) bool {
	return !slices.ContainsFunc(want, func(f Feed) bool { return !slices.Contains(have, f) })
}
