package tapsim

import (
	"math"
	"time"

	"github.com/tapline/tapline/pkg/feed"
)

// generator makes records out of nothing but numbers.
type generator struct{ cfg Config }

// perGuid is how many records share a GUID: the recipients of one message, or
// the clicks on it.
const perGUID = 3

// origin names a record: the second of its creation and its number in it.
type origin struct {
	second  int64
	index   int
	revised bool // as it is served from its revision on
}

// dice are independent random numbers of a record, by purpose.
func (g generator) dice(o origin, purpose uint64) uint64 {
	return mix(mix(g.cfg.Seed^uint64(o.second)*0x9e3779b97f4a7c15) + uint64(o.index)*0xbf58476d1ce4e5b9 + purpose*0x94d049bb133111eb)
}

// share turns dice into a number from 0 to 1.
func share(d uint64) float64 { return float64(d>>11) / (1 << 53) }

func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Purposes of dice.
const (
	forCount uint64 = iota
	forFeed
	forCreated
	forLag
	forLate
	forEvent
	forRetro
	forKind
	forStatus
	forType
	forText
	forID
	forGUID
	forRecipient
	forNoID
	forStub
	forOdd
	forMalformed
	forRevised
	forRevision
	forThreat
)

// count is how many records are created in a second.
func (g generator) count(second int64) int {
	whole, rest := math.Modf(g.cfg.Rate)
	n := int(whole)
	if share(g.dice(origin{second: second}, forCount)) < rest {
		n++
	}
	return n
}

// group is the first record of those that share a GUID.
func (o origin) group() origin { return origin{second: o.second, index: o.index - o.index%perGUID} }

func (g generator) feed(o origin) feed.Feed {
	switch d := g.dice(o.group(), forFeed) % 20; {
	case d < 3:
		return feed.ClicksBlocked
	case d < 6:
		return feed.ClicksPermitted
	case d < 13:
		return feed.MessagesBlocked
	default:
		return feed.MessagesDelivered
	}
}

// created is when the record was created, which windows select by.
func (g generator) created(o origin) time.Time {
	return time.UnixMilli(o.second*1000 + int64(g.dice(o, forCreated)%1000)).UTC()
}

// visible is from when on the record is served.
func (g generator) visible(o origin) time.Time {
	lag := g.cfg.IndexLag
	if share(g.dice(o, forLate)) < g.cfg.LateFraction {
		lag = g.cfg.LateLag
	}
	return g.created(o).Add(time.Duration(share(g.dice(o, forLag)) * float64(lag)))
}

// revision is from when on the record is served with another content: its campaign is
// known. It is zero for records that stay as they are.
func (g generator) revision(o origin) time.Time {
	if !g.has(o, forRevised, g.cfg.RevisedFraction) {
		return time.Time{}
	}
	return g.visible(o).Add(time.Duration(share(g.dice(o, forRevision)) * float64(g.cfg.RevisionLag)))
}

// campaign is the campaign of a threat in JSON, as a record has it that was made when it became
// visible.
func (g generator) campaign(o origin, t threat) string {
	if o.revised {
		return `"` + RevisedCampaign + `"`
	}
	if c, linked, ok := g.campaignOf(t); ok && !linked.After(g.visible(o)) {
		return `"` + g.campaignID(c) + `"`
	}
	return "null"
}

// happened is the record's own time, never after its creation.
func (g generator) happened(o origin) time.Time {
	before := time.Duration(g.dice(o, forEvent)%30_000) * time.Millisecond
	if share(g.dice(o, forRetro)) < g.cfg.RetroFraction {
		before = time.Duration(share(g.dice(o, forEvent)) * float64(6*24*time.Hour))
	}
	return g.created(o).Add(-before)
}

// Statuses and types that requests filter by.
var (
	statuses = []string{"active", "cleared", "falsePositive"}
	types    = []string{"url", "attachment", "messageText"}
)

func (g generator) status(o origin) string {
	return g.statusAt(g.threatOf(o, 0), o.second/3600)
}

// statusAt is the status of a threat in an hour; it changes now and then.
func (g generator) statusAt(t threat, hour int64) string {
	switch d := mix(g.threatDice(t, 3)+uint64(hour)) % 100; {
	case d < 90:
		return statuses[0]
	case d < 97:
		return statuses[1]
	default:
		return statuses[2]
	}
}

func (g generator) threatType(o origin) string {
	if g.feed(o).IsClick() {
		return types[0]
	}
	return types[g.dice(o, forType)%3]
}

func (g generator) has(o origin, purpose uint64, fraction float64) bool {
	return fraction > 0 && share(g.dice(o, purpose)) < fraction
}

func (g generator) hasID(o origin) bool {
	return g.feed(o).IsClick() || !g.has(o, forNoID, g.cfg.NoIDFraction)
}
