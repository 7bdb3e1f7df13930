package enricher

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/flatten"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/replay"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// behindEnd is the pause after a message behind the end of an order: some before it are not done
// yet, and are redelivered from other processes.
const behindEnd = 500 * time.Millisecond

var errStopped = errors.New("the order was stopped")

// order is why rows are made: nothing when they are made first, or the order to reprocess them.
type order struct {
	id     string
	filter *replay.Filter
}

func (o order) reprocesses() bool { return o.id != "" }

// name is that of a publication. Rows of an order are not repetitions of those made first,
// whatever the rules are, so they have names of their own.
func (o order) name(first string) string {
	if !o.reprocesses() {
		return first
	}
	return first + "/" + o.id
}

// table reports whether rows of a table are wanted.
func (o order) table(name string) bool { return !o.reprocesses() || o.filter.Table(name) }

// marks are the members that distinguish reprocessed rows. Rows of other answers than SIEM have the
// generation anyway.
func (e *Enricher) marks(o order, rules bool) []flatten.Member {
	if !o.reprocesses() || !e.cfg.Identity.TaplineID {
		return nil
	}
	var marks []flatten.Member
	if rules {
		marks = append(marks, flatten.Member{Name: []byte(`"@tapline_generation"`), Value: strconv.AppendInt(nil, generation, 10)})
	}
	return append(marks, flatten.Member{Name: []byte(`"@tapline_reprocess_id"`), Value: strconv.AppendQuote(nil, o.id)})
}

// reprocessing works on the orders to make rows again.
func (e *Enricher) reprocessing(orders *bus.Bucket) *replay.Runner {
	return replay.NewRunner(replay.Deps{
		Config: e.cfg.Replay, Bus: e.bus, Bucket: orders, Tenant: e.cfg.Tenant.Name, Stage: Flow.Stage, Reprocess: true,
		Log: e.log, Metrics: e.registry, Work: e.reprocess,
	})
}

// reprocess makes the rows that an order wants until ctx ends.
func (e *Enricher) reprocess(ctx context.Context, r *replay.Run) error {
	if err := r.Begin(ctx); err != nil {
		return fmt.Errorf("enricher: %w", err)
	}
	name := Flow.Stage + " " + r.Consumer().Name
	defer e.health.Turn(name, 0)
	return e.bus.Consume(ctx, bus.Consumption{
		Stage: Flow.Stage, Tenant: e.cfg.Tenant.Name, Consumer: r.Consumer(), Workers: 1, Log: e.log,
		Turn: func() { e.health.Turn(name, time.Minute) },
	}, func(work context.Context, d *bus.Delivery) error { return e.remake(ctx, work, r, d) })
}

// remake reprocesses one message of RAW: it makes the rows, stores and records them. take ends when
// the order is stopped, work when what is in hand must end, too.
func (e *Enricher) remake(take, work context.Context, r *replay.Run, d *bus.Delivery) error {
	switch {
	case r.Beyond(d.Sequence()):
		backoff.Sleep(take, behindEnd)
		return nil
	case r.Counted(d.Sequence()):
		return nil
	}
	for wait := r.Delay(); wait > 0; wait = r.Delay() {
		if !backoff.Sleep(take, wait) {
			return bus.RetryAfter(errStopped, time.Millisecond)
		}
	}
	ws, _ := workspaces.Get().(*workspace)
	defer workspaces.Put(ws)
	tally := replay.Tally{Sequence: d.Sequence()}
	if err := e.decode(d, &ws.raw); err != nil {
		tally.Dead = 1
		return r.Count(work, tally)
	}
	if !wanted(r.Filter(), &ws.raw) {
		return r.Count(work, tally)
	}
	made, err := e.rows(work, d, ws, order{r.Order().GetId(), r.Filter()})
	if bus.IsPermanent(err) {
		tally.Dead = 1
		return r.Count(work, tally)
	}
	if err != nil {
		return err
	}
	if err := e.recordRemade(work, r, ws.raw.JobID, made); err != nil {
		return err
	}
	for _, m := range made {
		tally.Rows, tally.Dead = tally.Rows+uint64(m.GetEvents()), tally.Dead+uint64(m.GetDead())
	}
	tally.Bytes = uint64(len(d.Data()))
	r.Spend(int(tally.Rows))
	return r.Count(work, tally)
}

// wanted leaves of a batch what an order wants, and reports whether anything is left.
func wanted(f *replay.Filter, raw *batch.Raw) bool {
	if !f.Batch(raw.Feed, raw.JobID) {
		return false
	}
	kept := raw.Records[:0]
	for i := range raw.Records {
		rec := &raw.Records[i]
		if !f.Single() || f.Row(string(identity.AppendTaplineID(nil, rec.ID, rec.Hash)), rec.JSON) {
			kept = append(kept, *rec)
		}
	}
	raw.Records = kept
	return len(kept) > 0
}

// recordRemade writes reprocessed rows into the ledger, if they are of a job.
func (e *Enricher) recordRemade(ctx context.Context, r *replay.Run, jobID string, made []*taplinev1.BatchRecord) error {
	if _, err := job.Parse(jobID); err != nil {
		return nil //nolint:nilerr // rows of no job are in no sum of the ledger
	}
	var records []*taplinev1.BatchRecord
	for _, m := range made {
		if m.GetEvents() > 0 {
			m.ReplayId, m.Remade, m.Extra = r.Order().GetId(), true, 0
			records = append(records, m)
		}
	}
	if len(records) == 0 {
		return nil
	}
	return e.ledger.RecordRemade(ctx, jobID, records...)
}
