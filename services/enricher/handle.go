package enricher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/step"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// generation names the rules that make rows. Raise it when the rows of old
// records would look different, so that reprocessing is not taken for repetition.
const generation = 1

// workspace is reused from message to message.
type workspace struct {
	raw  batch.Raw
	out  []byte
	pack []byte
	row  []byte
	id   []byte
	dead []deadRecord
}

type deadRecord struct {
	json  []byte
	index int
	err   error
}

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

// handle makes rows out of one message of RAW, stores them, and records them.
func (e *Enricher) handle(ctx context.Context, d *bus.Delivery) error {
	ws, _ := workspaces.Get().(*workspace)
	defer workspaces.Put(ws)
	if err := e.decode(d, &ws.raw); err != nil {
		return bus.Permanent(err)
	}
	if old(d) { // also if this consumer has forgotten that it gave the message before
		if made, err := e.ledger.HasMade(ctx, ws.raw.JobID, d.Sequence(), d.Stored()); made || err != nil {
			return err
		}
	}
	made, err := e.rows(ctx, d, ws, order{})
	if err != nil {
		return err
	}
	return e.record(ctx, ws.raw.JobID, made...)
}

// recognized is for how long the bus surely takes a repetition for one: two hours less what clocks
// may differ.
const recognized = 100 * time.Minute

// old reports whether rows of a message may have been stored so long ago that the bus would store
// them again.
func old(d *bus.Delivery) bool { return time.Since(d.Stored()) > recognized }

// publish stores rows, unless an earlier delivery of their message has: it ended before it could be
// recorded.
func (e *Enricher) publish(ctx context.Context, d *bus.Delivery, rows []byte, m bus.EventMeta, o order) (sequence uint64, err error) {
	if old(d) && d.Attempts() > 1 && !o.reprocesses() {
		sequence, err = e.bus.PublishedEvents(ctx, m, d.Stored())
	}
	if sequence == 0 && err == nil {
		sequence, err = e.bus.PublishEvents(ctx, rows, m)
	}
	if bus.IsTooLarge(err) { // however often it is made
		return 0, bus.Permanent(err)
	}
	return sequence, unlessFull(err)
}

// longestRow bounds a row, bytes: a record of 4 MiB fits with its added keys. What is no UTF-8
// grows to three times its length.
const longestRow = 6 << 20

// decode reads a message of RAW. Its errors are permanent.
func (e *Enricher) decode(d *bus.Delivery, raw *batch.Raw) error {
	if err := batch.DecodeRaw(d.Data(), raw); err != nil {
		return err
	}
	switch {
	case raw.Tenant != e.cfg.Tenant.Name:
		return fmt.Errorf("%w %q: this enricher serves %q", errUnknownTenant, raw.Tenant, e.cfg.Tenant.Name)
	case feed.Feed(raw.Feed).Table() == "":
		return fmt.Errorf("%w %q", errUnknownFeed, raw.Feed)
	}
	return nil
}

// rows makes the rows of a batch and stores them.
func (e *Enricher) rows(ctx context.Context, d *bus.Delivery, ws *workspace, o order) ([]*taplinev1.BatchRecord, error) {
	raw := &ws.raw
	if id, err := job.Parse(raw.JobID); err == nil && id.Call.Kind() != feed.KindWindow {
		return e.derive(ctx, d, id, raw, o)
	}
	table := feed.Feed(raw.Feed).Table()
	events := e.convert(ws, d.Sequence(), table, o)
	if err := e.deadLetter(ctx, ws, d, o); err != nil {
		return nil, err
	}
	made := &taplinev1.BatchRecord{
		RawSequence: d.Sequence(), Feed: raw.Feed, Table: table, Events: int64(events), Dead: int64(len(ws.dead)), AtMs: e.now().UnixMilli(),
	}
	if events > 0 {
		var err error
		ws.pack = batch.Pack(ws.pack[:0], ws.out)
		made.EventSequence, err = e.publish(ctx, d, ws.pack, bus.EventMeta{
			Tenant: raw.Tenant, Table: table, MsgID: o.name(messageID(d.Sequence(), table, raw)),
		}, o)
		if err != nil {
			return nil, err
		}
		step.At("enricher.events")
		e.metrics.events.WithLabelValues(table).Add(float64(events))
	}
	return []*taplinev1.BatchRecord{made}, nil
}

// messageID names the rows of a batch, so that a repetition stores them once. A stream that was
// damaged and cut off gives its sequences out again: the job and the moment of its call distinguish
// such a batch from the one before.
func messageID(sequence uint64, table string, raw *batch.Raw) string {
	return fmt.Sprintf("%d/%s/%d/%s/%s", sequence, table, generation, raw.JobID, raw.PullID)
}

// unlessFull waits when EVENTS has no room.
func unlessFull(err error) error {
	if errors.Is(err, bus.ErrFull) {
		return bus.RetryAfter(err, 30*time.Second)
	}
	return err
}

// record writes a batch into the ledger, if the batch is of a job.
func (e *Enricher) record(ctx context.Context, jobID string, made ...*taplinev1.BatchRecord) error {
	if _, err := job.Parse(jobID); err != nil {
		e.log.Warn("a batch in RAW is of no job; its rows are shipped, and are in no sum of the ledger",
			slog.Uint64("sequence", made[0].GetRawSequence()), slog.Any("error", err))
		return nil
	}
	return e.ledger.RecordRows(ctx, jobID, made...)
}

// convert writes the EventBatch of the workspace's records into ws.out.
func (e *Enricher) convert(ws *workspace, sequence uint64, table string, o order) (events int) {
	raw := &ws.raw
	pull, err := strconv.ParseInt(raw.PullID, 10, 64)
	if err != nil {
		pull = raw.FetchedAt.UnixMilli()
	}
	ws.dead = ws.dead[:0]
	marks := e.marks(o, true)
	ws.out = batch.AppendEventsHeader(ws.out[:0], &batch.Events{
		Tenant: raw.Tenant, Table: table, Feed: raw.Feed, JobID: raw.JobID, SourceSequence: sequence, Generation: generation, ReprocessID: o.id,
	})
	for i := range raw.Records {
		r := &raw.Records[i]
		ws.id = identity.AppendTaplineID(ws.id[:0], r.ID, r.Hash)
		var ok bool
		if ws.row, ok = e.appendRow(ws.row[:0], r.JSON, raw.PullID, ws.id, marks...); !ok {
			ws.dead = append(ws.dead, deadRecord{r.JSON, i, errNotAnObject})
			continue
		}
		if len(ws.row) > longestRow {
			ws.dead = append(ws.dead, deadRecord{r.JSON, i, fmt.Errorf("%w: %d bytes, at most %d fit into a message", errLongRow, len(ws.row), longestRow)})
			continue
		}
		ws.out = batch.AppendEvent(ws.out, &batch.Event{ID: ws.id, TimeMS: r.TimeMS, PullMS: pull, JSON: ws.row})
		events++
	}
	return events
}

// deadLetter stores the records that cannot be rows. Those of an order were stored when rows were
// made first.
func (e *Enricher) deadLetter(ctx context.Context, ws *workspace, d *bus.Delivery, o order) error {
	if o.reprocesses() {
		return nil
	}
	for _, dead := range ws.dead {
		letter := d.NewDeadLetter(ws.raw.Tenant, Flow.Stage, dead.err, dead.json)
		letter.Feed = ws.raw.Feed
		if err := e.bus.PublishDead(ctx, letter, d.DeadID(dead.index)); err != nil {
			return err
		}
		step.At("enricher.dead")
		e.metrics.dead.WithLabelValues(ws.raw.Feed).Inc()
	}
	return nil
}
