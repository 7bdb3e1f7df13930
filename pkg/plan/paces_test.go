package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
)

// TestHowCallsAreShared: what a step makes of the calls to be had, by when they come back.
func TestHowCallsAreShared(t *testing.T) {
	t.Parallel()
	const idle = "first 1h\nhead 99h59m50s\nsweep 35 99h\nsweep 360 94h\nsweep 1440 76h\n"
	for name, c := range map[string]struct {
		limit, left int
		returns     string // "1h=40,2h=40"
		plan        string
		want        string // cadence of live windows, and jobs of backfill
	}{
		"any number": {0, 0, "", idle + "backfill 50h..60h", `
		1m0s, 4 of backfill`},
		"plenty": {1800, 1800, "", idle + "backfill 50h..60h", `
		1m0s, 4 of backfill`},
		"none": {1800, 0, "", idle + "backfill 50h..60h", `
		1h0m0s, 0 of backfill`},
		"one": {1800, 1, "", idle + "backfill 50h..60h", `
		1h0m0s, 0 of backfill`},
		"a hundred": {100, 100, "", idle, `
		55m24s, 0 of backfill`},
		"a hundred with backfill": {100, 100, "", idle + "backfill 50h..60h", `
		1h0m0s, 2 of backfill`},
		"a hundred with a backlog": {100, 100, "", idle + "backlog 50h..60h cb odd", `
		1h0m0s, 2 of backfill`},
		"a hundred with extras": {100, 100, "", idle + "extra 4320 70h..71h cb\nextra 4320 71h..72h cb", `
		1h0m0s, 0 of backfill`},
		"a hundred with one aside": {100, 100, "", idle + "aside live 0 90h..91h cb retry=101h", `
		1h0m0s, 0 of backfill`},
		"with seven aside": {400, 400, "", idle + strings.Repeat("aside live 0 90h..91h cb retry=101h\n", 7), `
		8m11s, 0 of backfill`},
		"with six aside": {400, 400, "", idle + strings.Repeat("aside live 0 90h..91h cb retry=101h\n", 6), `
		8m11s, 0 of backfill`},
		"jobs that wait": {100, 100, "", idle + "job live 0 90h..91h cb\njob live 0 91h..92h cb", `
		1h0m0s, 0 of backfill`},
		"one aside that is offered": {100, 100, "", idle + "aside live 0 90h..91h cb offered=true retry=99h", `
		1h0m0s, 0 of backfill`},
		"forty each hour": {1000, 60, "1h=40,2h=40,3h=40,4h=40,5h=40,6h=40,8h=40,12h=100,23h=500", idle, `
		3m56s, 0 of backfill`},
		"nothing for half an hour": {1000, 0, "30m=900", idle, `
		30m0s, 0 of backfill`},
		"nothing for an hour": {1000, 0, "1h=900", idle, `
		1h0m0s, 0 of backfill`},
		"few for half an hour": {1000, 9, "30m=900", idle, `
		3m0s, 0 of backfill`},
		"few for an hour": {1000, 40, "1h=960", idle, `
		3m32s, 0 of backfill`},
		"what comes after a day": {1000, 400, "24h=600", idle, `
		4m41s, 0 of backfill`},
		"what came back already": {1000, 400, "-1h=300,0h=300,20h=10", idle, `
		1m35s, 0 of backfill`},
		"backfill as live calls keep": {2000, 1600, "", idle + "backfill 50h..60h", `
		1m0s, 4 of backfill`},
		"backfill when they do not": {2000, 1550, "", idle + "backfill 50h..60h", `
		1m1s, 4 of backfill`},
		"backfill before an hour": {2000, 61, "59m=1900", idle + "backfill 50h..60h", `
		1m0s, 0 of backfill`},
		"backfill from the reserve": {2000, 90, "59m=1900", idle + "backfill 50h..60h", `
		1m0s, 4 of backfill`},
		"no backfill from it later": {2000, 90, "60m=1900", idle + "backfill 50h..60h", `
		1m18s, 0 of backfill`},
		"backfill in six hours": {200, 60, "6h=140", idle + "backfill 50h..60h", `
		12m45s, 4 of backfill`},
		"extras in six hours": {200, 60, "6h=140", idle + "extra 4320 70h..71h cb\nextra 4320 71h..72h cb", `
		11m49s, 0 of backfill`},
		"backfill after an hour": {2000, 160, "61m=1900", idle + "backfill 50h..60h", `
		1m0s, 4 of backfill`},
		"a few for a day": {2000, 24, "", idle + "backfill 50h..60h", `
		1h0m0s, 0 of backfill`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := readPlan("start 0h\n" + c.plan)
			forecast := quota.Forecast{Limit: c.limit, Left: c.left}
			for piece := range strings.SplitSeq(c.returns, ",") {
				if when, units, ok := strings.Cut(piece, "="); ok {
					forecast.Returns = append(forecast.Returns, quota.Return{At: at("100h").Add(at(when).Sub(midnight)), Units: int(number(units))})
				}
			}
			config := quiet()
			config.Poll = time.Minute
			out := plan.Step(config, s, plan.Input{Now: at("100h"), Supply: &forecast})
			backfill := 0
			for _, j := range out.New {
				if strings.HasPrefix(jobText(j), "backfill") {
					backfill++
				}
			}
			want(t, []string{fmt.Sprintf("%s, %d of backfill", out.Cadence, backfill)}, c.want)
		})
	}
}
