package torture

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapsim"
)

var noon = time.Date(2026, 3, 11, 12, 0, 0, 0, time.UTC)

// healthy is what is said of a world in which everything up to noon is read, and up to eleven
// sealed.
func healthy() *said {
	s := &said{at: noon, exits: map[string]int{"gaps": 0, "verify": 0, "status": 0}, probes: map[string]int{"fetcher-0 /livez": 200, "fetcher-0 /readyz": 200}}
	for _, f := range feed.SIEM() {
		s.status.Feeds = append(s.status.Feeds, saidFeed{Feed: f, Read: noon, Confirmed: noon, Sealed: noon.Add(-time.Hour)})
	}
	return s
}

// at is a record of a moment before noon that became visible after a while.
func at(before, lag time.Duration) tapsim.Truth {
	created := noon.Add(-before)
	return tapsim.Truth{Feed: feed.ClicksBlocked, Key: "id:x", Created: created, Visible: created.Add(lag)}
}

func TestLies(t *testing.T) {
	t.Parallel()
	gapOf := func(before time.Duration, state string) saidGap {
		return saidGap{Feed: feed.ClicksBlocked, From: noon.Add(-before), To: noon.Add(-before + time.Minute), State: state}
	}
	for name, c := range map[string]struct {
		change func(*said, *facts)
		want   string // "" for no lie
	}{
		"nothing is missing":  {func(*said, *facts) {}, ""},
		"calm":                {func(_ *said, f *facts) { f.calm = true }, ""},
		"missing, and silent": {func(_ *said, f *facts) { f.missing = append(f.missing, at(30*time.Minute, time.Second)) }, "is confirmed up to"},
		"missing, of backfill": {func(_ *said, f *facts) {
			f.missing, f.began = append(f.missing, at(30*time.Minute, time.Second)), noon
		}, "1 records are missing that were visible, 0 are on their way"},
		"on its way": {func(s *said, f *facts) {
			f.missing, f.began, s.report.Pending = append(f.missing, at(30*time.Minute, time.Second)), noon, 1
		}, ""},
		"waiting": {func(s *said, f *facts) {
			f.missing, s.gaps = append(f.missing, at(30*time.Minute, time.Second)), append(s.gaps, gapOf(30*time.Minute, "waiting"))
		}, ""},
		"unproven, as status says": {func(s *said, f *facts) {
			f.missing = append(f.missing, at(30*time.Minute, time.Second))
			s.status.Unproven = []saidUnproven{{[]feed.Feed{feed.ClicksBlocked}, noon.Add(-31 * time.Minute), noon.Add(-29 * time.Minute)}}
		}, ""},
		"another feed is unproven": {func(s *said, f *facts) {
			f.missing = append(f.missing, at(30*time.Minute, time.Second))
			s.status.Unproven = []saidUnproven{{[]feed.Feed{feed.ClicksPermitted}, noon.Add(-31 * time.Minute), noon.Add(-29 * time.Minute)}}
		}, "is confirmed up to"},
		"another minute waits": {func(s *said, f *facts) {
			f.missing, s.gaps = append(f.missing, at(30*time.Minute, time.Second)), append(s.gaps, gapOf(31*time.Minute, "waiting"))
		}, "is confirmed up to"},
		"behind the head":       {func(_ *said, f *facts) { f.missing = append(f.missing, at(-time.Minute, 0)) }, ""},
		"late, and not sealed":  {func(_ *said, f *facts) { f.missing = append(f.missing, at(30*time.Minute, 20*time.Minute)) }, ""},
		"late, and sealed":      {func(_ *said, f *facts) { f.missing = append(f.missing, at(90*time.Minute, 20*time.Minute)) }, "1 records are missing"},
		"lost":                  {func(s *said, _ *facts) { s.gaps = append(s.gaps, gapOf(time.Hour, "lost")) }, "lost: clicksBlocked"},
		"lost, of a damaged":    {func(s *said, f *facts) { s.gaps, f.damaged = append(s.gaps, gapOf(time.Hour, "lost")), true }, ""},
		"an alarm that is lost": {func(s *said, _ *facts) { s.status.Alarms = append(s.status.Alarms, saidAlarm{Name: "lost"}) }, "alarm lost"},
		"verify contradicts itself": {func(s *said, _ *facts) {
			s.report.Gaps = append(s.report.Gaps, gapOf(time.Hour, "missing"))
		}, "verify ends with 0 and names"},
		"an alarm in calm":      {func(s *said, f *facts) { s.status.Alarms, f.calm = []saidAlarm{{Name: "freshness"}}, true }, "alarm freshness"},
		"unready in calm":       {func(s *said, f *facts) { s.probes["fetcher-0 /readyz"], f.calm = 503, true }, "fetcher-0 /readyz answers 503"},
		"a status of 3 in calm": {func(s *said, f *facts) { s.exits["status"], f.calm = 3, true }, "tapctl status ends with 3"},
		"dead letters in calm":  {func(_ *said, f *facts) { f.dead, f.calm = 2, true }, "2 dead letters"},
		"a siege that is not told": {func(s *said, f *facts) {
			f.siege, s.exits["status"] = &siege{name: "x", alarms: []alarm.Name{alarm.Sink}}, 3
		}, "none of the alarms [sink]"},
		"a siege with status 0": {func(s *said, f *facts) {
			f.siege, s.status.Alarms = &siege{name: "x", alarms: []alarm.Name{alarm.Sink}}, []saidAlarm{{Name: "sink"}}
		}, "status ends with 0"},
		"a siege that is told": {func(s *said, f *facts) {
			f.siege, s.status.Alarms, s.exits["status"] = &siege{name: "x", alarms: []alarm.Name{alarm.Sink}}, []saidAlarm{{Name: "sink"}}, 3
		}, ""},
		"dead in a siege":  {func(s *said, f *facts) { f.siege, s.probes["fetcher-0 /livez"] = &siege{name: "x"}, 503 }, "fetcher-0 /livez answers 503"},
		"ready without it": {func(_ *said, f *facts) { f.siege = &siege{name: "no bus", unready: true} }, "fetcher-0 /readyz answers 200 while no bus"},
	} {
		s, f := healthy(), &facts{began: noon.Add(-2 * time.Hour), lag: indexLag}
		c.change(s, f)
		switch lies := s.lies(f); {
		case c.want == "" && len(lies) > 0:
			t.Errorf("%s: %q", name, lies)
		case c.want != "" && !slices.ContainsFunc(lies, func(text string) bool { return strings.Contains(text, c.want) }):
			t.Errorf("%s: %q has no %q", name, lies, c.want)
		}
	}
}

// TestWhatPlansName: every oddity and siege of a plan is there, and they are all drawn.
func TestWhatPlansName(t *testing.T) {
	t.Parallel()
	drawn := make(map[string]bool)
	for seed := range uint64(64) {
		for _, a := range NewPlan(seed, 10*time.Minute).Actions {
			switch a.Verb {
			case tap, poison:
				drawn[a.Arg] = true
			case besiege:
				drawn[a.Target] = true
			}
		}
	}
	for _, name := range append(siegeNames(), oddities()...) {
		if !drawn[name] {
			t.Errorf("%s is never drawn", name)
		}
	}
	for name := range odd {
		for _, f := range oddity(name, time.Second) {
			sim, err := tapsim.New(tapsim.Config{Factor: 1, Threats: 1, Campaigns: 1})
			if err != nil {
				t.Fatal(err)
			}
			if err := sim.Inject(f); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestRowsAreNamed: reports and people are told apart from what they are about.
func TestRowsAreNamed(t *testing.T) {
	t.Parallel()
	found := 0
	for _, c := range []struct {
		h    head
		f    feed.Feed
		want string
	}{
		{head{ID: "t1"}, feed.Threats, "threats id:t1"},
		{head{ID: "t1", Found: &found}, feed.Threats, "report threats id:t1"},
		{head{List: "people-vap", Window: 14}, feed.PeopleVAP, person("people-vap", 14, "")},
	} {
		if got := c.h.derived(c.f); got != c.want {
			t.Errorf("%+v is %q, want %q", c.h, got, c.want)
		}
	}
}

// TestAProcessThatCallsItselfDead is a lie when it continues.
func TestAProcessThatCallsItselfDead(t *testing.T) {
	t.Parallel()
	k := &witness{stuck: make(map[string]time.Time)}
	look := func(after time.Duration, status int) int {
		s := &said{asked: noon.Add(after), probes: map[string]int{"fetcher-0 /readyz": 503}}
		if status != 0 {
			s.probes["fetcher-0 /livez"] = status
		}
		return len(k.standstill(s))
	}
	for i, c := range []struct {
		after        time.Duration
		status, lies int
	}{
		{0, 503, 0}, {40 * time.Second, 503, 0}, {50 * time.Second, 503, 1}, {55 * time.Second, 200, 0}, {60 * time.Second, 503, 0}, {2 * time.Minute, 0, 0}, {3 * time.Minute, 503, 0},
	} {
		if n := look(c.after, c.status); n != c.lies {
			t.Errorf("look %d: %d lies", i, n)
		}
	}
}

// TestNegativeSumsAreNoPanic: what is on its way may be counted below zero.
func TestNegativeSumsAreNoPanic(t *testing.T) {
	t.Parallel()
	s := healthy()
	s.report.Pending = -3
	if lies := s.lies(&facts{began: noon.Add(-2 * time.Hour), lag: indexLag}); len(lies) > 0 {
		t.Errorf("%q", lies)
	}
}
