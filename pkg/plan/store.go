package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

var (
	errUnreadable = errors.New("plan is not readable")
	// ErrNotServed is returned for a span of time that Proofpoint no longer serves, or not yet.
	ErrNotServed = errors.New("nothing of it is served by Proofpoint")
)

// selector is what reading plans needs of the bucket STATE.
type selector interface {
	Select(ctx context.Context, filters ...string) ([]bus.Pair, error)
}

// putter is what ordering needs of the bucket STATE.
type putter interface {
	Put(ctx context.Context, key string, value []byte) error
}

// Key is where the plan of a feed set is kept in STATE.
func Key(tenant string, set feed.Set) string { return tenant + "." + set.String() }

// ListKey is where the state of a list is kept in STATE.
func ListKey(tenant, name string) string { return "list." + tenant + "." + name }

const retryPrefix = "retry."

// RetryKeys matches the orders of operators to read something once more.
func RetryKeys(tenant string) string { return retryPrefix + tenant + ".>" }

// Decode reads a plan under its key.
func Decode(tenant, key string, value []byte) (Old, error) {
	set, ok := feed.ParseSet(strings.TrimPrefix(key, tenant+"."))
	if !ok {
		return Old{}, fmt.Errorf("%w: %s in %s is of no set of feeds", errUnreadable, key, bus.BucketState)
	}
	s := &taplinev1.PlanState{}
	if err := wire.Unmarshal(value, s); err != nil {
		return Old{}, fmt.Errorf("%w: %s in %s: %w", errUnreadable, key, bus.BucketState, err)
	}
	return Old{set, s}, nil
}

// Wanted reports whether a plan still wants a window of SIEM records, or a page of a list. The plan
// that lists it is written before the job is published, so a job that is not listed is one of a
// plan that is no more. Without any plan the answer is no.
func Wanted(ctx context.Context, state selector, j *taplinev1.Job) (bool, error) {
	filter := j.GetTenant() + ".*"
	if j.GetCall() != "" {
		filter = ListKey(j.GetTenant(), "*")
	}
	pairs, err := state.Select(ctx, filter)
	if err != nil {
		return false, fmt.Errorf("is job %s wanted: %w", j.GetId(), err)
	}
	if len(pairs) == 0 {
		return true, nil
	}
	var plans []Old
	for _, pair := range pairs {
		if j.GetCall() != "" {
			list := &taplinev1.ListState{}
			if err := wire.Unmarshal(pair.Value, list); err != nil {
				return false, fmt.Errorf("%w: %s in %s: %w", errUnreadable, pair.Key, bus.BucketState, err)
			}
			if list.GetOutstanding().GetId() == j.GetId() {
				return true, nil
			}
			continue
		}
		o, err := Decode(j.GetTenant(), pair.Key, pair.Value)
		if err != nil {
			return false, err
		}
		plans = append(plans, o)
	}
	return slices.ContainsFunc(InForce(plans), func(o Old) bool {
		return slices.ContainsFunc(Offered(o.State), func(k *taplinev1.Job) bool { return k.GetId() == j.GetId() })
	}), nil
}

// RequestRetry has the scheduler read a span of time of some feeds once more, as far as Proofpoint
// still serves it. No feeds means all.
func RequestRetry(ctx context.Context, state putter, tenant string, now time.Time, order *taplinev1.Retry) error {
	w, err := window.FromProto(order.GetWindow())
	if err != nil {
		return fmt.Errorf("order to read once more: %w", err)
	}
	if served := w.Within(window.New(Oldest(now), now)); served.Empty() {
		return fmt.Errorf("%w: %s, and now it serves from %s on", ErrNotServed, w, stamp(Oldest(now)))
	}
	order.At = timestamppb.New(now)
	data, err := proto.Marshal(order)
	if err != nil {
		return fmt.Errorf("order to read %s once more: %w", w, err)
	}
	feeds := strings.Join(order.GetFeeds(), "-")
	if feeds == "" {
		feeds = "all"
	}
	if err := state.Put(ctx, retryPrefix+tenant+"."+w.Compact("-")+"."+feeds, data); err != nil {
		return fmt.Errorf("order to read %s once more: %w", w, err)
	}
	return nil
}
