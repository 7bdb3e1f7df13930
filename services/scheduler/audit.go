package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
)

const (
	auditEvery = time.Minute
	recently   = 6 * time.Hour // looked at in every audit; older days take turns
	lostFor    = 24 * time.Hour
	daysKept   = 9 // what the seven days of Proofpoint and the streams' eight can still change
)

// audit is when the ledger was looked at, and which day is next.
type audit struct {
	last   time.Time
	day    int             // so many days ago
	all    bool            // every day was looked at since the start
	logged map[string]bool // violations, so that each is logged once
}

// check raises what needs a look, and audits the ledger now and then.
func (s *Scheduler) check(ctx context.Context) error {
	for _, p := range s.plans {
		if p.state == nil {
			continue
		}
		s.watchEdge(ctx, p)
		s.watchUnproven(ctx, p)
		s.watchQuota(ctx, p)
		skew := time.Duration(p.state.GetSkewMs()) * time.Millisecond
		s.alarms.Set(ctx, alarm.ClockSkew, skew.Abs() > s.cfg.Alarms.Skew, fmt.Sprintf("the local clock is %s ahead of Proofpoint's", skew))
	}
	if time.Since(s.audit.last) < min(auditEvery, 60*s.cfg.Tick) {
		return nil
	}
	s.audit.last = time.Now()
	for _, watch := range []func(context.Context) error{s.watchPools, s.watchDead, s.watchMemory, s.auditLedger} {
		if err := watch(ctx); err != nil {
			return err
		}
	}
	return nil
}

// watchPools reports how many calls the pools have that are not planned with, and which pools have
// lost their memory.
func (s *Scheduler) watchPools(ctx context.Context) error {
	for _, pool := range feed.Pools() {
		st, err := s.quota.Watch(ctx, pool)
		if err != nil {
			return err
		}
		if left := lostFor - s.now().Sub(st.Rebuilt).Abs(); left > 0 {
			key := quota.Key(s.cfg.Tenant.Name, pool)
			s.alarms.HoldCause(ctx, alarm.MemoryLost, "QUOTA "+key, fmt.Sprintf("the calls in %s of QUOTA were lost and rebuilt from LEDGER at %s: %d count as made",
				key, st.Rebuilt.Format(time.RFC3339), st.Used), left)
		}
		if pool == feed.PoolNone {
			continue
		}
		s.metrics.quotaLeft.WithLabelValues(st.Pool).Set(float64(st.Left()))
		s.metrics.quotaExternal.WithLabelValues(st.Pool).Set(float64(st.External))
	}
	return nil
}

func (s *Scheduler) watchEdge(ctx context.Context, p *planning) {
	left, oldest, ok := plan.Edge(p.state, p.now)
	if !ok {
		left = window.Lookback
	}
	s.metrics.edge.Set(left.Seconds())
	// At the first start the oldest hours are always near the edge; backfill reads them first.
	near := ok && left < s.cfg.Alarms.Edge && p.now.Sub(p.state.GetBackfillEnd().AsTime()) > s.cfg.Alarms.Freshness
	s.alarms.Set(ctx, alarm.Edge, near, fmt.Sprintf("%s is unread and is served for another %s only", oldest.Format(time.RFC3339), left.Round(time.Minute)))
}

func (s *Scheduler) watchQuota(ctx context.Context, p *planning) {
	f := p.supply
	short := f.External > 0 && (p.cadence > p.cfg.Poll || f.Blocked.After(p.now))
	s.alarms.Set(ctx, alarm.Quota, short, fmt.Sprintf("pool %s: others made at least %d of %d calls; live calls are made every %s", p.pool, f.External, f.Limit, p.cadence))
}

// auditLedger looks at the last hours and at one day; at first at all days that still count.
func (s *Scheduler) auditLedger(ctx context.Context) error {
	now := s.now()
	report, err := s.audited(ctx, now.Add(-recently), now)
	if err != nil {
		return err
	}
	s.reportLosses(ctx, "recent", report)
	for _, p := range s.plans {
		if p.state != nil {
			s.watchFreshness(ctx, p, report)
		}
	}
	found := report.Violations()
	for range daysKept + 1 {
		day := now.Truncate(24*time.Hour).AddDate(0, 0, -s.audit.day)
		older, err := s.audited(ctx, day, day.Add(24*time.Hour))
		if err != nil {
			return err
		}
		s.reportLosses(ctx, fmt.Sprintf("day %d", s.audit.day), older)
		found = append(found, older.Violations()...)
		s.audit.day = (s.audit.day + 1) % (daysKept + 1)
		if s.audit.all {
			break
		}
	}
	s.audit.all = true
	s.reportViolations(ctx, found)
	return nil
}

func (s *Scheduler) reportViolations(ctx context.Context, found []ledger.Violation) {
	s.metrics.violations.Set(float64(len(found)))
	if len(found) == 0 {
		s.alarms.Clear(ctx, alarm.Ledger)
		return
	}
	s.alarms.Raise(ctx, alarm.Ledger, found[0].String())
	for _, v := range found {
		if text := v.String(); !s.audit.logged[text] {
			if s.audit.logged == nil || len(s.audit.logged) > 1000 {
				s.audit.logged = make(map[string]bool)
			}
			s.audit.logged[text] = true
			s.log.Error("the ledger check failed", slog.String("rule", v.Rule), slog.String("where", v.Where), slog.String("detail", v.Detail))
		}
	}
}

// watchFreshness finds up to when live reading has brought everything to the sink.
func (s *Scheduler) watchFreshness(ctx context.Context, p *planning, report *ledger.Report) {
	from := p.now.Add(-recently)
	if first := p.state.GetBackfillEnd().AsTime(); from.Before(first) {
		from = first
	}
	worst, which := time.Duration(0), feed.Feed("")
	for _, f := range p.cfg.Set {
		upTo, pending := report.Fresh(f, window.New(from, p.state.GetLiveHead().AsTime()))
		age := p.now.Sub(upTo)
		s.metrics.freshness.WithLabelValues(string(f)).Set(age.Seconds())
		s.metrics.pending.WithLabelValues(string(f)).Set(float64(pending))
		if age > worst {
			worst, which = age, f
		}
	}
	s.alarms.Set(ctx, alarm.Freshness, worst > s.cfg.Alarms.Freshness,
		fmt.Sprintf("%s is confirmed only up to %s ago; the target is %s", which, worst.Round(time.Second), s.cfg.Alarms.Freshness))
}
