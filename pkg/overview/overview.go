package overview

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Source is the bus.
type Source interface {
	Bucket(ctx context.Context, name string) (*bus.Bucket, error)
	Usage(ctx context.Context, stream string) (bus.Usage, error)
	Backlog(ctx context.Context, c bus.Consumer) (bus.Backlog, error)
	SequenceAt(ctx context.Context, stream string, at time.Time) (uint64, error)
	Scan(ctx context.Context, s bus.Selection, visit func(bus.Stored) (bool, error)) error
}

// Reader looks at one tenant.
type Reader struct {
	src    Source
	tenant string
	state  *bus.Bucket
	now    func() time.Time

	Ledger *ledger.Ledger
	Quota  *quota.Limiter
}

// Open finds the buckets. now is the clock that windows and quota go by; nil means time.Now.
func Open(ctx context.Context, src Source, tenant string, limits quota.Config, now func() time.Time) (*Reader, error) {
	if now == nil {
		now = time.Now
	}
	r := &Reader{src: src, tenant: tenant, now: now}
	for name, use := range map[string]func(*bus.Bucket){
		bus.BucketState:  func(b *bus.Bucket) { r.state = b },
		bus.BucketLedger: func(b *bus.Bucket) { r.Ledger = ledger.New(b) },
		bus.BucketQuota:  func(b *bus.Bucket) { r.Quota = quota.NewLimiter(b, tenant, limits, now) },
	} {
		b, err := src.Bucket(ctx, name)
		if err != nil {
			return nil, err
		}
		use(b)
	}
	r.Quota.RebuildFrom(r.Ledger)
	return r, nil
}

// Tenant is whom it looks at.
func (r *Reader) Tenant() string { return r.tenant }

// set is the plan of one feed set.
type set struct {
	feed.Set
	plan *taplinev1.PlanState
	head time.Time // of live reading
	// rest is what backfill has still to plan.
	restFrom, restTo time.Time
}

// Feeds lists the feeds that are read by windows.
func (r *Reader) Feeds(ctx context.Context) (all feed.Set, err error) {
	sets, err := r.sets(ctx)
	for _, s := range sets {
		all = append(all, s.Set...)
	}
	return all, err
}

// sets reads the plans that are in force, in a fixed order.
func (r *Reader) sets(ctx context.Context) ([]set, error) {
	sets, unreadable, err := r.readable(ctx)
	if err == nil && len(unreadable) > 0 {
		err = fmt.Errorf("%w: %s", errUnreadable, strings.Join(unreadable, "; "))
	}
	return sets, err
}

var errUnreadable = errors.New("overview: a plan cannot be read")

// readable is [Reader.sets] with the plans that cannot be read beside the others.
func (r *Reader) readable(ctx context.Context) (all []set, unreadable []string, err error) {
	pairs, err := r.state.Select(ctx, r.tenant+".*")
	if err != nil {
		return nil, nil, fmt.Errorf("overview: %w", err)
	}
	var plans []plan.Old
	for _, pair := range pairs {
		one, err := plan.Decode(r.tenant, pair.Key, pair.Value)
		if err != nil {
			unreadable = append(unreadable, err.Error())
			continue
		}
		plans = append(plans, one)
	}
	for _, one := range plan.InForce(plans) {
		s := one.State
		all = append(all, set{one.Set, s, s.GetLiveHead().AsTime(), s.GetBackfillNext().AsTime(), s.GetBackfillEnd().AsTime()})
	}
	slices.SortFunc(all, func(a, b set) int { return strings.Compare(a.String(), b.String()) })
	return all, unreadable, nil
}
