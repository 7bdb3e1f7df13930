package fetcher

import (
	"context"
	"log/slog"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
)

// keptBack is the share of a limit, in percent, that each level of forensics leaves to those
// before it: what is important and comes late still finds a call.
var keptBack = []int{0, 20, 40, 50}

// queueTurn is how often an empty queue is looked at.
const queueTurn = time.Second

// drain reads the queue of one forensics call, the most important level first, as
// long as there are calls.
func (f *Fetcher) drain(ctx context.Context, call feed.Call) error {
	levels := bus.ForensicsConsumers(call)
	turn := func() { f.health.Turn(Flow.Stage+" "+string(call), time.Minute) }
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		turn()
		next := queueTurn
		if f.takeNext(ctx, call, levels, turn) {
			next = 0
		}
		timer.Reset(next)
	}
}

// takeNext runs the most important job that there is a call for.
func (f *Fetcher) takeNext(ctx context.Context, call feed.Call, levels []bus.Consumer, turn func()) bool {
	if f.breakers.Wait(pace.Key{Lane: forensics, Endpoint: string(call)}) > 0 {
		return false
	}
	st, err := f.quota.Look(ctx, call.Pool())
	if err != nil {
		f.log.Debug("cannot look at a pool", slog.Any("error", err))
		return false
	}
	if st.Free.After(f.now()) {
		return false
	}
	for i, consumer := range levels {
		if st.Left() <= st.Limit*keptBack[i]/100 {
			return false
		}
		// A long call is this loop's: no other would keep what it promised in the name of the
		// consumer.
		taking := f.consumption(consumer)
		taking.Turn = turn
		// The work in hand may finish when the taking ends.
		taken, err := f.bus.Take(context.WithoutCancel(ctx), taking, f.handle)
		if err != nil {
			f.log.Debug("cannot take", slog.String("consumer", consumer.Name), slog.Any("error", err))
			return false // what waits there may be more important than the others
		}
		if taken {
			return true
		}
	}
	return false
}
