package plan

import (
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Question is a configuration to try out.
type Question struct {
	Settings
	Feeds    []feed.Feed
	Poll     time.Duration
	Backfill time.Duration // how far back collection begins, at most seven days
	Limits   map[feed.Pool]int
	Quota    time.Duration // margin before a unit comes back
	Others   int           // calls a day that others make with the credential, evenly
	Span     time.Duration // how long to look at
}

// Answer is what the planner would do, if every call succeeded at once.
type Answer struct {
	Sets []SetAnswer `json:"sets"`
}

// SetAnswer is the answer for one feed set.
type SetAnswer struct {
	Set      string         `json:"set"`
	Pool     feed.Pool      `json:"pool"`
	Limit    int            `json:"limit"`
	Calls    map[string]int `json:"calls"` // by lane, in the whole span
	Peak     int            `json:"peak"`  // most calls in any 24 hours, those of others included
	Typical  time.Duration  `json:"typical_cadence_ns"`
	Longest  time.Duration  `json:"longest_cadence_ns"` // between the ends of live windows
	Backfill time.Duration  `json:"backfill_ns"`        // until it is done; -1 when it is not
}

// whatIfStep is how often the imagined scheduler looks.
const whatIfStep = 10 * time.Second

// WhatIf runs the planner over an imagined span of time.
func WhatIf(q Question) Answer {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	pools := make(map[feed.Pool]*imagined)
	var runs []*imaginedSet
	for _, set := range feed.Cover(q.Feeds) {
		pool := set.Endpoint().Pool
		if pools[pool] == nil {
			st, _ := quota.Decode(nil, q.Quota) // nothing is a valid state
			pools[pool] = &imagined{state: st, limit: q.Limits[pool]}
		}
		c := Config{Tenant: "main", Set: set, Start: start.Add(-q.Backfill), Poll: q.Poll, Settings: q.Settings}
		run := &imaginedSet{c: c, s: Start(c, start), pool: pools[pool], answer: SetAnswer{
			Set: set.String(), Pool: pool, Limit: q.Limits[pool], Calls: make(map[string]int), Backfill: -1,
		}}
		run.head = run.s.GetLiveHead().AsTime()
		runs = append(runs, run)
	}
	others := 0
	for at := start; at.Before(start.Add(q.Span)); at = at.Add(whatIfStep) {
		for due := int(float64(q.Others) * at.Sub(start).Hours() / 24); others < due; others++ {
			for _, p := range pools {
				p.call(at)
			}
		}
		for _, run := range runs {
			run.step(at, start)
		}
	}
	var a Answer
	for _, run := range runs {
		a.Sets = append(a.Sets, run.finish())
	}
	return a
}

// imagined is a pool that remembers when calls were made.
type imagined struct {
	state *quota.State
	limit int
	calls []time.Time
}

func (p *imagined) call(at time.Time) bool {
	ok := true
	if p.limit > 0 {
		ok, _ = p.state.Reserve(at, p.limit)
	}
	if ok {
		p.calls = append(p.calls, at)
	}
	return ok
}

func (p *imagined) peak() (most int) {
	first := 0
	for i, at := range p.calls {
		for !p.calls[first].After(at.Add(-quota.Period)) {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

type imaginedSet struct {
	c        Config
	s        *taplinev1.PlanState
	pool     *imagined
	outcomes map[string]*taplinev1.JobRecord
	answer   SetAnswer
	head     time.Time
	gaps     []time.Duration
}

// step plans, and does what was planned.
func (r *imaginedSet) step(at, start time.Time) {
	supply := r.pool.state.Forecast(at, r.pool.limit)
	Step(r.c, r.s, Input{Now: at, Outcomes: r.outcomes, Supply: &supply})
	r.outcomes = make(map[string]*taplinev1.JobRecord)
	for _, j := range r.s.GetOutstanding() {
		if !r.pool.call(at) {
			break
		}
		r.answer.Calls[job.LaneName(j.GetLane())]++
		r.outcomes[j.GetId()] = &taplinev1.JobRecord{JobId: j.GetId(), State: taplinev1.WindowState_WINDOW_STATE_FETCHED, ReadAt: timestamppb.New(at)}
		if end := span(j).End; j.GetLane() == taplinev1.Lane_LANE_LIVE {
			r.gaps = append(r.gaps, end.Sub(r.head))
			r.head = end
		}
	}
	done := !r.s.GetBackfillNext().AsTime().Before(r.s.GetBackfillEnd().AsTime()) && r.waiting(at, taplinev1.Lane_LANE_BACKFILL) == 0
	if done && r.answer.Backfill < 0 {
		r.answer.Backfill = at.Sub(start)
	}
}

func (r *imaginedSet) waiting(at time.Time, lane taplinev1.Lane) int {
	return (&planner{s: r.s, in: Input{Now: at}}).waiting(lane)
}

func (r *imaginedSet) finish() SetAnswer {
	if len(r.gaps) > 0 {
		slices.Sort(r.gaps)
		r.answer.Typical = r.gaps[len(r.gaps)/2]
		r.answer.Longest = r.gaps[len(r.gaps)-1]
	} else {
		r.answer.Longest = math.MaxInt64
	}
	r.answer.Peak = r.pool.peak()
	return r.answer
}
