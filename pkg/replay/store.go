package replay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	// maxOrders is below what one request may select; the bucket forgets orders a month after their
	// last change.
	maxOrders = 900
)

// ErrTooMany says that the bucket has no room for another order.
var ErrTooMany = fmt.Errorf("there are %d replays of the last 30 days, which is as many as are kept", maxOrders)

var errMalformed = errors.New("malformed replay")

// store is the bucket REPLAY.
type store interface {
	Get(ctx context.Context, key string) (bus.Entry, error)
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Select(ctx context.Context, filters ...string) ([]bus.Pair, error)
}

// Store holds the orders of one tenant.
type Store struct {
	store  store
	tenant string
}

// NewStore returns the store over the bucket REPLAY.
func NewStore(s store, tenant string) *Store { return &Store{s, tenant} }

// NewID is a name for an order: its time, so that orders sort by age, and some chance.
func NewID(now time.Time) string {
	return now.UTC().Format("20060102-150405") + "-" + strings.ToLower(rand.Text()[:5])
}

func (s *Store) key(id string) string { return s.tenant + "." + id }

// Give writes an order for the first time. Its consumer must exist. It may be repeated when it is
// not known whether the order was written; an order that is already under way is returned as it is.
func (s *Store) Give(ctx context.Context, o *taplinev1.ReplayOrder) (*taplinev1.Replay, error) {
	all, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	if len(all) >= maxOrders && !slices.ContainsFunc(all, func(r *taplinev1.Replay) bool { return r.GetOrder().GetId() == o.GetId() }) {
		return nil, ErrTooMany
	}
	r := &taplinev1.Replay{Order: o, State: ordered, ChangedAt: timestamppb.Now()}
	data, err := proto.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("replay %s: %w", o.GetId(), err)
	}
	_, err = s.store.Create(ctx, s.key(o.GetId()), data)
	if errors.Is(err, bus.ErrConflict) { // ids differ by chance, so it is this one
		return s.Get(ctx, o.GetId())
	}
	if err != nil {
		return nil, fmt.Errorf("replay %s: %w", o.GetId(), err)
	}
	return r, nil
}

// entry is an order as it was at a revision.
type entry struct {
	replay   *taplinev1.Replay
	revision uint64
}

func decode(e bus.Entry) (entry, error) {
	r := &taplinev1.Replay{}
	if err := wire.Unmarshal(e.Value, r); err != nil || r.GetOrder() == nil {
		return entry{}, errors.Join(errMalformed, err)
	}
	return entry{r, e.Revision}, nil
}

func (s *Store) read(ctx context.Context, id string) (entry, error) {
	e, err := s.store.Get(ctx, s.key(id))
	if err != nil {
		return entry{}, fmt.Errorf("replay %s: %w", id, err)
	}
	found, err := decode(e)
	if err != nil {
		return entry{}, fmt.Errorf("replay %s: %w", id, err)
	}
	return found, nil
}

// Get reads one order. [bus.ErrNotFound]: there is none.
func (s *Store) Get(ctx context.Context, id string) (*taplinev1.Replay, error) {
	e, err := s.read(ctx, id)
	return e.replay, err
}

// List reads all orders, the oldest first.
func (s *Store) List(ctx context.Context) ([]*taplinev1.Replay, error) {
	pairs, err := s.store.Select(ctx, s.key("*"))
	if err != nil {
		return nil, fmt.Errorf("replays: %w", err)
	}
	var all []*taplinev1.Replay
	for _, pair := range pairs {
		e, err := decode(pair.Entry)
		if err != nil { // it says nothing about the others; Get reports what is wrong with it
			continue
		}
		all = append(all, e.replay)
	}
	slices.SortFunc(all, func(x, y *taplinev1.Replay) int { return strings.Compare(x.GetOrder().GetId(), y.GetOrder().GetId()) })
	return all, nil
}

// Change applies a change to what is stored, rereading it whenever another process was faster. An
// error of the change leaves everything as it is.
func (s *Store) Change(ctx context.Context, id string, change func(*taplinev1.Replay) error) (*taplinev1.Replay, error) {
	e, err := s.change(ctx, id, nil, change)
	return e.replay, err
}

// change tries first with what the caller knows.
func (s *Store) change(ctx context.Context, id string, known *entry, change func(*taplinev1.Replay) error) (e entry, err error) {
	err = bus.RetryOnConflict(ctx, func() (err error) {
		if known != nil {
			e, known = entry{proto.CloneOf(known.replay), known.revision}, nil
		} else if e, err = s.read(ctx, id); err != nil {
			return err
		}
		before := proto.CloneOf(e.replay)
		if err := change(e.replay); err != nil {
			e.replay = before
			return err
		}
		if proto.Equal(before, e.replay) {
			return nil
		}
		data, err := proto.Marshal(e.replay)
		if err == nil {
			e.revision, err = s.store.Update(ctx, s.key(id), data, e.revision)
		}
		if err != nil {
			e = entry{}
			return fmt.Errorf("replay %s: %w", id, err)
		}
		return nil
	})
	return e, err
}
