package plan_test

import (
	"testing"

	"github.com/tapline/tapline/pkg/plan"
)

// far is 200 hours after midnight, when 32h11m is the oldest that is asked for, and 32h is the
// oldest that is served. All passes are calm.
const far = `
	start 10h
	head 199h30m
	sweep 35 199h
	sweep 360 194h
	sweep 1440 176h
	`

// owes is far, long after the first reading: what it has not read is owed.
const owes = "first 20h\n" + far

// TestStepsAtTheEdge of what Proofpoint serves.
func TestStepsAtTheEdge(t *testing.T) {
	t.Parallel()
	play(t, map[string]scene{
		"nothing waits": {"200h", owes, "", ``},
		"backfill that is too old in part": {"200h", owes + "backfill 20h..40h", "", `
		-backfill 20h..40h
		+backfill 32h11m..40h
		lost 20h..32h11m cb,cp older than the seven days that Proofpoint serves; it waited for backfill since 2026-03-12T16:00:00Z`},
		"backfill that is too old": {"200h", owes + "backfill 20h..30h", "", `
		-backfill 20h..30h
		lost 20h..30h cb,cp older than the seven days that Proofpoint serves; it waited for backfill since 2026-03-12T06:00:00Z`},
		"backfill at the edge": {"200h", owes + "backfill 32h11m..40h", "", ``},
		"a backlog that is too old in part": {"200h", owes + "backlog 20h..40h cb odd", "", `
		-backlog 20h..40h cb odd
		+backlog 32h11m..40h cb odd
		lost 20h..32h11m cb older than the seven days that Proofpoint serves; it waited to be read: odd`},
		"a backlog that is too old": {"200h", owes + "backlog 20h..30h cb odd", "", `
		-backlog 20h..30h cb odd
		lost 20h..30h cb older than the seven days that Proofpoint serves; it waited to be read: odd`},
		"a backlog at the edge": {"200h", owes + "backlog 32h11m..33h cb odd", "", ``},
		"a backlog that ends at the edge": {"200h", owes + "backlog 32h..32h11m cb odd", "", `
		-backlog 32h..32h11m cb odd
		lost 32h..32h11m cb older than the seven days that Proofpoint serves; it waited to be read: odd`},
		"a job at the edge": {"200h", owes + "job live 0 31h50m..32h30m cb,cp planned=33h", "", ``},
		"a job beyond the edge": {"200h", owes + "job live 0 31h49m59s..32h30m cb,cp planned=33h", "", `
		-job live 0 31h49m59s..32h30m cb,cp
		+job live 0 32h11m..32h30m cb,cp
		lost 31h49m59s..32h11m cb,cp older than the seven days that Proofpoint serves; it was asked for since 2026-03-12T09:00:00Z without an answer`},
		"a job of which a minute is served": {"200h", owes + "job live 0 31h40m..32h12m cb,cp", "", `
		-job live 0 31h40m..32h12m cb,cp
		+job live 0 32h11m..32h12m cb,cp
		lost 31h40m..32h11m cb,cp older than the seven days that Proofpoint serves; it was asked for since 2026-03-12T08:12:00Z without an answer`},
		"a job of which 30 seconds are served": {"200h", owes + "job live 0 31h40m..32h11m30s cb,cp", "", `
		-job live 0 31h40m..32h11m30s cb,cp
		+job live 0 32h11m..32h11m30s cb,cp
		lost 31h40m..32h11m cb,cp older than the seven days that Proofpoint serves; it was asked for since 2026-03-12T08:11:30Z without an answer`},
		"a job of which 29 seconds are served": {"200h", owes + "job live 0 31h40m..32h11m29s cb,cp", "", `
		-job live 0 31h40m..32h11m29s cb,cp
		lost 31h40m..32h11m29s cb,cp older than the seven days that Proofpoint serves; it was asked for since 2026-03-12T08:11:29Z without an answer`},
		"a job that overlaps the edge only": {"200h", owes + "job live 0 31h40m..32h30m cb,cp overlap=10m", "", ``},
		"a job whose overlap ends too early": {"200h", owes + "job live 0 31h40m..32h30m cb,cp overlap=9m", "", `
		-job live 0 31h40m..32h30m cb,cp overlap=9m0s
		+job live 0 32h11m..32h30m cb,cp
		lost 31h49m..32h11m cb,cp older than the seven days that Proofpoint serves; it was asked for since 2026-03-12T08:30:00Z without an answer`},
		"a job that is too old": {"200h", owes + "job live 0 30h..31h cp", "", `
		-job live 0 30h..31h cp
		lost 30h..31h cp older than the seven days that Proofpoint serves; it was asked for since 2026-03-12T07:00:00Z without an answer`},
		"one aside at the edge": {"200h", owes + "aside live 0 32h..32h40m cb,cp failures=3 since=33h retry=201h odd", "", ``},
		"one aside beyond the edge": {"200h", owes + "aside live 0 31h59m59s..32h40m cb,cp failures=3 since=33h retry=201h odd", "", `
		-aside live 0 31h59m59s..32h40m cb,cp failures=3 since=33h retry=201h odd
		+aside live 0 32h11m..32h40m cb,cp failures=3 since=33h retry=201h odd
		lost 31h59m59s..32h11m cb,cp older than the seven days that Proofpoint serves; it was asked for in vain since 2026-03-12T09:00:00Z: odd`},
		"one aside that is too old": {"200h", owes + "aside live 0 30h..31h cb failures=3 since=33h retry=201h odd", "", `
		-aside live 0 30h..31h cb failures=3 since=33h retry=201h odd
		lost 30h..31h cb older than the seven days that Proofpoint serves; it was asked for in vain since 2026-03-12T09:00:00Z: odd`},
		"a sweep beyond the edge": {"200h", owes + "job sweep 35 31h..32h cb,cp", "", `
		-job sweep 35 31h..32h cb,cp`},
		"the last sweep beyond the edge": {"200h", owes + "job sweep 1440 31h30m..32h30m cb,cp", "", `
		-job sweep 1440 31h30m..32h30m cb,cp
		+job sweep 1440 32h11m..32h30m cb,cp
		lost 31h30m..32h11m cb,cp it was read, but its last sweep did not take place in time: it was asked for since 2026-03-12T08:30:00Z without an answer`},
		"a repeated sweep beyond the edge": {"200h", owes + "job sweep 2880 31h..32h cb,cp", "", `
		-job sweep 2880 31h..32h cb,cp
		lost 31h..32h cb,cp it was read, but its last sweep did not take place in time: it was asked for since 2026-03-12T08:00:00Z without an answer`},
		"a sweep aside beyond the edge": {"200h", owes + "aside sweep 1440 31h30m..32h30m cb failures=3 since=33h retry=201h odd", "", `
		-aside sweep 1440 31h30m..32h30m cb failures=3 since=33h retry=201h odd
		+aside sweep 1440 32h11m..32h30m cb failures=3 since=33h retry=201h odd
		lost 31h30m..32h11m cb it was read, but its last sweep did not take place in time: it was asked for in vain since 2026-03-12T09:00:00Z: odd`},
		"a pass beyond the edge": {"200h", "first 20h\nhead 199h30m\nsweep 35 30h\nsweep 360 194h\nsweep 1440 176h", "", `
		-sweep 35 30h
		+job sweep 35 32h11m..33h cb,cp
		+job sweep 35 33h..34h cb,cp
		+sweep 35 34h`},
		"the last pass beyond the edge": {"200h", "first 20h\nhead 199h30m\nsweep 35 199h\nsweep 360 194h\nsweep 1440 30h", "", `
		-sweep 1440 30h
		+job sweep 1440 32h11m..33h cb,cp
		+job sweep 1440 33h..34h cb,cp
		+sweep 1440 34h
		lost 30h..32h11m cb it was read, but its last sweep did not take place in time: it was due since 2026-03-13T08:11:00Z
		lost 30h..32h11m cp it was read, but its last sweep did not take place in time: it was due since 2026-03-13T08:11:00Z`},
		"the last pass, and a backlog": {"200h", "first 20h\nhead 199h30m\nsweep 35 199h\nsweep 360 194h\nsweep 1440 30h\nbacklog 30h30m..31h cb odd", "", `
		-backlog 30h30m..31h cb odd
		-sweep 1440 30h
		+job sweep 1440 32h11m..33h cb,cp
		+job sweep 1440 33h..34h cb,cp
		+sweep 1440 34h
		lost 30h30m..31h cb older than the seven days that Proofpoint serves; it waited to be read: odd
		lost 30h..30h30m cb it was read, but its last sweep did not take place in time: it was due since 2026-03-13T06:30:00Z
		lost 31h..32h11m cb it was read, but its last sweep did not take place in time: it was due since 2026-03-13T08:11:00Z
		lost 30h..32h11m cp it was read, but its last sweep did not take place in time: it was due since 2026-03-13T08:11:00Z`},
		"the last pass, and what is off": {"200h", "first 20h\nhead 199h30m\nsweep 35 199h\nsweep 360 194h\nsweep 1440 30h\noff cb 30h30m..31h off", "", `
		-sweep 1440 30h
		+job sweep 1440 32h11m..33h cb,cp
		+job sweep 1440 33h..34h cb,cp
		+sweep 1440 34h
		lost 30h..30h30m cb it was read, but its last sweep did not take place in time: it was due since 2026-03-13T06:30:00Z
		lost 31h..32h11m cb it was read, but its last sweep did not take place in time: it was due since 2026-03-13T08:11:00Z
		lost 30h..32h11m cp it was read, but its last sweep did not take place in time: it was due since 2026-03-13T08:11:00Z`},
		"the last pass, which skips it": {"200h", "first 20h\nhead 199h30m\nsweep 35 199h\nsweep 360 194h\nsweep 1440 30h skip=30h..33h", "", `
		-sweep 1440 30h skip=30h..33h
		+job sweep 1440 33h..34h cb,cp
		+job sweep 1440 34h..35h cb,cp
		+sweep 1440 35h`},
		"an extra beyond the edge": {"200h", owes + "extra 35 31h..33h cb", "", `
		-extra 35 31h..33h cb
		+job sweep 35 32h11m..33h cb`},
		"an extra of the last pass": {"200h", owes + "extra 1440 31h..33h cb", "", `
		-extra 1440 31h..33h cb
		+job sweep 1440 32h11m..33h cb
		lost 31h..32h11m cb it was read, but its last sweep did not take place in time: it was due since 2026-03-13T09:00:00Z`},
		"an extra of a repeated sweep": {"200h", owes + "extra 2880 31h..33h cb", "", `
		-extra 2880 31h..33h cb
		+job sweep 2880 32h11m..33h cb
		sealed 31h..32h11m cb Proofpoint no longer serves it; its last sweep still found records`},
		"an extra of which 30 seconds are left": {"200h", owes + "extra 1440 31h..32h11m30s cb", "", `
		-extra 1440 31h..32h11m30s cb
		+job sweep 1440 32h11m..32h11m30s cb
		lost 31h..32h11m cb it was read, but its last sweep did not take place in time: it was due since 2026-03-13T08:11:30Z`},
		"an extra of which 29 seconds are left": {"200h", owes + "extra 1440 31h..32h11m29s cb", "", `
		-extra 1440 31h..32h11m29s cb
		lost 31h..32h11m29s cb it was read, but its last sweep did not take place in time: it was due since 2026-03-13T08:11:29Z`},
		"an extra that is too old": {"200h", owes + "extra 1440 31h..32h cb", "", `
		-extra 1440 31h..32h cb
		lost 31h..32h cb it was read, but its last sweep did not take place in time: it was due since 2026-03-13T08:00:00Z`},
		"an extra at the edge": {"200h", owes + "extra 1440 32h11m..33h cb", "", `
		-extra 1440 32h11m..33h cb
		+job sweep 1440 32h11m..33h cb`},
		"at the first start": {"200h", far + "backfill 20h..40h", "", `
		-start 10h
		-backfill 20h..40h
		+start 32h11m
		+backfill 32h11m..40h
		dropped 10h..32h11m cb,cp Proofpoint ceased to serve it before it could be read`},
		"a day after the first reading": {"200h", "first 176h\n" + far + "backfill 20h..40h", "", `
		-start 10h
		-backfill 20h..40h
		+start 32h11m
		+backfill 32h11m..40h
		dropped 10h..32h11m cb,cp Proofpoint ceased to serve it before it could be read`},
		"more than a day after it": {"200h", "first 175h59m59s\n" + far + "backfill 20h..40h", "", `
		-backfill 20h..40h
		+backfill 32h11m..40h
		lost 20h..32h11m cb,cp older than the seven days that Proofpoint serves; it waited for backfill since 2026-03-12T16:00:00Z`},
		"after a change of feeds": {"200h", far + "generation 1\nbackfill 20h..40h", "", `
		-backfill 20h..40h
		+backfill 32h11m..40h
		lost 20h..32h11m cb,cp older than the seven days that Proofpoint serves; it waited for backfill since 2026-03-12T16:00:00Z`},
		"a job of the first start": {"200h", far + "backfill 40h..40h\njob backfill 0 31h..32h cb,cp", "", `
		-start 10h
		-job backfill 0 31h..32h cb,cp
		+start 32h
		dropped 10h..32h cb,cp Proofpoint ceased to serve it before it could be read`},
		"a live job of the first start": {"200h", far + "backfill 31h59m..31h59m\njob live 0 31h..32h cb,cp", "", `
		-job live 0 31h..32h cb,cp
		lost 31h..32h cb,cp older than the seven days that Proofpoint serves; it was asked for since 2026-03-12T08:00:00Z without an answer`},
		"what is before the start": {"200h", "start 35h\nhead 199h30m\nsweep 35 199h\nsweep 360 194h\nsweep 1440 176h\nbackfill 40h..40h\njob backfill 0 31h..32h cb,cp", "", `
		-job backfill 0 31h..32h cb,cp`},
		"given up at the first start": {"200h", far + "backfill 40h..40h\njob backfill 0 32h..33h cb,cp", "32h..33h lost gone", `
		-start 10h
		-job backfill 0 32h..33h cb,cp
		+start 33h
		dropped 10h..33h cb,cp Proofpoint ceased to serve it before it could be read`},
		"given up": {"200h", owes + "job live 0 32h..33h cb,cp", "32h..33h lost gone", `
		-job live 0 32h..33h cb,cp`},
		"given up, and it is served": {"200h", owes + "job live 0 32h11m..33h cb,cp", "32h11m..33h lost gone", `
		-job live 0 32h11m..33h cb,cp
		+aside backfill 10020 32h11m..33h cb,cp since=200h retry=201h gone`},
		"a sweep that is given up": {"200h", owes + "job sweep 35 32h..33h cb,cp", "32h..33h lost gone", `
		-job sweep 35 32h..33h cb,cp`},
		"the last sweep that is given up": {"200h", owes + "job sweep 1440 32h..33h cb,cp", "32h..33h lost gone", `
		-job sweep 1440 32h..33h cb,cp
		lost 32h..33h cb,cp it was read, but its last sweep did not take place in time: gone`},
		"the last sweep of what is served": {"200h", owes + "job sweep 1440 33h..34h cb,cp", "33h..34h lost gone", `
		-job sweep 1440 33h..34h cb,cp
		+aside sweep 1441 33h..34h cb,cp since=200h retry=201h gone`},
	}, func(_ *plan.Config, in *plan.Input) { in.NoBackfill = true })
}

// TestLiveReadingAfterAWeek: the time in which nothing was planned is lost, and what is served is
// read from its beginning.
func TestLiveReadingAfterAWeek(t *testing.T) {
	t.Parallel()
	play(t, map[string]scene{
		"a head that is too old": {"200h", "first 1h\nstart 10h\nhead 20h\nsweep 35 199h\nsweep 360 194h\nsweep 1440 176h", "", `
		-head 20h
		+head 34h11m
		+job live 0 32h11m..33h11m cb,cp
		+job live 0 33h11m..34h11m cb,cp
		lost 20h..32h11m cb,cp older than the seven days that Proofpoint serves; nothing was planned since 2026-03-11T20:00:00Z`},
		"a head at the edge": {"200h", "first 1h\nstart 10h\nhead 32h11m\nsweep 35 199h\nsweep 360 194h\nsweep 1440 176h", "", `
		-head 32h11m
		+head 34h11m
		+job live 0 32h11m..33h11m cb,cp
		+job live 0 33h11m..34h11m cb,cp`},
	}, nil)
}

// TestTheClockThatIsBehindSaysWhatIsTooOld.
func TestTheClockThatIsBehindSaysWhatIsTooOld(t *testing.T) {
	t.Parallel()
	play(t, map[string]scene{
		"backfill": {"250h", owes + "backfill 20h..40h", "", `
		-backfill 20h..40h
		+backfill 32h11m..40h
		lost 20h..32h11m cb,cp older than the seven days that Proofpoint serves; it waited for backfill since 2026-03-12T16:00:00Z`},
		"a job": {"250h", owes + "job live 0 31h49m..32h30m cb,cp", "", `
		-job live 0 31h49m..32h30m cb,cp
		+job live 0 32h11m..32h30m cb,cp
		lost 31h49m..32h11m cb,cp older than the seven days that Proofpoint serves; it was asked for since 2026-03-12T08:30:00Z without an answer`},
	}, func(_ *plan.Config, in *plan.Input) { in.Earliest, in.NoLive = at("200h"), true })
	play(t, map[string]scene{
		"backfill by the other": {"200h", owes + "backfill 20h..40h", "", `
		-backfill 20h..40h
		+backfill 32h11m..40h
		lost 20h..32h11m cb,cp older than the seven days that Proofpoint serves; it waited for backfill since 2026-03-12T16:00:00Z`},
	}, func(_ *plan.Config, in *plan.Input) { in.Earliest, in.NoLive = at("250h"), true })
}
