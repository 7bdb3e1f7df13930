package plan_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// known is calm, long after the first reading.
const known = "first 1h\n" + calm

// TestWhatFollowsFromAReading: a sweep later, a seal, or a remainder that is set aside.
func TestWhatFollowsFromAReading(t *testing.T) {
	t.Parallel()
	play(t, map[string]scene{
		"the first one of all": {"100h", calm + "job live 0 99h..99h30m cb,cp", "99h..99h30m fetched read=100h", `
		-job live 0 99h..99h30m cb,cp
		+first 100h`},
		"a live window": {"100h", known + "job live 0 99h..99h30m cb,cp", "99h..99h30m fetched read=100h found=3", `
		-job live 0 99h..99h30m cb,cp`},
		"a sweep before the last": {"100h", known + "job sweep 360 93h..94h cb,cp", "93h..94h fetched read=100h found=3", `
		-job sweep 360 93h..94h cb,cp`},
		"the last sweep finds nothing": {"100h", known + "job sweep 1440 75h..76h cb,cp", "75h..76h fetched read=100h", `
		-job sweep 1440 75h..76h cb,cp
		sealed 75h..76h cb,cp the last sweep found nothing`},
		"the last sweep finds something": {"100h", known + "job sweep 1440 75h..76h cb,cp", "75h..76h fetched read=100h found=1", `
		-job sweep 1440 75h..76h cb,cp
		+extra 2880 75h..76h cb,cp`},
		"a repeated sweep finds something": {"100h", known + "job sweep 2880 50h..51h cb,cp", "50h..51h fetched read=100h found=1", `
		-job sweep 2880 50h..51h cb,cp
		+extra 4320 50h..51h cb,cp`},
		"the last repetition of a sweep": {"100h", known + "job sweep 8640 -50h..-49h cb,cp", "-50h..-49h fetched read=100h found=2", `
		-job sweep 8640 -50h..-49h cb,cp
		sealed -50h..-49h cb,cp the last sweep found 2 records; Proofpoint does not serve it again`},
		"one before the last repetition": {"100h", known + "job sweep 7200 -46h..-45h cb,cp", "-46h..-45h fetched read=100h found=2", `
		-job sweep 7200 -46h..-45h cb,cp
		+job sweep 8640 -46h..-45h cb,cp`},
		"a pass has skipped it": {"100h", known + "job backfill 0 91h..92h cb,cp", "91h..92h fetched read=98h", `
		-job backfill 0 91h..92h cb,cp`},
		"a pass skips it, and it is young": {"100h", known + "job backfill 0 91h..92h cb,cp", "91h..92h fetched read=97h59m59s", `
		-job backfill 0 91h..92h cb,cp
		+job sweep 360 91h..92h cb,cp`},
		"the last pass has skipped it": {"100h", known + "job backfill 0 71h..72h cb,cp", "71h..72h fetched read=96h", `
		-job backfill 0 71h..72h cb,cp
		sealed 71h..72h cb,cp its first reading was later than any sweep`},
		"a part of it, to be exact": {"100h", known + "job backfill 0 75h30m..76h30m cb,cp overlap=5m", "75h30m..76h30m fetched read=100h30m", `
		-job backfill 0 75h30m..76h30m cb,cp overlap=5m0s
		sealed 75h35m..76h cb,cp its first reading was later than any sweep`},
		"and it will skip another part": {"100h", "first 1h\nhead 99h30m\nsweep 35 99h\nsweep 360 94h\nsweep 1440 76h skip=76h20m..76h25m\njob backfill 0 75h30m..76h30m cb,cp", "75h30m..76h30m fetched read=101h", `
		-job backfill 0 75h30m..76h30m cb,cp
		sealed 75h30m..76h cb,cp its first reading was later than any sweep
		sealed 76h20m..76h25m cb,cp its first reading was later than any sweep`},
		"read in part": {"100h", known + "job live 0 98h30m..99h30m cb,cp overlap=5m", "98h30m..99h30m fetched read=100h end=99h", `
		-job live 0 98h30m..99h30m cb,cp overlap=5m0s
		+aside live 0 99h..99h30m cb,cp since=100h retry=100h1m an answer proved the window read up to 2026-03-15T03:00:00Z only`},
		"read but for the last seconds": {"100h", known + "job live 0 98h30m..99h30m cb,cp overlap=5m", "98h30m..99h30m fetched read=100h end=99h29m50s", `
		-job live 0 98h30m..99h30m cb,cp overlap=5m0s
		+aside live 0 99h29m30s..99h30m cb,cp overlap=20s since=100h retry=100h1m an answer proved the window read up to 2026-03-15T03:29:50Z only
		+extra 35 98h35m..99h29m50s cb,cp`},
		"read in the overlap only": {"100h", known + "job live 0 98h30m..99h30m cb,cp overlap=5m", "98h30m..99h30m fetched read=100h end=98h35m", `
		-job live 0 98h30m..99h30m cb,cp overlap=5m0s
		+aside live 0 98h35m..99h30m cb,cp failures=3 since=100h retry=100h1m an answer proved the window read up to 2026-03-15T02:35:00Z only`},
		"read beyond the end": {"100h", known + "job live 0 98h30m..99h30m cb,cp", "98h30m..99h30m fetched read=100h end=99h31m", `
		-job live 0 98h30m..99h30m cb,cp
		+extra 35 98h30m..99h30m cb,cp`},
		"a second too few": {"100h", known + "job live 0 98h30m..99h30m cb,cp", "98h30m..99h30m fetched read=100h end=99h29m59s900ms", `
		-job live 0 98h30m..99h30m cb,cp
		+aside live 0 99h29m30s..99h30m cb,cp overlap=29s since=100h retry=100h1m an answer proved the window read up to 2026-03-15T03:29:59Z only
		+extra 35 98h30m..99h29m59s cb,cp`},
		"one aside in part": {"100h", known + "aside backfill 7 98h30m..99h30m cb failures=4 since=99h30m retry=101h odd", "98h30m..99h30m fetched read=100h end=99h", `
		-aside backfill 7 98h30m..99h30m cb failures=4 since=99h30m retry=101h odd
		+aside backfill 7 99h..99h30m cb failures=5 since=99h30m retry=100h4m an answer proved the window read up to 2026-03-15T03:00:00Z only`},
		"one aside, nothing of it": {"100h", known + "aside backfill 7 98h30m..99h30m cb failures=1 since=99h30m retry=101h odd", "98h30m..99h30m fetched read=100h end=98h30m", `
		-aside backfill 7 98h30m..99h30m cb failures=1 since=99h30m retry=101h odd
		+aside backfill 30 98h30m..99h30m cb failures=3 since=99h30m retry=100h1m an answer proved the window read up to 2026-03-15T02:30:00Z only`},
		"a sweep in part": {"100h", known + "job sweep 1440 75h..76h cb,cp", "75h..76h fetched read=100h end=75h30m", `
		-job sweep 1440 75h..76h cb,cp
		+aside sweep 1440 75h30m..76h cb,cp since=100h retry=100h1m an answer proved the window read up to 2026-03-14T03:30:00Z only
		sealed 75h..75h30m cb,cp the last sweep found nothing`},
		"in part, and what is left is young": {"99h31m", known + "job live 0 98h30m..99h30m cb,cp", "98h30m..99h30m fetched read=99h31m end=99h lag=20m", `
		-job live 0 98h30m..99h30m cb,cp
		+lag 20m0s
		+aside live 0 99h..99h30m cb,cp since=99h31m retry=99h50m5s an answer proved the window read up to 2026-03-15T03:00:00Z only
		+extra 35 98h30m..99h cb,cp`},
		"the lag is over": {"100h", known + "lag 31m\njob live 0 99h..99h30m cb,cp", "99h..99h30m fetched read=99h45m", `
		-lag 31m0s
		-job live 0 99h..99h30m cb,cp
		+lag 15m0s`},
		"the lag is as before": {"99h50m", known + "lag 15m\njob live 0 99h..99h30m cb,cp", "99h..99h30m fetched read=99h45m", `
		-job live 0 99h..99h30m cb,cp`},
		"what is old says nothing of it": {"99h50m", known + "lag 15m\naside live 0 98h..99h cb offered=true since=99h retry=99h", "98h..99h unproven failures=4 lag=3h odd", `
		-aside live 0 98h..99h cb offered=true since=99h retry=99h
		+aside live 0 98h..99h cb failures=4 since=99h retry=100h50m odd`},
		"a quarter less after half an hour": {"100h", known + "lag 40m", "", `
		-lag 40m0s
		+lag 30m0s`},
		"not yet": {"99h59m59s", known + "lag 40m", "", ``},
		"until it is nothing": {"100h", known + "lag 6s", "", `
		-lag 6s`},
		"a lag of hours": {"100h", known + "job live 0 99h..99h30m cb,cp", "99h..99h30m unproven failures=3 lag=3h odd", `
		-job live 0 99h..99h30m cb,cp
		+lag 1h0m0s
		+aside live 0 99h..99h30m cb,cp failures=3 since=100h retry=101h odd`},
		"in vain": {"100h", known + "job live 0 99h..99h30m cb,cp", "99h..99h30m unproven failures=3 odd", `
		-job live 0 99h..99h30m cb,cp
		+aside live 0 99h..99h30m cb,cp failures=3 since=100h retry=100h1m odd`},
		"in vain once more": {"100h", known + "aside live 0 99h..99h30m cb,cp offered=true failures=3 since=99h40m retry=99h50m odd", "99h..99h30m unproven failures=4 worse", `
		-aside live 0 99h..99h30m cb,cp offered=true failures=3 since=99h40m retry=99h50m odd
		+aside live 0 99h..99h30m cb,cp failures=4 since=99h40m retry=100h2m worse`},
		"in vain as it was": {"100h", known + "aside live 0 99h..99h30m cb,cp offered=true failures=3 since=99h40m retry=101h odd", "99h..99h30m unproven failures=3 odd", ``},
		"in vain for the tenth time": {"100h", known + "job live 0 99h..99h30m cb,cp", "99h..99h30m unproven failures=10 odd", `
		-job live 0 99h..99h30m cb,cp
		+aside live 0 99h..99h30m cb,cp failures=10 since=100h retry=101h odd`},
		"in vain, and not served yet": {"100h", known + "job live 0 99h..99h30m cb,cp", "99h..99h30m unproven failures=3 lag=50m odd", `
		-job live 0 99h..99h30m cb,cp
		+lag 50m0s
		+aside live 0 99h..99h30m cb,cp failures=3 since=100h retry=100h20m odd`},
		"cut, and it was sealed": {"100h", known + "job live 0 99h..99h30m cb,cp", "99h..99h30m sealed odd", `
		-job live 0 99h..99h30m cb,cp
		+aside backfill 30 99h..99h30m cb,cp since=100h retry=101h odd`},
		"cut without its overlap": {"100h", known + "job live 0 99h..99h30m cb,cp overlap=5m", "99h..99h30m split", `
		-job live 0 99h..99h30m cb,cp overlap=5m0s
		+job live 0 99h5m..99h30m cb,cp`},
		"cut, and it is nearly overlap": {"100h", known + "job live 0 99h..99h30m cb,cp overlap=29m40s", "99h..99h30m split", `
		-job live 0 99h..99h30m cb,cp overlap=29m40s
		+job live 0 99h..99h30m cb overlap=29m40s
		+job live 0 99h..99h30m cp overlap=29m40s`},
		"cut in halves": {"100h", known + "job live 0 99h..99h30m cb,cp", "99h..99h30m split", `
		-job live 0 99h..99h30m cb,cp
		+job live 0 99h..99h15m cb,cp
		+job live 0 99h15m..99h30m cb,cp`},
		"cut by feeds": {"100h", known + "job sweep 360 99h..99h0m50s cb,cp", "99h..99h0m50s split", `
		-job sweep 360 99h..99h0m50s cb,cp
		+job sweep 360 99h..99h0m50s cb
		+job sweep 360 99h..99h0m50s cp`},
		"that cannot be cut": {"100h", known + "job live 0 99h..99h0m50s cb", "99h..99h0m50s split", `
		-job live 0 99h..99h0m50s cb
		+job backfill 59 99h..99h0m50s cb`},
		"a sweep that cannot be cut": {"100h", known + "job sweep 360 93h..93h0m50s cb", "93h..93h0m50s split", `
		-job sweep 360 93h..93h0m50s cb
		+job sweep 361 93h..93h0m50s cb`},
		"one aside is cut": {"100h", known + "aside backfill 7 99h..99h30m cb failures=4 since=99h40m retry=101h odd", "99h..99h30m split", `
		-aside backfill 7 99h..99h30m cb failures=4 since=99h40m retry=101h odd
		+aside backfill 7 99h..99h15m cb offered=true failures=4 since=99h40m retry=100h odd
		+aside backfill 7 99h15m..99h30m cb offered=true failures=4 since=99h40m retry=100h odd`},
	}, func(_ *plan.Config, in *plan.Input) { in.NoBackfill = true })
}

// TestWhatIsOffered of the windows that were set aside: two, the longest due first.
func TestWhatIsOffered(t *testing.T) {
	t.Parallel()
	const three = "aside live 0 97h..98h cb retry=99h50m\naside live 0 96h..97h cb retry=99h40m\naside live 0 95h..96h cb failures=4 retry=99h45m\n"
	scenes := map[string]scene{
		"two of three": {"100h", known + three, "", `
		-aside live 0 96h..97h cb since= retry=99h40m
		-aside live 0 95h..96h cb failures=4 since= retry=99h45m
		+aside live 0 96h..97h cb offered=true since= retry=99h40m
		+aside live 0 95h..96h cb offered=true failures=4 since= retry=99h45m`},
		"one is due": {"99h40m", known + three, "", `
		-aside live 0 96h..97h cb since= retry=99h40m
		+aside live 0 96h..97h cb offered=true since= retry=99h40m`},
		"none is due": {"99h39m59s", known + three, "", ``},
		"one is offered": {"100h", known + three + "aside live 0 94h..95h cb offered=true retry=99h", "", `
		-aside live 0 96h..97h cb since= retry=99h40m
		+aside live 0 96h..97h cb offered=true since= retry=99h40m`},
		"two are offered": {"100h", known + three + "aside live 0 94h..95h cb offered=true retry=99h\naside live 0 93h..94h cb offered=true retry=99h", "", ``},
		"nearly full":     {"100h", known + three, "", ``},
		"without a unit":  {"100h", known + three, "", ``},
		"with the last": {"100h", known + three, "", `
		-aside live 0 96h..97h cb since= retry=99h40m
		+aside live 0 96h..97h cb offered=true since= retry=99h40m`},
		"while it blocked": {"100h", known + three, "", ``},
	}
	for name, s := range scenes {
		play(t, map[string]scene{name: s}, func(_ *plan.Config, in *plan.Input) {
			in.NoBackfill, in.NoLive = true, name == "nearly full"
			switch name {
			case "without a unit":
				in.Supply = supply(1000, 0)
			case "with the last":
				in.Supply = supply(1000, 1)
			case "while it blocked":
				in.Supply = supply(1000, 500)
				in.Supply.Blocked = at("100h1s")
			}
		})
	}
}

// TestBacklogs are read hour by hour, the oldest first, beside backfill, and not while something
// else reads the same.
func TestBacklogs(t *testing.T) {
	t.Parallel()
	play(t, map[string]scene{
		"an hour and more": {"100h", known + "backlog 90h10m..92h10m cb odd", "", `
		-backlog 90h10m..92h10m cb odd
		+job backfill 0 90h10m..91h cb
		+job backfill 0 91h..92h cb
		+job backfill 0 92h..92h10m cb`},
		"once more": {"100h", known + "backlog 90h..91h cb once=true odd", "", `
		-backlog 90h..91h cb once=true odd
		+job backfill 540 90h..91h cb`},
		"once more, of the last minute": {"100h", known + "backlog 99h..99h30m cb once=true odd", "", `
		-backlog 99h..99h30m cb once=true odd
		+job backfill 30 99h..99h30m cb`},
		"thirty seconds more": {"100h", known + "backlog 90h..91h0m30s cb odd", "", `
		-backlog 90h..91h0m30s cb odd
		+job backfill 0 90h..91h cb
		+job backfill 0 91h..91h0m30s cb`},
		"a few seconds more": {"100h", known + "backlog 90h30m..91h0m29s cb odd", "", `
		-backlog 90h30m..91h0m29s cb odd
		+job backfill 0 90h30m..91h0m29s cb`},
		"an hour and a few seconds": {"100h", known + "backlog 90h..91h0m29s cb odd", "", `
		-backlog 90h..91h0m29s cb odd
		+job backfill 0 90h..91h cb
		+backlog 91h..91h0m29s cb odd`},
		"a few seconds": {"100h", known + "backlog 90h..90h0m10s cb odd", "", `
		-backlog 90h..90h0m10s cb odd
		+job backfill 0 89h59m40s..90h0m10s cb overlap=20s`},
		"the oldest first": {"100h", known + "backlog 90h..91h cb odd\nbacklog 85h..86h cb odd\nbacklog 87h..92h cp odd", "", `
		-backlog 85h..86h cb odd
		-backlog 87h..92h cp odd
		+job backfill 0 85h..86h cb
		+job backfill 0 87h..88h cp
		+job backfill 0 88h..89h cp
		+job backfill 0 89h..90h cp
		+backlog 90h..92h cp odd`},
		"before backfill": {"100h", known + "backlog 85h..86h cb odd\nbackfill 86h..95h", "", `
		-backfill 86h..95h
		-backlog 85h..86h cb odd
		+backfill 89h..95h
		+job backfill 0 85h..86h cb
		+job backfill 0 86h..87h cb,cp
		+job backfill 0 87h..88h cb,cp
		+job backfill 0 88h..89h cb,cp`},
		"behind backfill": {"100h", known + "backlog 85h..86h cb odd\nbackfill 80h..85h", "", `
		-backfill 80h..85h
		+backfill 84h..85h
		+job backfill 0 80h..81h cb,cp
		+job backfill 0 81h..82h cb,cp
		+job backfill 0 82h..83h cb,cp
		+job backfill 0 83h..84h cb,cp`},
		"with backfill": {"100h", known + "backlog 80h..82h cb odd\nbackfill 80h..81h30m", "", `
		-backfill 80h..81h30m
		+job backfill 0 80h..81h cb,cp
		+job backfill 0 81h..81h30m cb,cp`},
		"one that a job meets": {"100h", known + "backlog 90h..91h cb odd\njob live 0 90h30m..91h30m cb,cp", "", ``},
		"one of another feed": {"100h", known + "backlog 90h..91h cb odd\njob live 0 90h30m..91h30m cp", "", `
		-backlog 90h..91h cb odd
		+job backfill 0 90h..91h cb`},
		"one that meets one aside": {"100h", known + "backlog 90h..91h cb odd\naside live 0 90h30m..91h30m cb retry=101h", "", ``},
		"three jobs wait": {"100h", known + "backlog 90h..95h cb odd\njob backfill 0 80h..81h cb,cp\njob backfill 0 81h..82h cb,cp\njob backfill 0 82h..83h cb,cp", "", `
		-backlog 90h..95h cb odd
		+job backfill 0 90h..91h cb
		+backlog 91h..95h cb odd`},
		"four jobs wait": {"100h", known + "backlog 90h..95h cb odd\njob backfill 0 80h..81h cb,cp\njob backfill 0 81h..82h cb,cp\njob backfill 0 82h..83h cb,cp\njob backfill 0 83h..84h cb,cp", "", ``},
		"one is of the time to come": {"100h", known + "backlog 90h..91h cb odd\njob backfill 0 80h..81h cb,cp\njob backfill 0 81h..82h cb,cp\njob backfill 0 82h..83h cb,cp\njob backfill 0 100h..101h cb,cp", "", `
		-backlog 90h..91h cb odd
		+job backfill 0 90h..91h cb`},
		"backfill from within an hour": {"100h", known + "backfill 90h20m..92h10m", "", `
		-backfill 90h20m..92h10m
		+job backfill 0 90h20m..91h cb,cp
		+job backfill 0 91h..92h cb,cp
		+job backfill 0 92h..92h10m cb,cp`},
	}, nil)
}

// TestOrdersInAPlan: what of an order is served and collected is owed, and what waits is due.
func TestOrdersInAPlan(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ window, feeds, plan, want string }{
		"all feeds": {"90h..91h", "", known, `
		+backlog 90h..91h cb,cp once=true ordered by an operator`},
		"one feed": {"90h..91h", "cp", known, `
		+backlog 90h..91h cp once=true ordered by an operator`},
		"a feed that is off": {"90h..91h", "md", known, ``},
		"before the start": {"90h..93h", "", "start 92h\n" + known, `
		+backlog 92h..93h cb,cp once=true ordered by an operator`},
		"behind the head": {"99h..101h", "", known, `
		+backlog 99h..99h30m cb,cp once=true ordered by an operator`},
		"nothing that is": {"101h..102h", "", known, ``},
		"too old in part": {"-70h..-60h", "", "start -100h\n" + known, `
		+backlog -67h49m..-60h cb,cp once=true ordered by an operator`},
		"what is under way": {"90h..93h", "cb", known + "job live 0 91h..92h cb,cp", `
		+backlog 90h..91h cb once=true ordered by an operator
		+backlog 92h..93h cb once=true ordered by an operator`},
		"the same once more": {"90h..91h", "", known + "backlog 90h..91h cb,cp once=true ordered by an operator", ``},
		"one feed after one": {"90h..91h", "cp", known + "backlog 90h..91h cb once=true ordered by an operator", `
		-backlog 90h..91h cb once=true ordered by an operator
		+backlog 90h..91h cb,cp once=true ordered by an operator`},
		"for another reason": {"90h..91h", "cp", known + "backlog 90h..91h cb odd", `
		+backlog 90h..91h cp once=true ordered by an operator`},
		"what waits": {"90h..91h", "cb", known + "aside live 0 90h30m..91h30m cb,cp since=90h retry=101h odd\naside live 0 92h..93h cb since=90h retry=101h odd", `
		-aside live 0 90h30m..91h30m cb,cp since=90h retry=101h odd
		+aside live 0 90h30m..91h30m cb,cp since=90h retry=100h odd
		+backlog 90h..90h30m cb once=true ordered by an operator`},
		"what waits no more": {"90h..91h", "cb", known + "aside live 0 90h30m..91h30m cb,cp since=90h retry=99h odd", `
		+backlog 90h..90h30m cb once=true ordered by an operator`},
		"what is offered now": {"90h..91h", "cb", known + "aside live 0 90h30m..91h30m cb,cp offered=true since=90h retry=101h odd", `
		+backlog 90h..90h30m cb once=true ordered by an operator`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := readPlan("start 0h\n" + c.plan)
			before := planText(s, true)
			plan.Retry(quiet(), s, at("100h"), &taplinev1.Retry{Window: win(c.window).Proto(), Feeds: feedNames(c.feeds)})
			want(t, changed(before, planText(s, true)), c.want)
		})
	}
}

// TestManyAsides: beyond three hundred, neighbors become one window, if it is no longer than an
// hour, of the same feeds and none of them is on the bus.
func TestManyAsides(t *testing.T) {
	t.Parallel()
	many := func(n int) *taplinev1.PlanState {
		s := readPlan("start 0h\n" + known)
		for i := range n {
			w := window.New(at("1h").Add(time.Duration(i)*10*time.Minute), at("1h").Add(time.Duration(i)*10*time.Minute+9*time.Minute)) // no neighbors
			s.Asides = append(s.Asides, readPlan("aside live 0 "+spanText(w.Proto())+" cb failures=3 since=90h retry=101h odd").GetAsides()...)
		}
		return s
	}
	const pairs = `
		aside live 0 80h..80h20m cp failures=5 since=80h40m retry=101h odd
		aside live 3 80h20m..80h40m cp failures=4 since=80h30m retry=102h worse
		aside live 0 81h..81h30m cp failures=3 since=81h retry=101h odd
		aside live 0 81h30m..82h0m1s cp failures=3 since=81h retry=101h odd
		aside live 0 83h..83h20m cp failures=3 since=81h retry=101h odd
		aside live 0 83h20m..83h40m cb,cp failures=3 since=81h retry=101h odd
		aside live 0 84h..84h20m cp offered=true failures=3 since=81h retry=101h odd
		aside live 0 84h20m..84h40m cp failures=3 since=81h retry=101h odd
		aside live 0 85h..85h20m cp failures=3 since=81h retry=101h odd
		aside live 0 85h21m..85h40m cp failures=3 since=81h retry=101h odd
		aside sweep 35 86h..86h20m cp failures=3 since=87h retry=101h odd
		aside sweep 35 86h20m..86h40m cp failures=3 since=87h retry=101h odd
		aside sweep 35 87h..87h20m cp failures=3 since=88h retry=101h odd
		aside sweep 360 87h20m..87h40m cp failures=3 since=88h retry=101h odd`
	for name, c := range map[string]struct {
		n    int
		want string
	}{
		"as many as may be": {300 - 14, ``},
		"one more": {300 - 13, `
		-aside live 0 80h..80h20m cp failures=5 since=80h40m retry=101h odd
		-aside live 3 80h20m..80h40m cp failures=4 since=80h30m retry=102h worse
		-aside sweep 35 86h..86h20m cp failures=3 since=87h retry=101h odd
		-aside sweep 35 86h20m..86h40m cp failures=3 since=87h retry=101h odd
		+aside backfill 1160 80h..80h40m cp failures=4 tried=5 since=80h30m retry=102h worse
		+aside sweep 35 86h..86h40m cp failures=3 since=87h retry=101h odd`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := many(c.n)
			s.Asides = append(s.Asides, readPlan(pairs).GetAsides()...)
			want(t, difference(quiet(), s, plan.Input{Now: at("100h"), NoBackfill: true}), c.want)
		})
	}
}

// TestACutWithoutRoom: when three hundred windows are set aside, none is cut.
func TestACutWithoutRoom(t *testing.T) {
	t.Parallel()
	for n, whole := range map[int]bool{299: false, 300: true} {
		s := readPlan("start 0h\n" + known + "aside live 0 99h..99h30m cp failures=4 since=99h40m retry=101h odd")
		for i := range n - 1 {
			w := window.New(at("1h").Add(time.Duration(i)*10*time.Minute), at("1h").Add(time.Duration(i)*10*time.Minute+9*time.Minute))
			s.Asides = append(s.Asides, readPlan("aside live 0 "+spanText(w.Proto())+" cb since=90h retry=101h odd").GetAsides()...)
		}
		wanted := `
			-aside live 0 99h..99h30m cp failures=4 since=99h40m retry=101h odd
			+aside live 0 99h..99h15m cp offered=true failures=4 since=99h40m retry=100h odd
			+aside live 0 99h15m..99h30m cp offered=true failures=4 since=99h40m retry=100h odd`
		if whole {
			wanted = `
				-aside live 0 99h..99h30m cp failures=4 since=99h40m retry=101h odd
				+aside backfill 30 99h..99h30m cp failures=4 since=99h40m retry=101h odd`
		}
		want(t, difference(quiet(), s, plan.Input{Now: at("100h"), NoBackfill: true, Outcomes: readOutcomes(s, "99h..99h30m split")}), wanted)
	}
}
