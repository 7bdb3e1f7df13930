package overview

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// List is how far one list is: the campaigns, or people over a number of days.
type List struct {
	List  string    `json:"list"`
	Head  time.Time `json:"head"` // up to where, or when, it was read; zero if never
	Due   time.Time `json:"due"`  // when it is read next
	Page  uint32    `json:"page"` // that is being read; 0 if none is
	Pages uint32    `json:"pages"`
}

// Expansion is how threats and campaigns that records name are asked for. The counts are those of
// the last six hours.
type Expansion struct {
	Waiting   uint64      `json:"waiting"` // batches that were not searched for names yet
	InWork    int         `json:"in_work"`
	Named     uint32      `json:"named"`
	Known     uint32      `json:"known"`
	Ordered   uint32      `json:"ordered"`
	Amended   uint32      `json:"amended"`
	Dead      uint32      `json:"dead"`
	HitRate   float64     `json:"hit_rate"` // share of the named that were known, 0 to 1
	Forensics []Forensics `json:"forensics"`
}

// Forensics is one queue of reports to ask for.
type Forensics struct {
	Call   feed.Call `json:"call"`
	Levels []uint64  `json:"levels"` // waiting, the most important level first
	Days   float64   `json:"days"`   // that the queue takes at the limit of its pool
}

// consumersOf lists who reads a lane.
func consumersOf(lane string) []bus.Consumer {
	switch lane {
	case job.Live:
		return []bus.Consumer{bus.ConsumerFetcherLive}
	case job.Sweep:
		return []bus.Consumer{bus.ConsumerFetcherSweep}
	case job.Backfill:
		return []bus.Consumer{bus.ConsumerFetcherBackfill}
	case job.List:
		return []bus.Consumer{bus.ConsumerFetcherList}
	case job.Expand:
		return []bus.Consumer{bus.ConsumerFetcherExpand}
	case job.Retry:
		return []bus.Consumer{bus.ConsumerFetcherRetry}
	}
	level := slices.Index([]string{job.Forensics1, job.Forensics2, job.Forensics3, job.Forensics4}, lane)
	if level < 0 {
		return nil
	}
	return []bus.Consumer{bus.ForensicsConsumers(feed.CallThreatForensics)[level], bus.ForensicsConsumers(feed.CallCampaignForensics)[level]}
}

// recently is how far back expansion is looked at.
const recently = 6 * time.Hour

func (r *Reader) expansion(ctx context.Context, s *Status) error {
	pairs, err := r.state.Select(ctx, "list."+r.tenant+".*")
	if err != nil {
		return fmt.Errorf("overview: %w", err)
	}
	for _, pair := range pairs {
		state := &taplinev1.ListState{}
		if err := wire.Unmarshal(pair.Value, state); err != nil {
			s.Unreadable = append(s.Unreadable, pair.Key+": "+err.Error())
			continue
		}
		list := List{
			List: strings.TrimPrefix(pair.Key, "list."+r.tenant+"."), Due: state.GetDue().AsTime(), Page: state.GetOutstanding().GetPass(), Pages: state.GetPages(),
		}
		if state.GetHead() != nil {
			list.Head = state.GetHead().AsTime()
		}
		s.Lists = append(s.Lists, list)
	}
	slices.SortFunc(s.Lists, func(a, b List) int { return strings.Compare(a.List, b.List) })
	backlog, err := r.src.Backlog(ctx, bus.ConsumerExpander)
	if err != nil {
		return fmt.Errorf("overview: %w", err)
	}
	sums, err := r.Ledger.Load(ctx, r.tenant, r.now().Add(-recently), r.now().Add(time.Hour))
	if err != nil {
		return err
	}
	wants := sums.Lookups()
	s.Expand = Expansion{
		Waiting: backlog.Waiting, InWork: backlog.InWork, Named: wants.GetNamed(), Known: wants.GetKnown(), Ordered: wants.GetOrdered(),
		Amended: wants.GetAmended(), Dead: wants.GetDead(),
	}
	if s.Expand.Named > 0 {
		s.Expand.HitRate = float64(s.Expand.Known) / float64(s.Expand.Named)
	}
	return r.forensics(ctx, s)
}

func (r *Reader) forensics(ctx context.Context, s *Status) error {
	for _, call := range []feed.Call{feed.CallThreatForensics, feed.CallCampaignForensics} {
		queue, total := Forensics{Call: call}, uint64(0)
		for _, consumer := range bus.ForensicsConsumers(call) {
			backlog, err := r.src.Backlog(ctx, consumer)
			if err != nil {
				return fmt.Errorf("overview: %w", err)
			}
			waiting := backlog.Waiting + uint64(backlog.InWork)
			queue.Levels = append(queue.Levels, waiting)
			total += waiting
		}
		queue.Days = float64(total) / float64(r.Quota.Limits()[call.Pool()])
		s.Expand.Forensics = append(s.Expand.Forensics, queue)
	}
	return nil
}
