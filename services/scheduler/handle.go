package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/scheduler/internal/plan"
)

// republishAfter is how often an outstanding job without a result is offered to
// the bus again; the bus refuses it while it is there.
const republishAfter = time.Minute

// planning is the scheduler's view of one feed set.
type planning struct {
	cfg       plan.Config
	key       string               // in STATE
	published map[string]time.Time // when this process offered a job to the bus
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
	outcomes, err := s.outcomes(ctx, p, state)
	if err != nil {
		return err
	}
	// A local clock that is ahead of Proofpoint's would ask for the future.
	now := s.now().Add(-time.Duration(state.GetSkewMs()) * time.Millisecond)
	out := plan.Step(p.cfg, state, plan.Input{
		Now: now, Outcomes: outcomes, NoBackfill: s.room.noBackfill, NoLive: s.room.noLive,
	})
	if err := s.lose(ctx, p, out.Lost); err != nil {
		return err
	}
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
	}
	s.note(state, out, now)
	return s.publish(ctx, p, state.GetOutstanding())
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
		return plan.Start(p.cfg, s.now()), 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the plan of %s: %w", p.cfg.Set, err)
	}
	state := &taplinev1.PlanState{}
	if err := proto.Unmarshal(entry.Value, state); err != nil {
		return nil, 0, fmt.Errorf("plan of %s in %s is not readable: %w", p.cfg.Set, bus.BucketState, err)
	}
	return state, entry.Revision, nil
}

// outcomes asks the ledger about every outstanding job.
func (s *Scheduler) outcomes(ctx context.Context, p *planning, state *taplinev1.PlanState) (map[string]taplinev1.WindowState, error) {
	known := make(map[string]taplinev1.WindowState)
	for _, job := range state.GetOutstanding() {
		w, err := window.FromProto(job.GetWindow())
		if err != nil {
			return nil, fmt.Errorf("job %s in the plan: %w", job.GetId(), err)
		}
		outcome, err := s.ledger.Outcome(ctx, p.cfg.Tenant, p.cfg.Set, ledger.Window{Window: w, Pass: job.GetPass()})
		if err != nil {
			return nil, fmt.Errorf("job %s: %w", job.GetId(), err)
		}
		if outcome.State > taplinev1.WindowState_WINDOW_STATE_PLANNED {
			known[job.GetId()] = outcome.State
			state.SkewMs = outcome.SkewMS
		}
	}
	return known, nil
}

// lose writes ranges that cannot be read any more into the ledger, before the
// state forgets them.
func (s *Scheduler) lose(ctx context.Context, p *planning, lost []window.Window) error {
	for _, w := range lost {
		for _, f := range p.cfg.Set {
			err := s.ledger.Put(ctx, &taplinev1.WindowRecord{
				Tenant: p.cfg.Tenant, Feed: string(f), Window: w.Proto(), State: taplinev1.WindowState_WINDOW_STATE_LOST,
				Reason: "older than the seven days that Proofpoint serves",
			})
			if err != nil {
				return fmt.Errorf("note the lost range %s: %w", w, err)
			}
		}
		s.metrics.lost.Add(w.Span().Seconds())
		s.log.Error("a range is lost: it is older than the seven days that Proofpoint serves",
			slog.String("feeds", p.cfg.Set.String()), slog.String("range", w.Interval()))
	}
	return nil
}

// publish offers outstanding jobs to the bus, each now and then until it is done.
func (s *Scheduler) publish(ctx context.Context, p *planning, jobs []*taplinev1.Job) error {
	current := make(map[string]time.Time, len(jobs))
	var problems []error
	for _, job := range jobs {
		last, ok := p.published[job.GetId()]
		if ok && time.Since(last) < republishAfter {
			current[job.GetId()] = last
			continue
		}
		err := s.bus.PublishJob(ctx, job, p.cfg.Set.String(), plan.LaneName(job.GetLane()))
		if err != nil && !errors.Is(err, bus.ErrOutstanding) {
			problems = append(problems, err)
			continue
		}
		current[job.GetId()] = time.Now()
	}
	p.published = current
	return errors.Join(problems...)
}

func (s *Scheduler) note(state *taplinev1.PlanState, out plan.Output, now time.Time) {
	for _, job := range out.New {
		s.metrics.planned.WithLabelValues(plan.LaneName(job.GetLane())).Inc()
		s.log.Debug("planned", slog.String("job", job.GetId()))
	}
	waiting := map[string]int{plan.Live: 0, plan.Sweep: 0, plan.Backfill: 0}
	for _, job := range state.GetOutstanding() {
		waiting[plan.LaneName(job.GetLane())]++
	}
	for lane, n := range waiting {
		s.metrics.outstanding.WithLabelValues(lane).Set(float64(n))
	}
	s.metrics.headLag.Set(now.Sub(state.GetLiveHead().AsTime()).Seconds())
	s.metrics.backfill.Set(state.GetBackfillEnd().AsTime().Sub(state.GetBackfillNext().AsTime()).Seconds())
}
