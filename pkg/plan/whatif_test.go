package plan_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
)

func question(backfill time.Duration, limit int) plan.Question {
	return plan.Question{
		Feeds: feed.SIEM(), Poll: time.Minute, Backfill: backfill,
		Settings: plan.Settings{Margin: 5 * time.Second, Overlap: 5 * time.Minute, Sweeps: plan.Ages{35 * time.Minute, 6 * time.Hour, 24 * time.Hour}},
		Limits:   map[feed.Pool]int{feed.PoolSIEM: limit}, Quota: 2 * time.Minute, Span: 30 * time.Hour,
	}
}

func TestWhatIf(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	const week = 7 * 24 * time.Hour
	a := plan.WhatIf(question(week, 1800)).Sets[0]
	if a.Peak > 1800 || a.Longest > time.Minute || a.Backfill < 0 || a.Backfill > 24*time.Hour || a.Calls["live"] < 1790 {
		t.Errorf("default limits: %+v", a)
	}
	scarce := plan.WhatIf(question(week, 100)).Sets[0]
	if scarce.Peak > 100 || scarce.Longest > 70*time.Minute || scarce.Typical <= time.Minute {
		t.Errorf("a hundred calls: %+v", scarce)
	}
	q := question(0, 1800)
	q.Others, q.Span = 1200, 48*time.Hour
	shared := plan.WhatIf(q).Sets[0]
	if shared.Peak > 1800 || shared.Typical <= time.Minute || shared.Longest > time.Hour {
		t.Errorf("with 1200 calls of others: %+v", shared)
	}
}

// TestHoursOfWhatIf: what a planner does in a few hours, to the call.
func TestHoursOfWhatIf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		span, backfill time.Duration
		limit, others  int
		want           string
	}{
		"an hour":              {time.Hour, time.Hour, 1800, 0, "[{Set:all Pool:siem Limit:1800 Calls:map[backfill:1 live:60 sweep:1] Peak:62 Typical:1m0s Longest:1m0s Backfill:10s}]"},
		"with calls of others": {time.Hour, time.Hour, 1800, 2400, "[{Set:all Pool:siem Limit:1800 Calls:map[backfill:1 live:60 sweep:1] Peak:161 Typical:1m0s Longest:1m0s Backfill:10s}]"},
		"half a day":           {12 * time.Hour, 24 * time.Hour, 1800, 0, "[{Set:all Pool:siem Limit:1800 Calls:map[backfill:24 live:720 sweep:34] Peak:778 Typical:1m0s Longest:1m0s Backfill:1m0s}]"},
		"scarce calls":         {12 * time.Hour, 6 * time.Hour, 100, 0, "[{Set:all Pool:siem Limit:100 Calls:map[backfill:6 live:12 sweep:23] Peak:41 Typical:55m30s Longest:1h0m0s Backfill:1h48m10s}]"},
		"no time":              {0, time.Hour, 1800, 0, "[{Set:all Pool:siem Limit:1800 Calls:map[] Peak:0 Typical:0s Longest:2562047h47m16.854775807s Backfill:-1ns}]"},
	} {
		q := question(c.backfill, c.limit)
		q.Span, q.Others = c.span, c.others
		if got := fmt.Sprintf("%+v", plan.WhatIf(q).Sets); got != c.want {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
	}
}
