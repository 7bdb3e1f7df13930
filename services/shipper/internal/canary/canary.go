// Package canary looks up a sample of the rows that the sink has confirmed at Devo, by queries, and
// reports when one is not there: what an acknowledgement proves ends at Devo's balancer.
//
//	confirmed rows ─▶ one of each table and interval ─▶ query ─▶ found, or missing after a while
//
// The sample lives in memory; a restart forgets it. The proof for every row is `tapctl verify
// --devo`.
package canary

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/devoquery"
	"github.com/tapline/tapline/pkg/identity"
)

// Config of the canary.
type Config struct {
	On    bool          `env:"CANARY" envDefault:"false" usage:"look up a sample of the confirmed rows at Devo, by queries (DEVO_QUERY_TOKEN)"`
	Every time.Duration `env:"CANARY_INTERVAL" envDefault:"1m" usage:"with CANARY: how often one row of each table is taken and looked up"`
}

// Check reports what is wrong. The variables matter only when the canary is on.
func (c Config) Check() error {
	if c.Every < time.Second || c.Every > time.Hour {
		return config.Invalid("CANARY_INTERVAL", c.Every.String(), "want 1s to 1h")
	}
	return nil
}

const (
	skew     = 2 * time.Minute  // that clocks are apart
	maxOpen  = 200              // rows that are looked for at once
	maxAge   = 24 * time.Hour   // how long a missing row is looked for
	maxPause = time.Hour        // between two looks for a missing row
	patience = 15 * time.Minute // with queries that fail
)

// devo is the query API.
type devo interface {
	Rows(ctx context.Context, q devoquery.Query, visit func(row []byte) error) error
	Close()
}

// board takes alarms.
type board interface {
	Hold(ctx context.Context, name alarm.Name, detail string, d time.Duration)
	Clear(ctx context.Context, name alarm.Name)
}

// Deps are what the canary takes from its surroundings.
type Deps struct {
	Devo    devo
	Settle  time.Duration // a confirmed row that is not found so long after is missing
	Alarms  board
	Log     *slog.Logger
	Metrics *Metrics
}

// row is one of the sample.
type row struct {
	table, id       string
	sent, confirmed time.Time
	next            time.Time     // when it is looked for
	pause           time.Duration // after that, while it is missing
	missing         bool
}

// Canary samples and looks. A nil Canary does nothing.
type Canary struct {
	Deps
	every time.Duration

	mu       sync.Mutex
	picked   map[string]row // by table, since the last look
	batches  map[string]int // that the row was picked from
	nameless bool           // whether rows without @tapline_id were logged

	// For Run.
	open    []row
	failing time.Time // since when queries fail; zero if they do not
	failure error
}

// New makes a canary.
func New(c Config, d Deps) *Canary {
	return &Canary{Deps: d, every: c.Every, picked: make(map[string]row), batches: make(map[string]int)}
}

// Confirmed takes note of a batch that the sink has confirmed: each batch of an interval is as
// likely to give the row of the sample as any other.
func (c *Canary) Confirmed(e *batch.Events, sent time.Time) {
	if c == nil || len(e.Events) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batches[e.Table]++
	if rand.N(c.batches[e.Table]) > 0 { //nolint:gosec // a sample needs no secrecy
		return
	}
	id, ok := identity.FindTaplineID(e.Events[rand.N(len(e.Events))].JSON) //nolint:gosec // as above
	if !ok {
		if !c.nameless {
			c.Log.Warn("the canary cannot look for rows without @tapline_id", slog.String("table", e.Table))
		}
		c.nameless = true
		return
	}
	now := time.Now()
	c.picked[e.Table] = row{table: e.Table, id: string(id), sent: sent, confirmed: now, next: now, pause: c.every}
}

// Run looks until ctx ends.
func (c *Canary) Run(ctx context.Context) {
	defer c.Devo.Close()
	ticker := time.NewTicker(c.every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.take()
			c.look(ctx)
			c.tell(ctx)
		}
	}
}

// take moves the sample to what is looked for.
func (c *Canary) take() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.picked {
		if len(c.open) < maxOpen {
			c.open = append(c.open, r)
		}
	}
	clear(c.picked)
	clear(c.batches)
}

// look asks for each row that is due. A query that fails ends it: the others would fail, too.
func (c *Canary) look(ctx context.Context) {
	gone := 0
	for i := range c.open {
		r := &c.open[i]
		if time.Now().Before(r.next) {
			continue
		}
		found, err := c.find(ctx, r)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			c.failed(err)
			break
		}
		if !c.failing.IsZero() {
			c.Log.Info("the canary can ask Devo again")
			c.failing = time.Time{}
		}
		if found || c.miss(r) {
			r.id = ""
			gone++
		}
	}
	if gone > 0 {
		c.open = slices.DeleteFunc(c.open, func(r row) bool { return r.id == "" })
	}
}

func (c *Canary) find(ctx context.Context, r *row) (found bool, err error) {
	q := devoquery.Query{Table: r.table, From: r.sent.Add(-skew), To: time.Now().Add(skew), Holds: r.id}
	err = c.Devo.Rows(ctx, q, func(text []byte) error {
		id, ok := identity.FindTaplineID(text)
		found = found || ok && string(id) == r.id
		return nil
	})
	if err != nil || !found {
		return false, err
	}
	c.Metrics.rows.WithLabelValues("found").Inc()
	c.Metrics.delay.Observe(time.Since(r.confirmed).Seconds())
	if r.missing {
		c.Log.Info("a missing row is at Devo after all", slog.String("table", r.table), slog.String("row", r.id))
	}
	return true, nil
}

// miss records that a row was not found, and reports whether it is given up.
func (c *Canary) miss(r *row) (over bool) {
	now := time.Now()
	age := now.Sub(r.confirmed)
	r.next = now.Add(r.pause)
	switch {
	case age > maxAge:
		return true
	case r.missing:
		r.pause = min(2*r.pause, maxPause)
	case age > c.Settle:
		r.missing = true
		c.Metrics.rows.WithLabelValues("missing").Inc()
		c.Log.Error("a row was confirmed and Devo does not have it: run tapctl verify --devo",
			slog.String("table", r.table), slog.String("row", r.id), slog.Time("confirmed", r.confirmed))
	}
	return false
}

func (c *Canary) failed(err error) {
	c.Metrics.failures.Inc()
	if c.failing.IsZero() {
		c.failing = time.Now()
		c.Log.Warn("the canary cannot ask Devo", slog.Any("error", err))
	}
	c.failure = err
}

// tell raises the alarm while a row is missing, or while it cannot be known.
func (c *Canary) tell(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	missing, first := 0, row{}
	for _, r := range c.open {
		if r.missing {
			if missing == 0 {
				first = r
			}
			missing++
		}
	}
	c.Metrics.missing.Set(float64(missing))
	lasts := 3*c.every + 3*time.Minute
	switch {
	case missing > 0:
		c.Alarms.Hold(ctx, alarm.Canary, fmt.Sprintf("%d sampled rows were confirmed and are not at Devo, the first is %s of %s: run tapctl verify --devo",
			missing, first.id, first.table), lasts)
	case !c.failing.IsZero() && (errors.Is(c.failure, config.ErrInvalid) || time.Since(c.failing) > patience):
		c.Alarms.Hold(ctx, alarm.Canary, "Devo cannot be asked: "+c.failure.Error(), lasts)
	default:
		c.Alarms.Clear(ctx, alarm.Canary)
	}
}
