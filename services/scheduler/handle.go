package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// republishAfter is how often an outstanding job without a result is offered to
// the bus again; the bus refuses it while it is there.
const republishAfter = time.Minute

// planning is the scheduler's view of one feed set.
type planning struct {
	cfg       plan.Config
	pool      feed.Pool
	key       string               // in STATE
	published map[string]time.Time // when this process offered a job to the bus
	state     *taplinev1.PlanState // as last seen
	now       time.Time            // by Proofpoint's clock, at that time
	cadence   time.Duration
	supply    quota.Forecast
}

// advance reads the state, plans, writes the state, and then publishes.
func (s *Scheduler) advance(ctx context.Context, p *planning) error {
	state, revision, err := s.read(ctx, p)
	if err != nil {
		return err
	}
	before, err := encode(state)
	if err != nil {
		return err
	}
	outcomes, err := s.outcomes(ctx, state)
	if err != nil {
		return err
	}
	supply, err := s.quota.Forecast(ctx, p.pool)
	if err != nil {
		return err
	}
	now, earliest := believed(s.now(), state.GetSkewMs())
	orders := s.orders.take(p.cfg, state, now)
	out := plan.Step(p.cfg, state, plan.Input{
		Now: now, Earliest: earliest, Outcomes: outcomes, Supply: &supply, NoBackfill: s.backpressure.noBackfill, NoLive: s.backpressure.noLive,
	})
	if err := s.ranges(ctx, out); err != nil {
		return err
	}
	step.At("scheduler.ranges")
	after, err := encode(state)
	if err != nil {
		return err
	}
	if revision == 0 || string(before) != string(after) {
		if _, err := s.state.Update(ctx, p.key, after, revision); err != nil {
			if errors.Is(err, bus.ErrConflict) {
				return nil // another scheduler was faster; its plan is as good
			}
			return fmt.Errorf("write the plan of %s: %w", p.cfg.Set, err)
		}
		s.count(out.Lost, out.Sealed)
	}
	step.At("scheduler.state")
	if err := s.orders.done(ctx, s.state, orders); err != nil {
		return err
	}
	p.state, p.now = state, now
	s.countPlanned(p, out, supply)
	return s.publish(ctx, p, plan.Offered(state))
}

// maxSkew bounds what a measured clock moves the head of reading.
const maxSkew = time.Hour

// believed is the present that windows are planned by, and the earliest that it may be. A local
// clock that is ahead of Proofpoint's would ask for the future; one that is behind is not moved, so
// that the head never passes the local present. By a clock that is more than an hour off nothing is
// lost.
func believed(local time.Time, skewMs int64) (now, earliest time.Time) {
	skew := max(time.Duration(skewMs)*time.Millisecond, 0)
	return local.Add(-min(skew, maxSkew)), local.Add(-skew)
}

func encode(state *taplinev1.PlanState) ([]byte, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(state)
	if err != nil {
		return nil, fmt.Errorf("encode the plan: %w", err)
	}
	return data, nil
}

func (s *Scheduler) read(ctx context.Context, p *planning) (*taplinev1.PlanState, uint64, error) {
	entry, err := s.state.Get(ctx, p.key)
	if errors.Is(err, bus.ErrNotFound) {
		return s.begin(ctx, p)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the plan of %s: %w", p.cfg.Set, err)
	}
	state := &taplinev1.PlanState{}
	if err := wire.Unmarshal(entry.Value, state); err != nil {
		return nil, 0, fmt.Errorf("plan of %s in %s is not readable: %w", p.cfg.Set, bus.BucketState, err)
	}
	return state, entry.Revision, nil
}

// outcomes asks the ledger about every outstanding job.
func (s *Scheduler) outcomes(ctx context.Context, state *taplinev1.PlanState) (map[string]*taplinev1.JobRecord, error) {
	var ids []string
	for _, j := range plan.Offered(state) {
		ids = append(ids, j.GetId())
	}
	known, err := s.ledger.Outcomes(ctx, ids...)
	if err != nil {
		return nil, err
	}
	for _, j := range plan.Offered(state) { // the latest word on the clock counts
		if w := known[j.GetId()]; w.GetState() == taplinev1.WindowState_WINDOW_STATE_FETCHED {
			state.SkewMs = w.GetSkewMs()
		}
	}
	return known, nil
}

// ranges writes what is lost and what is sealed into the ledger, before the
// state forgets it.
func (s *Scheduler) ranges(ctx context.Context, out plan.Output) error {
	put := func(r plan.Range, state taplinev1.WindowState) error {
		err := s.ledger.RecordRange(ctx, s.cfg.Tenant.Name, &taplinev1.RangeRecord{
			Window: r.Proto(), State: state, Feeds: r.Feeds, Reason: r.Reason, At: timestamppb.New(s.now()),
		})
		if err != nil {
			return fmt.Errorf("record the range %s: %w", r.Window, err)
		}
		return nil
	}
	for _, r := range out.Lost {
		if err := put(r, taplinev1.WindowState_WINDOW_STATE_LOST); err != nil {
			return err
		}
		s.alarms.Hold(ctx, alarm.Lost, r.String()+" cannot be read any more: "+r.Reason, lostFor)
		s.log.Error("a range is lost", slog.Any("feeds", r.Feeds), slog.String("range", r.Interval()), slog.String("reason", r.Reason))
	}
	if r := out.Dropped; r != nil {
		s.log.Warn("collection begins later than configured", slog.String("left_out", r.Interval()), slog.String("reason", r.Reason))
	}
	for _, r := range out.Sealed {
		if err := put(r, taplinev1.WindowState_WINDOW_STATE_SEALED); err != nil {
			return err
		}
	}
	return nil
}

// count updates the metrics of ranges, once the state has forgotten them: until then any scheduler
// may find them again, and writes them into the same place of the ledger.
func (s *Scheduler) count(lost, sealed []plan.Range) {
	for _, r := range lost {
		s.metrics.lost.Add(r.Span().Seconds() * float64(len(r.Feeds)))
	}
	for _, r := range sealed {
		s.metrics.sealed.Add(r.Span().Seconds() * float64(len(r.Feeds)))
	}
}

// publish offers outstanding jobs to the bus, each now and then until it is done.
func (s *Scheduler) publish(ctx context.Context, p *planning, jobs []*taplinev1.Job) error {
	current := make(map[string]time.Time, len(jobs))
	var problems []error
	for _, j := range jobs {
		last, ok := p.published[j.GetId()]
		if ok && time.Since(last) < min(republishAfter, 60*s.cfg.Tick) {
			current[j.GetId()] = last
			continue
		}
		err := s.bus.PublishJob(ctx, j)
		s.turn()
		if err != nil && !errors.Is(err, bus.ErrOutstanding) {
			problems = append(problems, err)
			continue
		}
		step.At("scheduler.job")
		current[j.GetId()] = time.Now()
	}
	p.published = current
	return errors.Join(problems...)
}

func (s *Scheduler) countPlanned(p *planning, out plan.Output, supply quota.Forecast) {
	for _, j := range out.New {
		s.metrics.planned.WithLabelValues(job.LaneName(j.GetLane())).Inc()
		s.log.Debug("planned", slog.String("job", j.GetId()))
	}
	waiting := make(map[string]int)
	for _, j := range p.state.GetOutstanding() {
		waiting[job.LaneName(j.GetLane())]++
	}
	s.metrics.unproven.Set(float64(len(p.state.GetAsides())))
	s.metrics.lag.Set(float64(p.state.GetLagMs()) / 1000)
	for _, lane := range job.SIEMLanes() {
		s.metrics.outstanding.WithLabelValues(lane).Set(float64(waiting[lane]))
	}
	s.metrics.headLag.Set(p.now.Sub(p.state.GetLiveHead().AsTime()).Seconds())
	s.metrics.backfill.Set(plan.Waiting(p.state).Seconds())
	s.metrics.cadence.Set(out.Cadence.Seconds())
	s.metrics.quotaLeft.WithLabelValues(string(p.pool)).Set(float64(supply.Left))
	s.metrics.quotaExternal.WithLabelValues(string(p.pool)).Set(float64(supply.External))
	p.cadence, p.supply = out.Cadence, supply
}
