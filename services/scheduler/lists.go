package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Lists says how often campaigns and people are read.
type Lists struct {
	Campaigns time.Duration `env:"TAP_CAMPAIGN_INTERVAL" envDefault:"1h" usage:"time between two readings of the campaigns of the last day"`
	People    time.Duration `env:"TAP_PEOPLE_INTERVAL" envDefault:"8h" usage:"time between two readings of each list of people"`
	Windows   []int         `env:"TAP_PEOPLE_WINDOWS" envDefault:"14,30,90" usage:"days that the lists of people cover, separated by commas: any of 14, 30, 90"`
	Snapshot  time.Duration `env:"TAP_PEOPLE_SNAPSHOT" envDefault:"24h" usage:"people that have not changed are sent once in this time"`
}

// Validate checks the ranges.
func (l Lists) Validate() error {
	var problems []error
	for name, d := range map[string]time.Duration{"TAP_CAMPAIGN_INTERVAL": l.Campaigns, "TAP_PEOPLE_INTERVAL": l.People} {
		if d < time.Minute || d > 24*time.Hour {
			problems = append(problems, config.Invalid(name, d.String(), "want 1m to 24h"))
		}
	}
	if l.Snapshot < time.Hour || l.Snapshot > 7*24*time.Hour {
		problems = append(problems, config.Invalid("TAP_PEOPLE_SNAPSHOT", l.Snapshot.String(), "want 1h to 168h"))
	}
	for i, days := range l.Windows {
		if !slices.Contains([]int{14, 30, 90}, days) || slices.Contains(l.Windows[:i], days) {
			problems = append(problems, config.Invalid("TAP_PEOPLE_WINDOWS", fmt.Sprint(l.Windows), "want each of 14, 30, 90 at most once"))
			break
		}
	}
	return errors.Join(problems...)
}

// listing is the scheduler's view of one list.
type listing struct {
	cfg       plan.ListConfig
	key       string    // in STATE
	idle      time.Time // nothing is to be done before, by the clock of plans
	offered   string    // the job that this process offered to the bus last
	offeredAt time.Time
}

// listings are the lists of the feeds that are collected.
func (c Config) listings(start time.Time) []*listing {
	var all []*listing
	add := func(l plan.ListConfig) {
		l.Tenant, l.Start, l.Text, l.Margin, l.Snapshot = c.Tenant.Name, start, c.Start.text, c.Margin, c.Lists.Snapshot
		l.Limit = c.Quota.Limits()[l.Call.Pool()]
		all = append(all, &listing{cfg: l, key: plan.ListKey(c.Tenant.Name, l.Name())})
	}
	if c.Feeds.Has(feed.Campaigns) {
		add(plan.ListConfig{Call: feed.CallCampaignIDs, Interval: c.Lists.Campaigns, Lists: 1})
	}
	for _, call := range []feed.Call{feed.CallVAP, feed.CallTopClickers} {
		if !c.Feeds.Has(call.Feed()) {
			continue
		}
		for i, days := range c.Lists.Windows {
			n := len(c.Lists.Windows)
			add(plan.ListConfig{
				Call: call, Days: strconv.Itoa(days), Interval: c.Lists.People, Lists: n, Spread: c.Lists.People * time.Duration(i) / time.Duration(n),
			})
		}
	}
	return all
}

// advanceList reads the state of a list, plans, writes the state, and then publishes.
func (s *Scheduler) advanceList(ctx context.Context, l *listing) error {
	if s.now().Before(l.idle) {
		return nil
	}
	state, revision, err := s.readList(ctx, l)
	if err != nil {
		return err
	}
	var outcome *taplinev1.JobRecord
	if j := state.GetOutstanding(); j != nil {
		known, err := s.ledger.Outcomes(ctx, j.GetId())
		if err != nil {
			return err
		}
		if outcome = known[j.GetId()]; outcome.GetState() == taplinev1.WindowState_WINDOW_STATE_FETCHED {
			state.SkewMs = outcome.GetSkewMs()
		}
	}
	before := proto.CloneOf(state)
	now, _ := believed(s.now(), state.GetSkewMs())
	out := plan.StepList(l.cfg, state, now, outcome)
	var lost []plan.Range
	if out.Lost != nil {
		lost = append(lost, *out.Lost)
	}
	if err := s.ranges(ctx, plan.Output{Lost: lost}); err != nil {
		return err
	}
	if !proto.Equal(before, state) {
		err := s.keep(ctx, l, state, revision)
		if errors.Is(err, bus.ErrConflict) {
			return nil // another scheduler was faster; its plan is as good
		}
		if err != nil {
			return err
		}
		s.count(lost, nil)
	}
	step.At("scheduler.list")
	s.tellList(out)
	if out.New != nil {
		s.metrics.planned.WithLabelValues("list").Inc()
	}
	if state.GetOutstanding() == nil { // if another scheduler did more meanwhile, it is seen then
		l.idle = state.GetDue().AsTime()
	}
	return s.offer(ctx, l, state.GetOutstanding())
}

func (s *Scheduler) tellList(out plan.ListOutput) {
	if out.Earlier != "" {
		s.log.Warn("the start time is another than before", slog.String("effect", out.Earlier))
	}
	if out.Note != "" {
		s.log.Error("a list is not read to its end", slog.String("reason", out.Note))
	}
}

// readList reads the state of a list, which is empty at first.
func (s *Scheduler) readList(ctx context.Context, l *listing) (*taplinev1.ListState, uint64, error) {
	entry, err := s.state.Get(ctx, l.key)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return nil, 0, fmt.Errorf("read the state of list %s: %w", l.cfg.Name(), err)
	}
	state := &taplinev1.ListState{}
	if err := wire.Unmarshal(entry.Value, state); err != nil {
		return nil, 0, fmt.Errorf("state of list %s in %s is not readable: %w", l.cfg.Name(), bus.BucketState, err)
	}
	return state, entry.Revision, nil
}

// keep writes the state of a list.
func (s *Scheduler) keep(ctx context.Context, l *listing, state *taplinev1.ListState, revision uint64) error {
	data, err := proto.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode the state of list %s: %w", l.cfg.Name(), err)
	}
	if _, err := s.state.Update(ctx, l.key, data, revision); err != nil {
		return fmt.Errorf("write the state of list %s: %w", l.cfg.Name(), err)
	}
	return nil
}

// offer publishes the outstanding page now and then until it is read.
func (s *Scheduler) offer(ctx context.Context, l *listing, j *taplinev1.Job) error {
	if j == nil || (l.offered == j.GetId() && time.Since(l.offeredAt) < min(republishAfter, 60*s.cfg.Tick)) {
		return nil
	}
	if err := s.bus.PublishJob(ctx, j); err != nil && !errors.Is(err, bus.ErrOutstanding) {
		return err
	}
	step.At("scheduler.page")
	l.offered, l.offeredAt = j.GetId(), time.Now()
	return nil
}
