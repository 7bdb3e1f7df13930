package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/bus"
)

const (
	// usageFor is how long a look at RAW is relied on.
	usageFor = 5 * time.Second
	// fullAt is the share of RAW, in percent, above which nothing is fetched: what is on its way
	// needs the rest.
	fullAt = 98
	// whenFull is how long nothing is fetched after RAW refused something.
	whenFull = 30 * time.Second
	// storeFor is how long what was fetched is kept while it cannot be stored. The call would cost
	// another unit.
	storeFor = 10 * time.Minute
)

// storeBackoff is how long to wait before storing is repeated.
var storeBackoff = backoff.Doubling{Min: time.Second, Max: 15 * time.Second}

// backpressure remembers whether RAW can take more.
type backpressure struct {
	mu     sync.Mutex
	looked time.Time
	full   time.Time // RAW refused something
	share  int       // percent
}

// checkRoom refuses a call whose answer could not be stored.
func (f *Fetcher) checkRoom(ctx context.Context) error {
	r := &f.raw
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.full) < whenFull {
		return bus.RetryAfter(fmt.Errorf("%w: it refused what was fetched before", errNoRoom), whenFull)
	}
	if time.Since(r.looked) >= usageFor {
		usage, err := f.bus.Usage(ctx, bus.StreamRaw)
		if err != nil {
			return err
		}
		r.looked, r.share = time.Now(), 0
		if usage.MaxBytes > 0 {
			r.share = int(float64(usage.Bytes) * 100 / float64(usage.MaxBytes))
		}
	}
	if r.share >= fullAt {
		return bus.RetryAfter(fmt.Errorf("%w: it is %d %% full", errNoRoom, r.share), usageFor)
	}
	return nil
}

// refused remembers that RAW takes nothing.
func (r *backpressure) refused() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.full = time.Now()
}

// patiently repeats what stores an answer until it succeeds, is refused for good, or has taken too
// long.
func (f *Fetcher) patiently(ctx context.Context, w *work, store func() error) error {
	began := time.Now()
	for tries := 1; ; tries++ {
		err := store()
		if errors.Is(err, bus.ErrFull) && !errors.Is(err, errDeadFull) {
			f.raw.refused()
		}
		if err == nil || final(err) || time.Since(began) >= f.scale(storeFor) {
			return err
		}
		f.log.Warn("what was fetched cannot be stored now; it is kept", slog.String("job", w.job.GetId()), slog.Any("error", err))
		f.health.Degraded("raw", err.Error())
		timer := time.NewTimer(f.scale(storeBackoff.After(tries)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-f.stopping:
			timer.Stop()
			return err
		}
	}
}

// final reports whether storing once more would end in the same way. A full DEAD may have room
// again, but the answer would take the place of others meanwhile.
func final(err error) bool {
	return errors.Is(err, bus.ErrAlreadyStored) || errors.Is(err, bus.ErrTooLarge) || errors.Is(err, errCut) || errors.Is(err, errDeadFull) || bus.IsPermanent(err)
}
