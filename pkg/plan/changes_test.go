package plan_test

import (
	"testing"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
)

// changes are plans of sets of feeds, by the feeds, what they become for others, and when.
var changes = map[string]struct {
	old        []string // feeds and plan, in turn
	feeds      string
	start, now string
	want       string
}{
	"of a feed that leaves all that is not swept is left": {[]string{"cb,cp,mb,md", `
		start 0h
		head 9h
		sweep 35 8h
		sweep 360 3h
		sweep 1440 3h`}, "cb", "0h", "10h", `
		start 0h
		head 9h
		off cp 3h.. the feed is switched off since 2026-03-11T10:00:00Z
		off mb 3h.. the feed is switched off since 2026-03-11T10:00:00Z
		off md 3h.. the feed is switched off since 2026-03-11T10:00:00Z
		sweep 35 8h
		sweep 360 3h
		sweep 1440 3h`},
	"an extra sweep of a feed that leaves": {[]string{"cb,cp", `
		start 0h
		head 9h
		sweep 35 8h
		extra 1440 2h..3h cb,cp
		extra 1440 4h..5h cp`}, "cb", "0h", "10h", `
		start 0h
		head 9h
		extra 1440 2h..3h cb
		off cp 2h.. the feed is switched off since 2026-03-11T10:00:00Z
		sweep 35 8h`},
	"a sweep that is outstanding": {[]string{"cb,cp", `
		start 0h
		head 9h
		sweep 35 8h
		job sweep 35 7h..8h cb,cp
		job live 0 8h..9h cb,cp`}, "cb", "0h", "10h", `
		start 0h
		head 9h
		backlog 8h..9h cb it was unread when TAP_FEEDS changed
		extra 35 7h..8h cb
		off cp 7h.. the feed is switched off since 2026-03-11T10:00:00Z
		sweep 35 8h`},
	"a sweep that was asked for in vain": {[]string{"cb,cp", `
		start 0h
		head 9h
		sweep 35 8h
		aside sweep 35 6h..7h cb,cp failures=3 since=9h retry=11h odd
		aside sweep 35 5h..6h cp failures=3 since=9h retry=11h odd`}, "cb", "0h", "10h", `
		start 0h
		head 9h
		extra 35 6h..7h cb
		off cp 5h.. the feed is switched off since 2026-03-11T10:00:00Z
		sweep 35 8h`},
	"a first reading that was asked for in vain": {[]string{"cb,cp", `
		start 0h
		head 9h
		aside live 0 6h..7h cb,cp overlap=5m failures=3 since=9h retry=11h odd
		aside live 0 7h..8h cp failures=3 since=9h retry=11h odd`}, "cb", "0h", "10h", `
		start 0h
		head 9h
		aside backfill 180 6h..7h cb overlap=5m0s failures=3 since=9h retry=11h odd
		off cp 6h5m..8h the feed is switched off since 2026-03-11T10:00:00Z
		off cp 9h.. the feed is switched off since 2026-03-11T10:00:00Z`},
	"sweeps before the start": {[]string{"cb,cp", `
		start 4h
		head 9h
		extra 35 3h..3h30m cb
		sweep 35 2h`}, "cb", "4h", "10h", `
		start 4h
		head 9h
		extra 35 3h..3h30m cb
		off cp 4h.. the feed is switched off since 2026-03-11T10:00:00Z
		sweep 35 2h`},
	"what is unread of a feed that leaves and of one that stays": {[]string{"cb,cp", `
		start 0h
		head 9h
		backfill 2h..3h
		backlog 5h..6h cb,cp ordered
		backlog 7h..8h cp ordered`}, "cb", "0h", "10h", `
		start 0h
		head 9h
		backlog 2h..3h cb it was unread when TAP_FEEDS changed
		backlog 5h..6h cb it was unread when TAP_FEEDS changed
		off cp 2h..3h the feed is switched off since 2026-03-11T10:00:00Z
		off cp 5h..6h the feed is switched off since 2026-03-11T10:00:00Z
		off cp 7h..8h the feed is switched off since 2026-03-11T10:00:00Z
		off cp 9h.. the feed is switched off since 2026-03-11T10:00:00Z`},
	"a feed that comes for the first time": {[]string{"cb", `
		start 0h
		head 9h`}, "cb,cp", "4h", "10h", `
		start 0h
		head 9h
		backlog 4h..9h cp the feed was switched on
		off cp 0h..4h collection of the feed began later`},
	"one that comes with an earlier start than the others": {[]string{"cb", `
		start 3h
		head 9h`}, "cb,cp", "1h", "10h", `
		start 3h
		head 9h
		backlog 3h..9h cp the feed was switched on`},
	"one that comes with a start to come": {[]string{"cb", `
		start 3h
		head 9h`}, "cb,cp", "11h", "10h", `
		start 3h
		head 9h
		off cp 3h..9h collection of the feed began later`},
	"one that comes to a plan of more than a week": {[]string{"cb", `
		start 0h
		head 239h`}, "cb,cp", "0h", "240h", `
		start 0h
		head 239h
		backlog 73h11m..239h cp the feed was switched on
		off cp 0h..73h11m collection of the feed began later`},
	"one that comes back within a week": {[]string{"cb", `
		start 0h
		head 9h
		off cp 2h..3h the feed was switched off
		off cp 5h.. the feed is switched off since then`}, "cb,cp", "0h", "10h", `
		start 0h
		head 9h
		backlog 2h..3h cp the feed was switched off
		backlog 5h..9h cp the feed was switched off`},
	"one that comes back after a week": {[]string{"cb", `
		start 0h
		head 239h
		off cp 2h..3h the feed was switched off
		off cp 5h.. the feed is switched off since then`}, "cb,cp", "0h", "240h", `
		start 0h
		head 239h
		backlog 72h11m..239h cp the feed was switched off
		off cp 2h..3h the feed was switched off
		off cp 5h..72h11m the feed was switched off`},
	"one that stays away": {[]string{"cb,mb,md", `
		start 0h
		head 9h
		off cp 0h..1h collection of the feed began later
		off cp 2h..3h the feed was switched off
		off cp 5h.. the feed is switched off since then
		off md 0h..9h collection of the feed began later
		off mb 4h..6h the feed was switched off`}, "cb,md", "0h", "10h", `
		start 0h
		head 9h
		off cp 0h..1h collection of the feed began later
		off md 0h..9h collection of the feed began later
		off cp 2h..3h the feed is switched off since 2026-03-11T10:00:00Z
		off cp 5h.. the feed is switched off since 2026-03-11T10:00:00Z
		off mb 4h..6h the feed is switched off since 2026-03-11T10:00:00Z
		off mb 9h.. the feed is switched off since 2026-03-11T10:00:00Z`},
	"what was not collected three months ago": {[]string{"cb,cp", `
		start 0h
		head 2400h
		off cb 0h..1h collection of the feed began later
		off cp 100h..240h collection of the feed began later
		off cp 2200h..2210h the feed was switched off
		off cp 2210h..2220h the feed was switched off`}, "cb,cp", "0h", "2400h", `
		start 0h
		head 2400h
		off cp 100h..240h collection of the feed began later
		off cp 2200h..2220h the feed was switched off`},
	"other feeds only": {[]string{"cb", `
		start 0h
		head 9h`}, "cp", "4h", "10h30s", `
		start 0h
		head 10h
		backlog 4h..10h cp the feed was switched on
		off cb 9h.. the feed is switched off since 2026-03-11T10:00:30Z
		off cp 0h..4h collection of the feed began later`},
	"other feeds only, and a clock that went back": {[]string{"cb", `
		start 0h
		head 9h`}, "cp", "4h", "8h", `
		start 0h
		head 9h
		backlog 4h..9h cp the feed was switched on
		off cb 9h.. the feed is switched off since 2026-03-11T08:00:00Z
		off cp 0h..4h collection of the feed began later`},
	"no feeds": {[]string{"cb", `
		start 0h
		head 9h
		generation 4`}, "", "0h", "10h", `
		start 0h
		head 9h59m
		off cb 9h.. the feed is switched off since 2026-03-11T10:00:00Z`},
	"two plans of a version before": {[]string{"cb", `
		start 2h
		head 7h
		lag 2m`, "cb,cp", `
		start 3h
		head 8h
		lag 1m
		backlog 4h..5h cb,cp odd
		sweep 35 6h`, "mb", `
		start 1h
		head 9h
		lag 3m
		sweep 35 5h`}, "cb,cp", "0h", "10h", `
		start 1h
		head 8h
		lag 3m0s
		backlog 1h..2h cb it was unread when TAP_FEEDS changed
		backlog 1h..3h cp it was unread when TAP_FEEDS changed
		backlog 4h..5h cp it was unread when TAP_FEEDS changed
		off mb 5h.. the feed is switched off since 2026-03-11T10:00:00Z
		sweep 35 5h`},
}

// TestPlansOfChangedFeeds: what becomes of each thing that a plan lists.
func TestPlansOfChangedFeeds(t *testing.T) {
	t.Parallel()
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var old []plan.Old
			for i := 0; i < len(c.old); i += 2 {
				old = append(old, plan.Old{Set: setOf(c.old[i]), State: readPlan(c.old[i+1])})
			}
			generation := old[0].State.GetGeneration()
			config := config()
			config.Set, config.Start = setOf(c.feeds), at(c.start)
			next := plan.Change(config, old, at(c.now))
			if next.GetGeneration() != generation+1 {
				t.Errorf("generation %d after %d", next.GetGeneration(), generation)
			}
			want(t, planText(next, true), c.want)
		})
	}
}

// TestWhichPlansAreInForce: those of the latest generation, whatever their order.
func TestWhichPlansAreInForce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		generations []string
		want        string
	}{{nil, ""}, {[]string{"0"}, "0"}, {[]string{"0", "0"}, "01"}, {[]string{"0", "1"}, "1"}, {[]string{"1", "0"}, "0"}, {[]string{"1", "2", "1", "2"}, "13"}} {
		var olds []plan.Old
		for i, g := range c.generations {
			olds = append(olds, plan.Old{Set: feed.Set{feed.SIEM()[i]}, State: readPlan("generation " + g)})
		}
		got := ""
		for _, o := range plan.InForce(olds) {
			for i, f := range feed.SIEM() {
				if o.Set[0] == f {
					got += string(rune('0' + i))
				}
			}
		}
		if got != c.want {
			t.Errorf("of %v in force are %q, want %q", c.generations, got, c.want)
		}
	}
}

// TestWhetherAPlanIsOfOtherFeeds: a feed that is off is one that the plan does not read.
func TestWhetherAPlanIsOfOtherFeeds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		set, plan, feeds string
		want             bool
	}{
		{"cb,cp", "", "cb,cp", false},
		{"cb,cp", "", "cb", true},
		{"cb", "", "cb,cp", true},
		{"cb", "", "cp", true},
		{"cb,cp", "off cp 2h.. off", "cb,cp", true},
		{"cb,cp", "off cp 2h.. off", "cb", false},
		{"cb,cp", "off cp 2h..3h off", "cb,cp", false},
		{"cb", "off cp 2h.. off", "cb", false},
	} {
		if got := plan.Changed(plan.Old{Set: setOf(c.set), State: readPlan(c.plan)}, setOf(c.feeds)); got != c.want {
			t.Errorf("of %s with %q: changed to %s is %t", c.set, c.plan, c.feeds, got)
		}
	}
}

// TestAnotherStartTime: an earlier one is read from, as far as it is served, for the feeds that are
// collected.
func TestAnotherStartTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, text, start, plan string
		want                      string
	}{
		"a version before": {"", "3h", "1h", "start 2h\nhead 9h\nbackfill 3h..4h", `
		start 2h
		head 9h
		backfill 3h..4h
		first 4h`},
		"the first start": {"", "3h", "1h", "start 2h\nhead 9h\nbackfill 3h..4h\nfirst 5h", `
		start 2h
		head 9h
		backfill 3h..4h
		first 5h`},
		"the same text": {"3h", "3h", "1h", "start 2h\nhead 9h", `
		start 2h
		head 9h`},
		"the same time": {"3h", "2h", "2h", "start 2h\nhead 9h", `
		start 2h
		head 9h
		note TAP_START_TIME was 3h and is 2h: collection began at 2026-03-11T02:00:00Z already and continues from there`},
		"earlier": {"3h", "2h", "1h1m40s", "start 2h\nhead 9h\noff cp 4h.. off\noff mb 2h..4h off", `
		start 1h1m
		head 9h
		backlog 1h1m..2h cb,mb TAP_START_TIME is earlier now
		off cp 4h.. off
		off mb 2h..4h off
		off cp 1h1m..2h collection of the feed began later
		note TAP_START_TIME was 3h and is 2h: what is before 2026-03-11T02:00:00Z is read, too`},
		"too early": {"3h", "2h", "-1000h", "start 2h\nhead 9h", `
		start -157h49m
		head 9h
		backlog -157h49m..2h cb,mb TAP_START_TIME is earlier now
		note TAP_START_TIME was 3h and is 2h: what is before 2026-03-11T02:00:00Z is read, too`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := readPlan(c.plan)
			s.StartTime = c.before
			config := config()
			config.Start, config.Set = at(c.start), setOf("cb,mb")
			note := plan.Begin(config, s, c.text, at("10h"))
			if s.GetStartTime() != c.text {
				t.Errorf("the start time is noted as %q", s.GetStartTime())
			}
			lines := planText(s, false)
			if note != "" {
				lines = append(lines, "note "+note)
			}
			want(t, lines, c.want)
		})
	}
}
