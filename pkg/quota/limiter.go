package quota

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/step"
)

// Config holds the limits, as Proofpoint documents them unless configured.
type Config struct {
	SIEM              int           `env:"QUOTA_SIEM" envDefault:"1800" usage:"calls of pool siem in 24 hours"`
	SIEMPermitted     int           `env:"QUOTA_SIEM_PERMITTED" envDefault:"1800" usage:"calls of pool siem-permitted in 24 hours"`
	CampaignIDs       int           `env:"QUOTA_CAMPAIGN_IDS" envDefault:"50" usage:"calls of pool campaign-ids in 24 hours"`
	VAP               int           `env:"QUOTA_PEOPLE_VAP" envDefault:"50" usage:"calls of pool people-vap in 24 hours"`
	TopClickers       int           `env:"QUOTA_PEOPLE_TOP_CLICKERS" envDefault:"50" usage:"calls of pool people-top-clickers in 24 hours"`
	ForensicsThreat   int           `env:"QUOTA_FORENSICS_THREAT" envDefault:"50" usage:"calls of pool forensics-threat in 24 hours"`
	ForensicsCampaign int           `env:"QUOTA_FORENSICS_CAMPAIGN" envDefault:"1800" usage:"calls of pool forensics-campaign in 24 hours"`
	Margin            time.Duration `env:"QUOTA_MARGIN" envDefault:"2m" usage:"added to the 24 hours before a call is given back"`
}

// Validate checks the ranges.
func (c Config) Validate() error {
	var problems []error
	limits := c.Limits()
	for _, pool := range feed.Pools() {
		if limit := limits[pool]; pool != feed.PoolNone && limit < 1 {
			name := "QUOTA_" + strings.ToUpper(strings.ReplaceAll(string(pool), "-", "_"))
			problems = append(problems, config.Invalid(name, fmt.Sprint(limit), "want at least 1"))
		}
	}
	if c.Margin < 0 || c.Margin > time.Hour {
		problems = append(problems, config.Invalid("QUOTA_MARGIN", c.Margin.String(), "want 0s to 1h"))
	}
	return errors.Join(problems...)
}

// Limits gives the limit of every pool.
func (c Config) Limits() map[feed.Pool]int {
	return map[feed.Pool]int{
		feed.PoolSIEM: c.SIEM, feed.PoolSIEMPermitted: c.SIEMPermitted, feed.PoolCampaignIDs: c.CampaignIDs,
		feed.PoolPeopleVAP: c.VAP, feed.PoolPeopleTopClickers: c.TopClickers,
		feed.PoolForensicsThreat: c.ForensicsThreat, feed.PoolForensicsCampaign: c.ForensicsCampaign, feed.PoolNone: feed.Unlimited,
	}
}

// ErrExhausted is wrapped by every [ExhaustedError].
var ErrExhausted = errors.New("no call is left")

// ErrUnknown says that the calls of a day are unknown: what lists them is damaged.
var ErrUnknown = errors.New("the record of calls is damaged")

// ExhaustedError says that a pool has no unit, and when it will have one.
type ExhaustedError struct {
	Pool feed.Pool
	Wait time.Duration // until a unit comes back; by the limiter's clock
}

// Error names the pool and the wait.
func (e *ExhaustedError) Error() string {
	return fmt.Sprintf("pool %s: no call is left for another %s", e.Pool, e.Wait.Round(time.Second))
}

// Unwrap makes it an [ErrExhausted].
func (e *ExhaustedError) Unwrap() error { return ErrExhausted }

// store is the bucket QUOTA.
type store interface {
	Get(ctx context.Context, key string) (bus.Entry, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
}

// memory knows calls from elsewhere: the ledger.
type memory interface {
	// Calls lists the calls of a tenant's pool since an instant.
	Calls(ctx context.Context, tenant string, pool feed.Pool, since time.Time) ([]Call, error)
}

// Limiter keeps the limits of one tenant's pools. It is safe for concurrent use, and any number of
// limiters over the same bucket keep the limits together.
type Limiter struct {
	store  store
	memory memory // nil if nothing knows
	tenant string
	limits map[feed.Pool]int
	margin time.Duration
	now    func() time.Time

	failing sync.Map // feed.Pool -> time.Time: the failing_until that was read last
}

// NewLimiter returns a limiter over the bucket QUOTA. now should follow Proofpoint's clock within
// the margin.
func NewLimiter(s store, tenant string, c Config, now func() time.Time) *Limiter {
	return &Limiter{store: s, tenant: tenant, limits: c.Limits(), margin: c.Margin, now: now}
}

// RebuildFrom makes a pool whose key is missing start with the calls that m knows, not closed for a
// day.
func (l *Limiter) RebuildFrom(m memory) *Limiter {
	l.memory = m
	return l
}

// Key is where a pool's state is kept.
func Key(tenant string, pool feed.Pool) string { return tenant + "." + string(pool) }

// Seeds are the pools' keys of a tenant as they are on the very first start:
// nothing was called yet.
func Seeds(tenant string) []bus.Seed {
	var seeds []bus.Seed
	for _, pool := range feed.Pools() {
		seeds = append(seeds, bus.Seed{Bucket: bus.BucketQuota, Key: Key(tenant, pool)})
	}
	return seeds
}

// Begin gives a tenant the keys that [Seeds] would have given it, when it starts for the first time
// beside others. A pool whose calls the ledger knows is no new one: it is rebuilt.
func (l *Limiter) Begin(ctx context.Context) error {
	for _, pool := range feed.Pools() {
		err := bus.RetryOnConflict(ctx, func() error { return l.begin(ctx, pool) })
		if err != nil {
			return fmt.Errorf("begin with the pools of %s: %w", l.tenant, err)
		}
	}
	return nil
}

func (l *Limiter) begin(ctx context.Context, pool feed.Pool) error {
	now := l.now()
	_, err := l.store.Get(ctx, Key(l.tenant, pool))
	if err == nil {
		return nil
	}
	if !errors.Is(err, bus.ErrNotFound) {
		return fmt.Errorf("pool %s: %w", pool, err)
	}
	calls, known, err := l.calls(ctx, pool, now)
	if err != nil {
		return err
	}
	if !known || len(calls) > 0 {
		_, _, err = l.keep(ctx, pool, now)
		return err
	}
	if _, err := l.store.Update(ctx, Key(l.tenant, pool), nil, 0); err != nil {
		return fmt.Errorf("pool %s: %w", pool, err)
	}
	return nil
}

// Reserve takes one unit for a call that is about to be made. An [ExhaustedError] says that there
// is none; any other error means that the state is unknown, and the call must not be made.
func (l *Limiter) Reserve(ctx context.Context, pool feed.Pool) error {
	var refused error
	err := l.change(ctx, pool, func(s *State, now time.Time) bool {
		ok, free := s.Reserve(now, l.limits[pool])
		refused = nil
		if !ok {
			refused = &ExhaustedError{pool, free.Sub(now)}
		}
		return ok || s.marked
	})
	return errors.Join(err, refused)
}

// Count records calls that are about to be made to endpoints without a limit.
func (l *Limiter) Count(ctx context.Context, calls int) error {
	return l.change(ctx, feed.PoolNone, func(s *State, now time.Time) bool {
		s.Count(now, calls)
		return true
	})
}

// Refused records that Proofpoint answered 429, and returns how many calls of others that reveals.
func (l *Limiter) Refused(ctx context.Context, pool feed.Pool, retryAfter time.Duration) (external int, err error) {
	err = l.change(ctx, pool, func(s *State, now time.Time) bool {
		external = s.Refused(now, l.limits[pool], retryAfter)
		return true
	})
	return external, err
}

// BlockAfterLoss blocks a pool after its history was lost. last is the latest possible time of an
// unrecorded call. It returns until when the pool is blocked.
func (l *Limiter) BlockAfterLoss(ctx context.Context, pool feed.Pool, last time.Time) (until time.Time, err error) {
	err = l.change(ctx, pool, func(s *State, now time.Time) bool {
		until = s.BlockAfterLoss(now, last)
		return true
	})
	return until, err
}

// Unblock lifts what blocks the pool besides counted calls: a 429 or lost memory.
func (l *Limiter) Unblock(ctx context.Context, pool feed.Pool) error {
	return l.change(ctx, pool, func(s *State, now time.Time) bool {
		s.Unblock(now)
		return true
	})
}

// Look describes a pool.
func (l *Limiter) Look(ctx context.Context, pool feed.Pool) (Status, error) {
	now := l.now()
	state, err := l.peek(ctx, pool, now)
	if err != nil {
		return Status{}, err
	}
	st := state.Look(now, l.limits[pool])
	st.Pool = string(pool)
	return st, nil
}

// Watch is Look for the process that reports what is lost. It also writes a lost memory down as
// rebuilt, so that the time of the loss stands still and the ledger is read for it once.
func (l *Limiter) Watch(ctx context.Context, pool feed.Pool) (Status, error) {
	var st Status
	err := l.change(ctx, pool, func(s *State, now time.Time) bool {
		st = s.Look(now, l.limits[pool])
		return s.lost
	})
	st.Pool = string(pool)
	return st, err
}

// Forecast looks ahead.
func (l *Limiter) Forecast(ctx context.Context, pool feed.Pool) (Forecast, error) {
	now := l.now()
	state, err := l.peek(ctx, pool, now)
	if err != nil {
		return Forecast{}, err
	}
	return state.Forecast(now, l.limits[pool]), nil
}

// Limits are the limits that the limiter keeps.
func (l *Limiter) Limits() map[feed.Pool]int { return maps.Clone(l.limits) }

// change reads, lets alter decide, and writes if it wants to, until no other write intervenes.
func (l *Limiter) change(ctx context.Context, pool feed.Pool, alter func(*State, time.Time) bool) error {
	return bus.RetryOnConflict(ctx, func() error {
		now := l.now()
		state, revision, err := l.read(ctx, pool, now)
		if err != nil {
			return err
		}
		write := alter(state, now)
		l.failing.Store(pool, state.pb.GetFailingUntil().AsTime())
		if !write {
			return nil
		}
		data, err := state.Encode()
		if err != nil {
			return err
		}
		if _, err = l.store.Update(ctx, Key(l.tenant, pool), data, revision); err != nil {
			return fmt.Errorf("pool %s: %w", pool, err)
		}
		step.At("quota.written")
		return nil
	})
}

// peek reads without writing: a reader decides nothing.
func (l *Limiter) peek(ctx context.Context, pool feed.Pool, now time.Time) (*State, error) {
	entry, err := l.store.Get(ctx, Key(l.tenant, pool))
	if errors.Is(err, bus.ErrNotFound) {
		return l.lost(ctx, pool, now)
	}
	if err != nil {
		return nil, fmt.Errorf("pool %s: %w", pool, err)
	}
	return l.decode(ctx, pool, entry, now)
}

// read reads for a change. A key that is missing is made first.
func (l *Limiter) read(ctx context.Context, pool feed.Pool, now time.Time) (*State, uint64, error) {
	entry, err := l.store.Get(ctx, Key(l.tenant, pool))
	if errors.Is(err, bus.ErrNotFound) {
		return l.keep(ctx, pool, now) // a conflict says that it exists: the replica that answered was behind
	}
	if err != nil {
		return nil, 0, fmt.Errorf("pool %s: %w", pool, err)
	}
	state, err := l.decode(ctx, pool, entry, now)
	return state, entry.Revision, err
}

// decode reads a state; one that is not readable is as bad as lost.
func (l *Limiter) decode(ctx context.Context, pool feed.Pool, entry bus.Entry, now time.Time) (*State, error) {
	if state, err := Decode(entry.Value, l.margin); err == nil {
		return state, nil
	}
	return l.lost(ctx, pool, now)
}

// lost is what a pool becomes whose memory is gone.
func (l *Limiter) lost(ctx context.Context, pool feed.Pool, now time.Time) (*State, error) {
	calls, known, err := l.calls(ctx, pool, now)
	if err != nil {
		return nil, err
	}
	state := Closed(now, l.margin)
	if known {
		state = Rebuilt(now, l.limits[pool], l.margin, calls)
	}
	state.lost = true
	return state, nil
}

// calls asks the ledger for the calls that count. They are not known where there is none, or where
// it is damaged: they do not become known by waiting.
func (l *Limiter) calls(ctx context.Context, pool feed.Pool, now time.Time) (calls []Call, known bool, err error) {
	if l.memory == nil {
		return nil, false, nil
	}
	calls, err = l.memory.Calls(ctx, l.tenant, pool, now.Add(-Period-l.margin))
	if errors.Is(err, ErrUnknown) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("pool %s: rebuild its memory: %w", pool, err)
	}
	return calls, true, nil
}

// keep writes down what a lost key becomes, so that it is decided once and not at every look.
func (l *Limiter) keep(ctx context.Context, pool feed.Pool, now time.Time) (*State, uint64, error) {
	state, err := l.lost(ctx, pool, now)
	if err != nil {
		return nil, 0, err
	}
	data, err := state.Encode()
	if err != nil {
		return nil, 0, err
	}
	revision, err := l.store.Update(ctx, Key(l.tenant, pool), data, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("pool %s: %w", pool, err)
	}
	state.lost = false
	return state, revision, nil
}
