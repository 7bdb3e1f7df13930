package fetcher

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// shared is what failing calls of all fetchers may cost a pool.
func (f *Fetcher) shared(pool feed.Pool) quota.Share {
	share := pace.Shared(f.cfg.Quota.Limits()[pool])
	share.Every = f.scale(share.Every)
	return share
}

// scant reports whether another failure uses that up.
func (f *Fetcher) scant(pool feed.Pool) bool {
	share := f.shared(pool)
	return share.Scant(f.quota.Debt(pool, share))
}

// spend charges what costs calls as a failure does.
func (f *Fetcher) spend(ctx context.Context, pool feed.Pool) {
	share := f.shared(pool)
	if share.Burst == 0 {
		return
	}
	if err := f.quota.Failed(ctx, pool, share); err != nil { // the limit counts all calls anyway
		f.log.Debug("cannot charge a call", slog.Any("error", err))
	}
}

// likely reports whether a call is likely to fail, as far as this process knows. Of few calls each
// may be, since another process may know better. Only the first call of a job is asked about: what
// it brings would be asked for again if the second was refused.
func (f *Fetcher) likely(w *work, e feed.Endpoint) bool {
	if w.begun {
		return false
	}
	return f.scarce(e.Pool) || w.job.GetAside() || f.breakers.Open(w.key(e.Path)) || f.ladder.Tried(w.job.GetId())
}

// reserve takes a unit. One for a call that is likely to fail is taken only within the share of all
// fetchers, and reported as charged to it: see [Fetcher.charge].
func (f *Fetcher) reserve(ctx context.Context, w *work, e feed.Endpoint) (charged bool, err error) {
	var wait time.Duration
	if f.likely(w, e) {
		charged, wait, err = f.quota.ReserveProbe(ctx, e.Pool, f.shared(e.Pool))
	} else {
		err = f.quota.Reserve(ctx, e.Pool)
	}
	if err != nil || wait == 0 {
		return charged, err
	}
	wait = min(wait, longestWait)
	if key := w.key(e.Path); f.breakers.Open(key) || f.scarce(e.Pool) {
		f.breakers.Defer(key, wait)
	}
	return false, bus.RetryAfter(errSpent, wait)
}

// charge makes the share of failing calls right once a call was made.
func (f *Fetcher) charge(ctx context.Context, pool feed.Pool, charged bool, result error) {
	switch failed := fails(result); {
	case failed && !charged:
		f.spend(ctx, pool)
	case !failed && charged:
		if err := f.quota.Recovered(ctx, pool, f.shared(pool), result == nil && f.scarce(pool)); err != nil {
			f.log.Debug("cannot return a charge", slog.Any("error", err))
		}
	}
}

// fails reports whether the result of a call is a failing answer. Another client, or the end of
// this process, is none.
func fails(err error) bool {
	if _, odd := errors.AsType[*unproven](err); odd {
		return true
	}
	switch kindOf(err) {
	case "", proofpoint.Canceled, proofpoint.TooManyRequests:
		return false
	default:
		return true
	}
}
