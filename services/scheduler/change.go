package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// stored is a plan as it is in STATE.
type stored struct {
	plan.Old
	bus.Pair
}

// prepare brings the plans in STATE in line with the configuration, before anything is planned: the
// plan of a changed set of feeds follows from the one before, and readings of lists that are
// switched off end. It is repeated until it succeeds once. Each plan is written before the one that
// it replaces is deleted, and says how many changes it has seen, so an end between the two leaves
// no doubt about which is in force.
func (s *Scheduler) prepare(ctx context.Context) error {
	plans, err := s.storedPlans(ctx)
	if err != nil {
		return err
	}
	lists, err := s.endLists(ctx)
	if err != nil {
		return err
	}
	if len(plans) == 0 {
		if lists > 0 {
			return nil
		}
		if err := s.cfg.Start.first(s.now()); err != nil {
			return err
		}
		return s.quota.Begin(ctx) // setup seeds the first tenant of a server only
	}
	return s.change(ctx, plans)
}

func (s *Scheduler) storedPlans(ctx context.Context) ([]stored, error) {
	pairs, err := s.state.Select(ctx, s.cfg.Tenant.Name+".*")
	if err != nil {
		return nil, fmt.Errorf("read the plans: %w", err)
	}
	var plans []stored
	for _, pair := range pairs {
		o, err := plan.Decode(s.cfg.Tenant.Name, pair.Key, pair.Value)
		if err != nil {
			return nil, fmt.Errorf("read the plans: %w", err)
		}
		plans = append(plans, stored{o, pair})
	}
	return plans, nil
}

// change replaces the plans in force, if they are not of the configured feeds, and deletes those
// that are not in force.
func (s *Scheduler) change(ctx context.Context, plans []stored) error {
	var olds []plan.Old
	for _, p := range plans {
		olds = append(olds, p.Old)
	}
	current := plan.InForce(olds)
	cfg, key := plan.Config{Tenant: s.cfg.Tenant.Name, Settings: plan.Settings{Margin: s.cfg.Margin}, Start: s.start}, plan.Key(s.cfg.Tenant.Name, current[0].Set)
	for _, p := range s.plans {
		cfg, key = p.cfg, p.key
	}
	state := current[0].State
	before, err := encode(state)
	if err != nil {
		return err
	}
	if len(current) > 1 || plan.Changed(current[0], cfg.Set) {
		state = plan.Change(cfg, current, s.now())
		s.log.Warn("the feeds are others than before; the plan follows from the one before",
			slog.String("before", current[0].Set.String()), slog.String("now", cfg.Set.String()))
	}
	if note := plan.Begin(cfg, state, s.cfg.Start.text, s.now()); note != "" {
		s.log.Warn("the start time is another than before", slog.String("effect", note))
	}
	after, err := encode(state)
	if err != nil {
		return err
	}
	if string(before) != string(after) {
		if err := s.replace(ctx, key, after, plans); err != nil {
			return err
		}
	}
	step.At("scheduler.change")
	for _, p := range plans {
		if p.Key == key {
			continue
		}
		if err := s.state.Delete(ctx, p.Key, p.Revision); err != nil {
			return fmt.Errorf("end the plan %s: %w", p.Key, err)
		}
	}
	return nil
}

// replace writes a plan over whatever its key has.
func (s *Scheduler) replace(ctx context.Context, key string, data []byte, plans []stored) error {
	revision := uint64(0)
	if i := slices.IndexFunc(plans, func(p stored) bool { return p.Key == key }); i >= 0 {
		revision = plans[i].Revision
	}
	if _, err := s.state.Update(ctx, key, data, revision); err != nil {
		return fmt.Errorf("write the plan %s: %w", key, err)
	}
	return nil
}

// endLists ends the readings of lists that are not configured, and counts the lists that were ever
// read. They resume where they stopped when they are switched on again.
func (s *Scheduler) endLists(ctx context.Context) (int, error) {
	pairs, err := s.state.Select(ctx, plan.ListKey(s.cfg.Tenant.Name, "*"))
	if err != nil {
		return 0, fmt.Errorf("read the lists: %w", err)
	}
	for _, pair := range pairs {
		state := &taplinev1.ListState{}
		if err := wire.Unmarshal(pair.Value, state); err != nil {
			return 0, fmt.Errorf("state of list %s in %s is not readable: %w", pair.Key, bus.BucketState, err)
		}
		configured := slices.ContainsFunc(s.lists, func(l *listing) bool { return l.key == pair.Key })
		if configured || state.GetOutstanding() == nil {
			continue
		}
		state.Outstanding = nil
		data, err := proto.Marshal(state)
		if err == nil {
			_, err = s.state.Update(ctx, pair.Key, data, pair.Revision)
		}
		if err != nil {
			return 0, fmt.Errorf("end the reading of list %s: %w", pair.Key, err)
		}
		s.log.Warn("a list is switched off; its reading ends", slog.String("list", strings.TrimPrefix(pair.Key, plan.ListKey(s.cfg.Tenant.Name, ""))))
	}
	return len(pairs), nil
}

// begin is the first plan of a tenant. A plan that was there and is gone was taken over by another
// scheduler.
func (s *Scheduler) begin(ctx context.Context, p *planning) (*taplinev1.PlanState, uint64, error) {
	plans, err := s.storedPlans(ctx)
	if err != nil {
		return nil, 0, err
	}
	if len(plans) > 0 {
		return nil, 0, fmt.Errorf("plan of %s: %w: %s", p.cfg.Set, errReplaced, plans[0].Set)
	}
	now, _ := believed(s.now(), 0)
	state := plan.Start(p.cfg, now)
	state.StartTime = s.cfg.Start.text
	return state, 0, nil
}

// orders are what operators want read once more.
type orders struct {
	looked time.Time
	found  []bus.Pair
}

// look asks now and then for orders.
func (o *orders) look(ctx context.Context, state *bus.Bucket, tenant string, every time.Duration) (err error) {
	if time.Since(o.looked) < every {
		return nil
	}
	o.looked = time.Now()
	if o.found, err = state.Select(ctx, plan.RetryKeys(tenant)); err != nil {
		return fmt.Errorf("look for orders: %w", err)
	}
	return nil
}

// take puts the orders into a plan. An order stays in STATE until the plan is written, so that an
// end in between forgets none; to take one twice adds nothing that waits already.
func (o *orders) take(cfg plan.Config, state *taplinev1.PlanState, now time.Time) []bus.Pair {
	for _, pair := range o.found {
		order := &taplinev1.Retry{}
		if wire.Unmarshal(pair.Value, order) == nil {
			plan.Retry(cfg, state, now, order)
		}
	}
	return o.found
}

// done deletes orders that are in a plan.
func (o *orders) done(ctx context.Context, state *bus.Bucket, taken []bus.Pair) error {
	for _, pair := range taken {
		if err := state.Delete(ctx, pair.Key, pair.Revision); err != nil && !errors.Is(err, bus.ErrConflict) {
			return fmt.Errorf("end an order: %w", err)
		}
	}
	o.found = nil
	return nil
}
