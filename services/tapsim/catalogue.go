package tapsim

import (
	"slices"
	"strings"
	"time"
)

// A threat is named by the hour in which it was identified and its number in it, and a
// campaign by its day and number: the ids that are served can be turned back into these, so
// nothing needs to be stored.

// scramble is a permutation of 64-bit numbers; unscramble is its inverse.
const (
	scrambler   = 0x9e3779b97f4a7c15
	unscrambler = 0xf1de83e19937733d // scrambler * unscrambler = 1 (mod 2^64)
)

func (g generator) scramble(x uint64) uint64   { return (x ^ mix(g.cfg.Seed)) * scrambler }
func (g generator) unscramble(y uint64) uint64 { return y*unscrambler ^ mix(g.cfg.Seed) }

// perBucket separates the numbers within an hour or a day.
const perBucket = 1 << 16

// threat is one threat of the catalogue.
type threat struct {
	hour   int64 // since the epoch
	number int
}

// threatOf is the i-th threat of a record; it was identified before the record was created.
func (g generator) threatOf(o origin, i uint64) threat {
	d := mix(g.dice(o.group(), forThreat) + i)
	return threat{o.second/3600 - 1 - int64(d%6), int(d >> 8 % uint64(g.cfg.Threats))}
}

func (g generator) threatDice(t threat, purpose uint64) uint64 {
	return mix(g.scramble(uint64(t.hour)*perBucket+uint64(t.number)) + purpose)
}

func (g generator) identified(t threat) time.Time {
	return time.Unix(t.hour*3600+int64(g.threatDice(t, 1)%3600), 0).UTC()
}

func (g generator) threatID(t threat) string {
	x := g.scramble(uint64(t.hour)*perBucket + uint64(t.number))
	return string(appendHex(appendHex(nil, x, 16), mix(x), 48))
}

// findThreat turns an id back. ok is false for one that was never made.
func (g generator) findThreat(id string, now time.Time) (t threat, ok bool) {
	v := g.unscramble(fromHex(id))
	t = threat{int64(v / perBucket), int(v % perBucket)}
	return t, g.threatID(t) == id && t.number < g.cfg.Threats && !g.identified(t).After(now)
}

// fromHex reads the first 16 digits of what appendHex wrote.
func fromHex(id string) (x uint64) {
	for i := range min(len(id), 16) {
		x |= uint64(max(strings.IndexByte(hexDigits, id[i]), 0)) << (4 * i)
	}
	return x
}

// campaign is one campaign of the catalogue.
type campaign struct {
	day    int64 // since the epoch
	number int
}

// campaignOf is the campaign of a threat and when it became known; ok is false for one without.
func (g generator) campaignOf(t threat) (c campaign, linked time.Time, ok bool) {
	d := g.threatDice(t, 2)
	if d%2 == 0 {
		return c, linked, false
	}
	linked = g.identified(t)
	if d>>8%3 == 0 {
		linked = linked.Add(30*time.Minute + time.Duration(d>>16%5400)*time.Second)
	}
	return campaign{t.hour / 24, int(d >> 40 % uint64(g.cfg.Campaigns))}, linked, true
}

func (g generator) campaignID(c campaign) string {
	x := g.scramble(uint64(c.day)*perBucket + uint64(c.number))
	id := appendHex(appendHex(nil, x, 16), mix(x), 16)
	return string(id[:8]) + "-" + string(id[8:12]) + "-" + string(id[12:16]) + "-" + string(id[16:20]) + "-" + string(id[20:])
}

// linkedThreat is a threat of a campaign, and since when it is known to be.
type linkedThreat struct {
	threat threat
	linked time.Time
}

// members are the threats of each campaign of a day that are known by now.
func (g generator) members(day int64, now time.Time) map[int][]linkedThreat {
	all := make(map[int][]linkedThreat)
	for hour := day * 24; hour < (day+1)*24; hour++ {
		for n := range g.cfg.Threats {
			t := threat{hour, n}
			if c, linked, ok := g.campaignOf(t); ok && !linked.After(now) {
				all[c.number] = append(all[c.number], linkedThreat{t, linked})
			}
		}
	}
	return all
}

// detail is a campaign as it stands.
type detail struct {
	id      string
	start   time.Time
	updated time.Time
	members []linkedThreat
}

// campaignsOf lists the campaigns of a day that exist by now.
func (g generator) campaignsOf(day int64, now time.Time) []detail {
	var list []detail
	for number, members := range g.members(day, now) {
		list = append(list, g.detail(campaign{day, number}, members))
	}
	return list
}

func (g generator) detail(c campaign, members []linkedThreat) detail {
	d := detail{id: g.campaignID(c), start: time.Unix(c.day*86400, 0).UTC(), members: members}
	for _, m := range members {
		if m.linked.After(d.updated) {
			d.updated = m.linked
		}
	}
	return d
}

// findCampaign turns an id back.
func (g generator) findCampaign(id string, now time.Time) (detail, bool) {
	if id == RevisedCampaign {
		at := now.Truncate(24 * time.Hour)
		return detail{id: id, start: at, updated: at}, true
	}
	v := g.unscramble(fromHex(strings.ReplaceAll(id, "-", "")))
	c := campaign{int64(v / perBucket), int(v % perBucket)}
	if g.campaignID(c) != id {
		return detail{}, false
	}
	members := g.members(c.day, now)[c.number]
	return g.detail(c, members), len(members) > 0
}

// active lists the campaigns that are active in [from, to), by their last update.
func (g generator) active(from, to, now time.Time) []detail {
	var list []detail
	for day := from.Unix()/86400 - 1; day <= to.Unix()/86400; day++ {
		for _, d := range g.campaignsOf(day, now) {
			if d.start.Before(to) && !d.updated.Before(from) {
				list = append(list, d)
			}
		}
	}
	slices.SortFunc(list, func(a, b detail) int {
		if c := a.updated.Compare(b.updated); c != 0 {
			return c
		}
		return strings.Compare(a.id, b.id)
	})
	return list
}
