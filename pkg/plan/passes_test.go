package plan_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/plan"
)

// TestSweepsInTheirTurn: what is due first comes first, two at a time.
func TestSweepsInTheirTurn(t *testing.T) {
	t.Parallel()
	play(t, map[string]scene{
		"one of each pass": {"100h35m", "first 1h\nhead 100h\nsweep 35 99h\nsweep 360 93h\nsweep 1440 75h30m", "", `
		-sweep 360 93h
		-sweep 1440 75h30m
		+job sweep 360 93h..94h cb,cp
		+job sweep 1440 75h30m..76h cb,cp
		+sweep 360 94h
		+sweep 1440 76h`},
		"one waits": {"100h", known + "extra 35 90h..91h cb\nextra 35 89h..90h cb\njob sweep 35 80h..81h cb", "", `
		-extra 35 89h..90h cb
		+job sweep 35 89h..90h cb`},
		"two wait": {"100h", known + "extra 35 90h..91h cb\njob sweep 35 80h..81h cb\njob sweep 35 81h..82h cb", "", ``},
		"one waits for its time": {"100h", known + "extra 35 90h..91h cb\njob sweep 35 80h..81h cb\njob sweep 360 93h30m..94h1m cb", "", `
		-extra 35 90h..91h cb
		+job sweep 35 90h..91h cb`},
		"one whose margin is not over": {"100h", known + "extra 35 90h..91h cb\njob sweep 35 80h..81h cb\njob sweep 0 99h..100h cb", "", ``},
		"extras": {"100h", known + "extra 35 90h..91h cb\nextra 1440 70h..71h cb,cp\nextra 1440 60h..61h cp", "", `
		-extra 35 90h..91h cb
		-extra 1440 60h..61h cp
		+job sweep 1440 60h..61h cp
		+job sweep 35 90h..91h cb`},
		"an extra that is not due": {"100h", known + "extra 1440 75h..76h0m1s cb", "", ``},
		"an extra that is due": {"100h", known + "extra 1440 75h..76h cb", "", `
		-extra 1440 75h..76h cb
		+job sweep 1440 75h..76h cb`},
		"an extra that is in work": {"100h", known + "extra 35 90h..91h cb\njob backfill 0 90h30m..91h30m cb", "", ``},
		"an extra in backfill":     {"100h", known + "extra 35 90h..91h cb\nbackfill 90h30m..91h30m", "", ``},
		"an extra that is aside":   {"100h", known + "extra 35 90h..91h cb\naside backfill 0 90h30m..91h30m cb retry=101h", "", ``},
		"an extra in a backlog":    {"100h", known + "extra 35 90h..91h cb\nbacklog 90h30m..91h30m cb odd", "", ``},
		"an extra of another feed": {"100h", known + "extra 35 90h..91h cb\nbacklog 90h30m..91h30m cp odd", "", `
		-extra 35 90h..91h cb
		+job sweep 35 90h..91h cb`},
	}, func(_ *plan.Config, in *plan.Input) { in.NoBackfill = true })
	for name, left := range map[string]int{"without a unit": 0, "with the last": 1} {
		wants := map[string]string{"without a unit": ``, "with the last": `
			-extra 35 90h..91h cb
			+job sweep 35 90h..91h cb`}
		play(t, map[string]scene{name: {"100h", known + "extra 35 90h..91h cb\nextra 35 91h..92h cb", "", wants[name]}}, func(_ *plan.Config, in *plan.Input) {
			in.NoBackfill, in.Supply = true, supply(1000, left)
		})
	}
}

// TestChangedPasses: what waited for the last sweep waits for the new one, or for none.
func TestChangedPasses(t *testing.T) {
	t.Parallel()
	const all = "first 1h\nhead 99h30m\nsweep 35 99h\nsweep 360 94h\nsweep 1440 76h\nextra 1440 80h..81h cb\nextra 2880 60h..61h cb\nextra 360 98h..99h cb\n" +
		"job sweep 1440 75h..76h cb,cp\njob sweep 360 94h..95h cb\naside sweep 1440 74h..75h cb retry=101h\nbacklog 78h..79h cp odd\n"
	for name, c := range map[string]struct {
		start string
		ages  plan.Ages
		want  string
	}{
		"the last one goes": {"0h", plan.Ages{35 * time.Minute, 6 * time.Hour}, `
		-sweep 1440 76h
		sealed 76h..94h cb the sweep after 1440 minutes was switched off
		sealed 76h..78h cp the sweep after 1440 minutes was switched off
		sealed 79h..94h cp the sweep after 1440 minutes was switched off`},
		"all go": {"0h", nil, `
		-sweep 35 99h
		-sweep 360 94h
		-sweep 1440 76h
		sealed 99h..99h30m cb the sweep after 35 minutes was switched off
		sealed 99h..99h30m cp the sweep after 35 minutes was switched off
		sealed 94h..99h30m cb the sweep after 360 minutes was switched off
		sealed 94h..99h30m cp the sweep after 360 minutes was switched off
		sealed 76h..99h30m cb the sweep after 1440 minutes was switched off
		sealed 76h..78h cp the sweep after 1440 minutes was switched off
		sealed 79h..99h30m cp the sweep after 1440 minutes was switched off`},
		"a later one comes": {"0h", plan.Ages{35 * time.Minute, 6 * time.Hour, day, 2 * day}, `
		-extra 1440 80h..81h cb
		+extra 2880 80h..81h cb
		+extra 2880 75h..76h cb,cp
		+extra 2880 74h..75h cb
		+sweep 2880 52h`},
		"a later one replaces it": {"0h", plan.Ages{35 * time.Minute, 2 * day}, `
		-extra 1440 80h..81h cb
		-sweep 360 94h
		-sweep 1440 76h
		+extra 2880 80h..81h cb
		+extra 2880 75h..76h cb,cp
		+extra 2880 74h..75h cb
		+sweep 2880 52h`},
		"one comes between": {"0h", plan.Ages{35 * time.Minute, 6 * time.Hour, 12 * time.Hour, day}, `
		+sweep 720 88h`},
		"one comes, and the start is late": {"95h", plan.Ages{35 * time.Minute, 6 * time.Hour, 12 * time.Hour, day}, `
		+sweep 720 95h`},
	} {
		play(t, map[string]scene{name: {"100h", "start " + c.start + "\n" + all, "", c.want}}, func(config *plan.Config, in *plan.Input) {
			config.Sweeps, in.NoBackfill, in.NoLive = c.ages, true, true
		})
	}
	play(t, map[string]scene{"the first ones": {"100h20m", "start 70h\nhead 100h", "", "+sweep 35 99h\n+sweep 360 94h\n+sweep 1440 76h"}}, func(_ *plan.Config, in *plan.Input) { in.NoLive = true })
}

// TestLateLiveWindowsNeedNoSweep of an age that they have.
func TestLateLiveWindowsNeedNoSweep(t *testing.T) {
	t.Parallel()
	const passes = "\nsweep 35 60h\nsweep 360 60h\nsweep 1440 60h"
	play(t, map[string]scene{
		"of a minute": {"100h1m10s", "first 1h\nhead 99h" + passes, "", `
		-head 99h
		-sweep 35 60h
		+head 100h
		+job live 0 99h..100h cb,cp
		+job sweep 35 60h..61h cb,cp
		+job sweep 35 61h..62h cb,cp
		+sweep 35 62h`},
		"half an hour late": {"100h34m59s", "first 1h\nhead 99h\nlag 34m54s" + passes, "", `
		-head 99h
		-lag 34m54s
		-sweep 35 60h
		+head 100h
		+lag 26m10.5s
		+job live 0 99h..100h cb,cp
		+job sweep 35 60h..61h cb,cp
		+job sweep 35 61h..62h cb,cp
		+sweep 35 62h`},
		"35 minutes late": {"101h35m", "first 1h\nhead 99h\njob live 0 98h..99h cb,cp" + passes, "", `
		-head 99h
		-sweep 35 60h
		+head 100h
		+job live 0 99h..100h cb,cp
		+job sweep 35 60h..61h cb,cp
		+job sweep 35 61h..62h cb,cp
		+sweep 35 62h skip=99h..100h`},
		"two at once, a day late": {"125h", "first 1h\nhead 99h" + passes, "", `
		-head 99h
		-sweep 35 60h
		-sweep 360 60h
		-sweep 1440 60h
		+head 101h
		+job live 0 99h..100h cb,cp
		+job live 0 100h..101h cb,cp
		+job sweep 35 60h..61h cb,cp
		+job sweep 35 61h..62h cb,cp
		+sweep 35 62h skip=99h..101h
		+sweep 360 60h skip=99h..101h
		+sweep 1440 60h skip=99h..101h`},
	}, func(_ *plan.Config, in *plan.Input) { in.NoBackfill, in.Supply = true, supply(0, 0) })
}

// TestWhereALiveWindowBegins: some minutes before the head, but not in what is not known to be
// read.
func TestWhereALiveWindowBegins(t *testing.T) {
	t.Parallel()
	const head = known + "head 99h30m\n"
	play(t, map[string]scene{
		"some minutes before": {"99h40m5s", head, "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h25m..99h40m cb,cp overlap=5m0s`},
		"it is as old as served": {"267h10m10s", known + "head 99h30m\nsweep 35 266h\nsweep 360 261h\nsweep 1440 242h", "", `
		-head 99h30m
		-sweep 35 99h
		-sweep 360 94h
		-sweep 1440 76h
		+head 101h30m
		+job live 0 99h30m..100h30m cb,cp
		+job live 0 100h30m..101h30m cb,cp
		+sweep 35 99h21m skip=99h30m..101h30m
		+sweep 360 99h21m skip=99h30m..101h30m
		+sweep 1440 99h21m skip=99h30m..101h30m
		lost 76h..99h21m cb it was read, but its last sweep did not take place in time: it was due since 2026-03-16T03:21:00Z
		lost 76h..99h21m cp it was read, but its last sweep did not take place in time: it was due since 2026-03-16T03:21:00Z`},
		"most of an hour": {"100h28m5s", head, "", `
		-head 99h30m
		+head 100h28m
		+job live 0 99h28m..100h28m cb,cp overlap=2m0s`},
		"more than an hour": {"102h", head + "head 100h", "", `
		-head 100h
		-sweep 35 99h
		-sweep 360 94h
		+head 101h59m
		+job live 0 100h..101h cb,cp
		+job live 0 101h..101h59m cb,cp
		+job sweep 35 99h..100h cb,cp
		+job sweep 360 94h..95h cb,cp
		+sweep 35 101h
		+sweep 360 95h`},
		"in work": {"99h40m5s", head + "job live 0 99h..99h28m cb,cp", "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h28m..99h40m cb,cp overlap=2m0s`},
		"in work of one feed": {"99h40m5s", head + "job live 0 99h..99h28m cp", "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h28m..99h40m cb,cp overlap=2m0s`},
		"in backfill": {"99h40m5s", head + "backfill 99h..99h27m", "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h27m..99h40m cb,cp overlap=3m0s`},
		"in a backlog": {"99h40m5s", head + "backlog 99h..99h26m cp odd", "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h26m..99h40m cb,cp overlap=4m0s`},
		"in one aside": {"99h40m5s", head + "aside live 0 99h..99h29m cp retry=102h", "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h29m..99h40m cb,cp overlap=1m0s`},
		"work to come": {"99h40m5s", head + "job sweep 35 99h41m..99h42m cb,cp", "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h25m..99h40m cb,cp overlap=5m0s`},
		"work before it": {"99h40m5s", head + "job live 0 99h..99h25m cb,cp", "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h25m..99h40m cb,cp overlap=5m0s`},
		"all of it in work": {"99h40m5s", head + "job live 0 99h..99h30m cb,cp", "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h30m..99h40m cb,cp`},
		"in work beyond the head": {"99h40m5s", head + "job sweep 35 99h10m..99h35m cb,cp", "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h30m..99h40m cb,cp`},
		"of the start": {"99h40m5s", "start 99h28m\n" + head, "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h28m..99h40m cb,cp overlap=2m0s`},
		"in seconds": {"99h30m45s", head + "head 99h29m30s", "", `
		-head 99h29m30s
		+head 99h30m40s
		+job live 0 99h24m30s..99h30m40s cb,cp overlap=5m0s`},
		"less than the cadence": {"99h30m45s", head + "head 99h29m41s", "", ``},
		"on the minute": {"99h30m45s", head + "head 99h29m", "", `
		-head 99h29m
		+head 99h30m
		+job live 0 99h24m..99h30m cb,cp overlap=5m0s`},
		"two wait": {"99h40m5s", head + "job live 0 98h..98h10m cb\njob live 0 98h10m..98h20m cb", "", ``},
		"one waits": {"99h40m5s", head + "job live 0 98h..98h10m cb", "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h25m..99h40m cb,cp overlap=5m0s`},
		"one to come": {"99h40m5s", head + "job live 0 98h..98h10m cb\njob live 0 99h39m..99h40m6s cb", "", `
		-head 99h30m
		+head 99h40m
		+job live 0 99h30m..99h40m cb,cp`},
	}, func(c *plan.Config, in *plan.Input) { in.NoBackfill, c.Poll = true, time.Minute })
}

// TestLiveWindowsWithoutUnits grow to an hour instead of waiting for them.
func TestLiveWindowsWithoutUnits(t *testing.T) {
	t.Parallel()
	play(t, map[string]scene{
		"less than an hour": {"100h30m", known + "head 99h31m", "", ``},
		"an hour": {"100h30m5s", known + "head 99h30m", "", `
		-head 99h30m
		+head 100h30m
		+job live 0 99h30m..100h30m cb,cp`},
	}, func(c *plan.Config, in *plan.Input) {
		in.NoBackfill, in.Supply, c.Poll = true, supply(10, 0), time.Minute
	})
}

// TestSettingsThatAreRefused: each with the variable and what it wants.
func TestSettingsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		settings plan.Settings
		ok       bool
	}{
		{plan.Settings{}, true},
		{plan.Settings{Margin: -1}, false},
		{plan.Settings{Margin: time.Hour}, true},
		{plan.Settings{Margin: time.Hour + 1}, false},
		{plan.Settings{Overlap: -1}, false},
		{plan.Settings{Overlap: 45 * time.Minute}, true},
		{plan.Settings{Overlap: 45*time.Minute + 1}, false},
		{plan.Settings{Sweeps: plan.Ages{time.Minute}}, true},
		{plan.Settings{Sweeps: plan.Ages{59 * time.Second}}, false},
		{plan.Settings{Sweeps: plan.Ages{90 * time.Second}}, false},
		{plan.Settings{Sweeps: plan.Ages{166 * time.Hour}}, true},
		{plan.Settings{Sweeps: plan.Ages{166*time.Hour + time.Minute}}, false},
		{plan.Settings{Sweeps: plan.Ages{time.Hour, 2 * time.Hour}}, true},
		{plan.Settings{Sweeps: plan.Ages{time.Hour, time.Hour}}, false},
		{plan.Settings{Sweeps: plan.Ages{2 * time.Hour, time.Hour}}, false},
	} {
		if err := c.settings.Validate(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.settings, err)
		}
	}
}
