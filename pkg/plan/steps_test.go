package plan_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// scene is one step: a plan, what became of windows, and what the step changes. A line of the want
// begins with + or -, as it comes or goes.
type scene struct {
	now      string
	plan     string
	outcomes string // "8h..9h fetched found=3 read=9h5m end=8h30m lag=10m failures=4 reason"
	want     string
}

var states = map[string]taplinev1.WindowState{
	"fetched": taplinev1.WindowState_WINDOW_STATE_FETCHED, "sealed": taplinev1.WindowState_WINDOW_STATE_SEALED, "lost": taplinev1.WindowState_WINDOW_STATE_LOST,
	"split": taplinev1.WindowState_WINDOW_STATE_SPLIT, "unproven": taplinev1.WindowState_WINDOW_STATE_UNPROVEN,
}

// readOutcomes are of all jobs that are of a window.
func readOutcomes(s *taplinev1.PlanState, text string) map[string]*taplinev1.JobRecord {
	jobs := slices.Clone(s.GetOutstanding())
	for _, a := range s.GetAsides() {
		jobs = append(jobs, a.GetJob())
	}
	records := make(map[string]*taplinev1.JobRecord)
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if line == "" {
			continue
		}
		words, options, reason := fields(line, 2)
		r := &taplinev1.JobRecord{
			State: states[words[1]], Reason: reason, Failures: number(options["failures"]), ReadAt: stampAt(options["read"]), ReadEnd: stampAt(options["end"]),
			Feeds: []*taplinev1.FeedResult{{Published: int64(number(options["found"]))}},
		}
		if lag := options["lag"]; lag != "" {
			r.LagMs = at(lag).Sub(midnight).Milliseconds()
		}
		for _, j := range jobs {
			if span(j) == win(words[0]) {
				records[j.GetId()] = r
			}
		}
	}
	return records
}

// quiet is a configuration of two feeds in which live reading waits for an hour.
func quiet() plan.Config {
	c := config()
	c.Set, c.Poll = setOf("cb,cp"), at("1h").Sub(midnight)
	return c
}

// difference is what a step changes of a plan, and what it says.
func difference(c plan.Config, s *taplinev1.PlanState, in plan.Input) (lines []string) {
	before := planText(s, true)
	out := plan.Step(c, s, in)
	return append(changed(before, planText(s, true)), outputText(out)...)
}

// changed are the lines that go and those that come.
func changed(before, after []string) (lines []string) {
	for _, l := range before {
		if !slices.Contains(after, l) {
			lines = append(lines, "-"+l)
		}
	}
	for _, l := range after {
		if !slices.Contains(before, l) {
			lines = append(lines, "+"+l)
		}
	}
	return lines
}

// supply is a pool that has some units left, and gets none back.
func supply(limit, left int) *quota.Forecast { return &quota.Forecast{Limit: limit, Left: left} }

func play(t *testing.T, scenes map[string]scene, change func(*plan.Config, *plan.Input)) {
	t.Helper()
	for name, scene := range scenes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := readPlan(scene.plan)
			c, in := quiet(), plan.Input{Now: at(scene.now), Outcomes: readOutcomes(s, scene.outcomes)}
			if change != nil {
				change(&c, &in)
			}
			if s.GetStart() == nil {
				s.Start = timestamppb.New(midnight)
			}
			want(t, difference(c, s, in), scene.want)
		})
	}
}

// calm are passes of a hundred hours after midnight with nothing to sweep.
const calm = `
	head 99h30m
	sweep 35 99h
	sweep 360 94h
	sweep 1440 76h
	`

// swept is the same, but the hour from 98h to 99h is due for the first pass since 99h35m.
const swept = `
	head 99h30m
	sweep 360 94h
	sweep 1440 76h
	sweep 35 98h
	`

// TestStepsOverWhatIsInTheWayOfASweep.
func TestStepsOverWhatIsInTheWayOfASweep(t *testing.T) {
	t.Parallel()
	play(t, map[string]scene{
		"nothing is due": {"100h", calm, "", ``},
		"an hour is due": {"99h35m", swept, "", `
		-sweep 35 98h
		+job sweep 35 98h..99h cb,cp
		+sweep 35 99h`},
		"it is due in a second":   {"99h34m59s", swept, "", ``},
		"it ends behind the head": {"99h40m", strings.Replace(swept, "99h30m", "98h59m59s", 1), "", ``},
		"it ends at the head": {"99h40m", strings.Replace(swept, "99h30m", "99h", 1), "", `
		-sweep 35 98h
		+job sweep 35 98h..99h cb,cp
		+sweep 35 99h`},
		"Proofpoint lags behind it": {"99h40m", swept + "lag 40m", "", ``},
		"Proofpoint has come to its end": {"99h40m5s", swept + "lag 40m", "", `
		-sweep 35 98h
		+job sweep 35 98h..99h cb,cp
		+sweep 35 99h`},
		"a reading under way":  {"99h40m", swept + "job live 0 98h..98h30m cb,cp", "", ``},
		"it waits ten minutes": {"99h45m", swept + "job live 0 98h..98h30m cb,cp", "", ``},
		"it waits for long": {"99h45m1s", swept + "job live 0 98h..98h30m cb,cp", "", `
		-sweep 35 98h
		+job sweep 35 98h30m..99h cb,cp
		+sweep 35 99h`},
		"it was planned late": {"100h", swept + "job backfill 0 98h..98h30m cb,cp planned=99h50m", "", ``},
		"it was planned late and waits": {"100h", swept + "job backfill 0 98h..98h30m cb,cp planned=99h49m59s", "", `
		-sweep 35 98h
		+job sweep 35 98h30m..99h cb,cp
		+sweep 35 99h`},
		"another sweep under way": {"100h", swept + "job sweep 360 98h..98h30m cb,cp", "", ``},
		"a reading next to it": {"99h40m", swept + "job live 0 97h..98h cb,cp\njob live 0 99h..99h30m cb,cp", "", `
		-sweep 35 98h
		+job sweep 35 98h..99h cb,cp
		+sweep 35 99h`},
		"its end waits": {"100h", swept + "job live 0 98h30m..99h cb,cp", "", `
		-sweep 35 98h
		+job sweep 35 98h..98h30m cb,cp
		+sweep 35 99h`},
		"its end waits of one feed": {"100h", swept + "job live 0 98h30m..99h cp", "", `
		-sweep 35 98h
		+job sweep 35 98h..98h30m cb,cp
		+job sweep 35 98h30m..99h cb
		+sweep 35 99h`},
		"its beginning waits of one feed": {"100h", swept + "job live 0 98h..98h30m cp", "", `
		-sweep 35 98h
		+job sweep 35 98h..98h30m cb
		+job sweep 35 98h30m..99h cb,cp
		+sweep 35 99h`},
		"all but 30 seconds waits": {"100h", swept + "aside live 0 98h..98h59m30s cb,cp retry=101h", "", `
		-sweep 35 98h
		+job sweep 35 98h59m30s..99h cb,cp
		+sweep 35 99h`},
		"all but 29 seconds waits": {"100h", swept + "aside live 0 98h..98h59m31s cb,cp retry=101h", "", `
		-sweep 35 98h
		+extra 35 98h..99h cb,cp
		+sweep 35 99h`},
		"all behind 30 seconds waits": {"100h", swept + "aside live 0 98h30s..99h cb,cp retry=101h", "", `
		-sweep 35 98h
		+job sweep 35 98h..98h0m30s cb,cp
		+sweep 35 99h`},
		"all behind 29 seconds waits": {"100h", swept + "aside live 0 98h29s..99h cb,cp retry=101h", "", `
		-sweep 35 98h
		+extra 35 98h..99h cb,cp
		+sweep 35 99h`},
		"29 seconds after the start": {"100h", "start 98h\n" + swept + "aside live 0 98h29s..99h cb,cp retry=101h", "", `
		-sweep 35 98h
		+extra 35 98h..99h cb,cp
		+sweep 35 99h`},
		"it waits beyond its end": {"100h", swept + "aside live 0 98h30m..99h10m cb,cp retry=101h", "", `
		-sweep 35 98h
		+job sweep 35 98h..98h30m cb,cp
		+sweep 35 99h`},
		"two wait": {"100h", swept + "aside live 0 98h40m..98h50m cb,cp retry=101h\naside live 0 98h10m..98h20m cp retry=101h", "", `
		-sweep 35 98h
		+job sweep 35 98h..98h10m cb,cp
		+job sweep 35 98h10m..98h20m cb
		+sweep 35 98h20m`},
		"a backlog": {"100h", swept + "backlog 98h..98h20m cb odd", "", `
		-sweep 35 98h
		+job sweep 35 98h..98h20m cp
		+job sweep 35 98h20m..99h cb,cp
		+sweep 35 99h`},
		"a backlog at its end": {"100h", swept + "backlog 98h20m..99h20m cb odd", "", `
		-sweep 35 98h
		+job sweep 35 98h..98h20m cb,cp
		+job sweep 35 98h20m..99h cp
		+sweep 35 99h`},
		"backfill": {"100h", swept + "backfill 97h..98h20m", "", `
		-sweep 35 98h
		+job sweep 35 98h20m..99h cb,cp
		+sweep 35 99h`},
		"backfill at its end": {"100h", swept + "backfill 98h20m..99h", "", `
		-sweep 35 98h
		+job sweep 35 98h..98h20m cb,cp
		+sweep 35 99h`},
		"a feed that is off": {"100h", swept + "aside live 0 98h..98h20m cp retry=101h\noff cb 98h..98h20m off", "", `
		-sweep 35 98h
		+job sweep 35 98h20m..99h cb,cp
		+sweep 35 99h`},
		"a feed that was switched off then": {"100h", swept + "aside live 0 98h..98h20m cp retry=101h\noff cb 98h.. off", "", `
		-sweep 35 98h
		+job sweep 35 98h..98h20m cb
		+job sweep 35 98h20m..99h cb,cp
		+sweep 35 99h`},
		"the pass is in the middle": {"100h", strings.Replace(swept, "98h", "98h59m40s", 1), "", `
		-sweep 35 98h59m40s
		+job sweep 35 98h59m30s..99h cb,cp
		+sweep 35 99h`},
		"a skip before it": {"100h", strings.Replace(swept, "35 98h", "35 97h skip=96h..98h10m", 1), "", `
		-sweep 35 97h skip=96h..98h10m
		+job sweep 35 98h10m..99h cb,cp
		+sweep 35 99h`},
		"a skip behind it": {"100h", strings.Replace(swept, "35 98h", "35 98h skip=98h10m..98h20m", 1), "", `
		-sweep 35 98h skip=98h10m..98h20m
		+job sweep 35 98h..99h cb,cp
		+sweep 35 99h`},
	}, func(_ *plan.Config, in *plan.Input) { in.NoBackfill = true })
}
