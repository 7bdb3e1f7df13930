package plan_test

import (
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
)

func question(poll, backfill time.Duration, limit int) plan.Question {
	return plan.Question{
		Feeds: feed.SIEM(), Poll: poll, Backfill: backfill,
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
	a := plan.WhatIf(question(time.Minute, week, 1800)).Sets[0]
	if a.Peak > 1800 || a.Longest > time.Minute || a.Backfill < 0 || a.Backfill > 24*time.Hour || a.Calls["live"] < 1790 {
		t.Errorf("default limits: %+v", a)
	}
	scarce := plan.WhatIf(question(time.Minute, week, 100)).Sets[0]
	if scarce.Peak > 100 || scarce.Longest > 70*time.Minute || scarce.Typical <= time.Minute {
		t.Errorf("a hundred calls: %+v", scarce)
	}
	q := question(time.Minute, 0, 1800)
	q.Others, q.Span = 1200, 48*time.Hour
	shared := plan.WhatIf(q).Sets[0]
	if shared.Peak > 1800 || shared.Typical <= time.Minute || shared.Longest > time.Hour {
		t.Errorf("with 1200 calls of others: %+v", shared)
	}
}
