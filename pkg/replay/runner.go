package replay

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	// lease is how long a process that has died still owns an order.
	lease = 10 * time.Second
	// every is how often orders are looked for, and how often one in work is looked at.
	every = time.Second
	// atOnce bounds the orders that one process works on.
	atOnce = 4
	// lastWords bounds what is written when an order is given up.
	lastWords = 5 * time.Second
)

// Config is what the stages that work on orders share.
type Config struct {
	Rate int `env:"REPLAY_RATE" envDefault:"5000" usage:"rows in a second that a replay sends, unless its order says otherwise"`
}

// Validate checks the range.
func (c Config) Validate() error {
	if c.Rate < 1 || c.Rate > 10_000_000 {
		return config.Invalid("REPLAY_RATE", fmt.Sprint(c.Rate), "want 1 to 10000000")
	}
	return nil
}

// consumers is what a runner needs of the bus.
type consumers interface {
	Backlog(ctx context.Context, c bus.Consumer) (bus.Backlog, error)
}

// Deps are what a runner takes from its stage.
type Deps struct {
	Config    Config
	Bus       consumers
	Bucket    store // REPLAY
	Tenant    string
	Stage     string
	Reprocess bool // which orders are the stage's
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	// Work does an order until its context ends, then finishes what is in hand. An error of package
	// config refuses the order; after any other it is tried again.
	Work func(ctx context.Context, r *Run) error
}

// Runner looks for orders and works on them.
type Runner struct {
	deps    Deps
	store   *Store
	owner   string
	metrics *metrics

	mu    sync.Mutex
	inUse map[string]bool // orders in work here
}

// NewRunner makes a runner. It does nothing before Run.
func NewRunner(d Deps) *Runner {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &Runner{
		deps: d, store: NewStore(d.Bucket, d.Tenant), owner: host + "-" + strings.ToLower(rand.Text()[:8]),
		metrics: newMetrics(d.Metrics), inUse: make(map[string]bool),
	}
}

// Run works until ctx ends, then gives up what is in hand.
func (r *Runner) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		all, err := r.store.List(ctx)
		if err != nil && ctx.Err() == nil {
			r.deps.Log.Debug("cannot look for replays", slog.Any("error", err))
		}
		for _, found := range all {
			if e, ok := r.take(ctx, found); ok {
				wg.Go(func() { r.one(ctx, e) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// take claims an order if it is for this stage and free.
func (r *Runner) take(ctx context.Context, found *taplinev1.Replay) (entry, bool) {
	id := found.GetOrder().GetId()
	r.mu.Lock()
	defer r.mu.Unlock()
	if found.GetOrder().GetReprocess() != r.deps.Reprocess || r.inUse[id] || len(r.inUse) >= atOnce || !free(found, r.owner, time.Now()) {
		return entry{}, false
	}
	e, err := r.store.change(ctx, id, nil, func(p *taplinev1.Replay) error { return claim(p, r.owner, time.Now()) })
	if err != nil {
		return entry{}, false
	}
	r.inUse[id] = true
	return e, true
}

// errComplete ends the work on an order.
var errComplete = errors.New("everything is done")

// one works on an order until it is finished, stopped, lost to another process, or ctx ends.
func (r *Runner) one(ctx context.Context, e entry) {
	run := r.newRun(e)
	id := run.order.GetId()
	log := r.deps.Log.With(slog.String("replay", id))
	log.Info("replay begins", slog.Uint64("messages", run.order.GetMessages()), slog.Uint64("settled", e.replay.GetProgress().GetMessages()))
	r.metrics.active.WithLabelValues(r.deps.Stage).Inc()
	work, stop := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { r.watch(work, run, stop) })
	err := r.deps.Work(work, run)
	if err != nil {
		stop(err)
	}
	cause := context.Cause(work)
	stop(nil)
	wg.Wait()
	if err == nil {
		err = cause
	}
	r.close(ctx, run, err)
	r.metrics.active.WithLabelValues(r.deps.Stage).Dec()
	r.metrics.progress.DeleteLabelValues(id)
	r.mu.Lock()
	delete(r.inUse, id)
	r.mu.Unlock()
}

// watch keeps the order and ends the work when it is complete or no longer ours to do.
func (r *Runner) watch(ctx context.Context, run *Run, stop context.CancelCauseFunc) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		backlog, err := r.deps.Bus.Backlog(ctx, run.Consumer())
		if err == nil {
			err = run.renew(ctx, backlog.Done)
		}
		switch {
		case errors.Is(err, ErrNotMine), errors.Is(err, bus.ErrNotFound):
			stop(ErrNotMine)
		case errors.Is(err, bus.ErrNotSetUp):
			stop(err)
		case err != nil:
			r.deps.Log.Debug("cannot look at a replay", slog.Any("error", err))
		case backlog.InWork == 0 && (backlog.Waiting == 0 || backlog.Delivered >= run.order.GetLastSequence()):
			stop(errComplete)
		}
		r.metrics.progress.WithLabelValues(run.order.GetId()).Set(run.progress())
	}
}

// troubled reports whether work ended for another reason than that it should.
func troubled(cause error) bool {
	return cause != nil && !errors.Is(cause, context.Canceled) && !errors.Is(cause, ErrNotMine)
}

// close writes how the work on an order ended.
func (r *Runner) close(ctx context.Context, run *Run, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	now := time.Now()
	last, err := r.store.Change(ctx, run.order.GetId(), func(p *taplinev1.Replay) error {
		switch {
		case errors.Is(cause, errComplete):
			return finish(p, r.owner, now)
		case errors.Is(cause, config.ErrInvalid):
			return refuse(p, r.owner, cause.Error(), now)
		case errors.Is(cause, bus.ErrNotSetUp) && !Over(p):
			return suspend(p, r.owner, "its consumer is gone: tapctl replay resume makes it again", now)
		}
		if !Over(p) && troubled(cause) {
			p.Reason = cause.Error()
		}
		return release(p, r.owner, now)
	})
	attrs := []any{slog.String("replay", run.order.GetId()), slog.String("state", StateName(last)), slog.Uint64("rows", last.GetProgress().GetRows())}
	if last.GetReason() != "" {
		attrs = append(attrs, slog.String("reason", last.GetReason()))
	}
	if err != nil && !errors.Is(err, ErrOver) && !errors.Is(err, ErrNotMine) {
		attrs = append(attrs, slog.Any("error", err))
	}
	r.deps.Log.Info("replay stopped", attrs...)
}
