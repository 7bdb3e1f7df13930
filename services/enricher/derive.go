package enricher

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/flatten"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Bounds of one message of rows.
const (
	maxRows  = 500
	maxBytes = 512 << 10
)

// Bounds of what one record makes: in a report of forensics all that stands around an array stands
// in each of its rows.
const (
	recordRows  = 20_000
	recordBytes = 64 << 20
)

// derivation makes rows of one batch that is not SIEM records. A record may make many rows, so they
// are stored message by message while they are made.
type derivation struct {
	e     *Enricher
	d     *bus.Delivery
	id    job.ID
	raw   *batch.Raw
	table string
	order order
	outer []flatten.Member // of a list: what stands in every row

	out  []byte
	row  []byte
	rows int64 // in out
	dead int64 // since the last message
	made []*taplinev1.BatchRecord
}

// derive stores the rows of a batch.
func (e *Enricher) derive(ctx context.Context, d *bus.Delivery, id job.ID, raw *batch.Raw, o order) ([]*taplinev1.BatchRecord, error) {
	var made []*taplinev1.BatchRecord
	for _, table := range e.tables(id) {
		if !o.table(table) {
			continue
		}
		v := &derivation{e: e, d: d, id: id, raw: raw, table: table, order: o}
		if err := v.run(ctx); err != nil {
			return nil, err
		}
		made = append(made, v.made...)
	}
	return made, nil
}

// tables are where the rows of a call go. The first has the account of the records.
func (e *Enricher) tables(id job.ID) []string {
	if id.Call == feed.CallCampaignForensics && e.cfg.Feeds.CampaignForensics && e.cfg.Feeds.Has(feed.Threats) {
		return []string{feed.Campaigns.Table(), feed.Threats.Table()}
	}
	return []string{id.Call.Feed().Table()}
}

func (v *derivation) main() bool { return v.table == v.id.Call.Feed().Table() }

func (v *derivation) run(ctx context.Context) error {
	if v.id.Call.IsPeople() {
		days, err := strconv.Atoi(v.id.Target)
		if err != nil {
			return bus.Permanent(fmt.Errorf("%w %s: a list of people covers a number of days", errBadJob, v.raw.JobID))
		}
		v.outer = append(v.outer,
			flatten.Member{Name: []byte(`"list"`), Value: []byte(strconv.Quote(string(v.id.Call)))},
			flatten.Member{Name: []byte(`"window"`), Value: strconv.AppendInt(nil, int64(days), 10)})
		around, err := flatten.Members(v.raw.Envelope)
		if err != nil {
			return bus.Permanent(fmt.Errorf("envelope of job %s: %w", v.raw.JobID, err))
		}
		v.outer = append(v.outer, around...)
	}
	for i := range v.raw.Records {
		if err := v.record(ctx, i); err != nil {
			return err
		}
	}
	return v.flush(ctx) // what is dead behind the last row is in its account
}

// record makes the rows of one record. What cannot be a row goes to DEAD alone.
func (v *derivation) record(ctx context.Context, i int) error {
	r := &v.raw.Records[i]
	var target taplinev1.Target
	if err := wire.Unmarshal(r.Target, &target); err != nil {
		return v.deadLetter(ctx, r.JSON, i, fmt.Errorf("%w: target: %w", errNotAnObject, err))
	}
	emit := func(number int, row flatten.Row) error {
		if row.Err != nil {
			return v.deadLetterRow(ctx, row, i, number)
		}
		return v.add(ctx, r, &target, number, row.JSON)
	}
	options := flatten.Options{MaxRow: v.e.cfg.Flatten.MaxRow, MaxRows: recordRows, MaxBytes: recordBytes}
	var err error
	switch {
	case v.id.Call == feed.CallCampaignIDs: // they are ordered, and make no rows
		return nil
	case v.id.Call.IsForensics() && v.e.cfg.Flatten.Reports == "on":
		err = options.Report(r.JSON, emit)
	case v.id.Call == feed.CallCampaign && v.e.cfg.Flatten.Members == "on":
		number := 0
		err = options.Each(r.JSON, "campaignMembers", nil, func(row flatten.Row) error {
			number++
			return emit(number-1, row)
		})
	case v.id.Call.IsPeople():
		var row []byte
		if row, err = flatten.Around(nil, r.JSON, v.outer); err == nil {
			err = v.add(ctx, r, &target, whole, row)
		}
	default:
		err = v.add(ctx, r, &target, whole, r.JSON)
	}
	if errors.Is(err, flatten.ErrNotObject) || errors.Is(err, flatten.ErrTooMany) || errors.Is(err, errNotAnObject) {
		return v.deadLetter(ctx, r.JSON, i, err)
	}
	return err
}

// whole is the number of a row that is a whole record.
const whole = -1

// add puts one row into the message under construction.
func (v *derivation) add(ctx context.Context, r *batch.Record, target *taplinev1.Target, number int, object []byte) error {
	id := r.Hash
	if number != whole { // the same for every run of this generation
		id = identity.Mix(r.Hash, flatten.Generation<<32|uint64(number))
	}
	taplineID := identity.AppendTaplineID(nil, r.ID, id)
	var ok bool
	if v.row, ok = v.e.appendRow(v.row[:0], object, v.raw.PullID, taplineID, v.marks(target)...); !ok {
		return errNotAnObject
	}
	if v.rows > 0 && (v.rows >= maxRows || len(v.out)+len(v.row) > maxBytes) {
		if err := v.flush(ctx); err != nil {
			return err
		}
	}
	if v.rows == 0 {
		v.out = batch.AppendEventsHeader(v.out[:0], &batch.Events{
			Tenant: v.raw.Tenant, Table: v.table, Feed: v.raw.Feed, JobID: v.raw.JobID,
			SourceSequence: v.d.Sequence(), Generation: flatten.Generation, Part: uint32(len(v.made)), ReprocessID: v.order.id,
		})
	}
	v.out = batch.AppendEvent(v.out, &batch.Event{ID: taplineID, TimeMS: r.TimeMS, PullMS: v.raw.FetchedAt.UnixMilli(), JSON: v.row})
	v.rows++
	return nil
}

// marks are the members that say where a row comes from.
func (v *derivation) marks(target *taplinev1.Target) []flatten.Member {
	marks := []flatten.Member{{Name: []byte(`"@tapline_generation"`), Value: strconv.AppendInt(nil, flatten.Generation, 10)}}
	if v.id.Call == feed.CallThreat && feed.Askable(target.GetCampaign()) {
		marks = append(marks, flatten.Member{Name: []byte(`"@tapline_campaign_id"`), Value: []byte(strconv.Quote(target.GetCampaign()))})
	}
	return append(marks, v.e.marks(v.order, false)...)
}

// flush stores the message under construction and records it.
func (v *derivation) flush(ctx context.Context) error {
	made := &taplinev1.BatchRecord{
		RawSequence: v.d.Sequence(), Feed: v.raw.Feed, Table: v.table, Events: v.rows, Dead: v.dead,
		AtMs: v.e.now().UnixMilli(), Part: uint32(len(v.made)), Extra: v.rows + v.dead,
	}
	if v.main() && len(v.made) == 0 { // the first message has the account of all records
		made.Extra -= int64(len(v.raw.Records))
	}
	if v.rows > 0 {
		message := batch.AppendExtra(v.out, made.GetExtra())
		// The content is part of the name: with other settings a repetition cuts the rows at other
		// places, and the bus must not take such a message for one it has.
		msgID := fmt.Sprintf("%d/%s/%d/%d/%016x", v.d.Sequence(), v.table, flatten.Generation, len(v.made), identity.Named(string(message)))
		var err error
		made.EventSequence, err = v.e.publish(ctx, v.d, batch.Pack(nil, message), bus.EventMeta{
			Tenant: v.raw.Tenant, Table: v.table, MsgID: v.order.name(msgID),
		}, v.order)
		if err != nil {
			return err
		}
		step.At("enricher.derived")
		v.e.metrics.events.WithLabelValues(v.table).Add(float64(v.rows))
	}
	v.made = append(v.made, made)
	v.rows, v.dead = 0, 0
	return nil
}

// deadLetterRow dead-letters one row that cannot be made; its neighbours are stored.
func (v *derivation) deadLetterRow(ctx context.Context, row flatten.Row, record, number int) error {
	return v.newDeadLetter(ctx, row.JSON, v.d.DeadID(record, number), row.Err)
}

// deadLetter stores one record of which no row can be made.
func (v *derivation) deadLetter(ctx context.Context, record []byte, index int, cause error) error {
	return v.newDeadLetter(ctx, record, v.d.DeadID(index), cause)
}

func (v *derivation) newDeadLetter(ctx context.Context, payload []byte, id string, cause error) error {
	if !v.main() { // the first table's account has it
		return nil
	}
	v.dead++
	if v.order.reprocesses() { // it was stored when rows were made first
		return nil
	}
	v.e.metrics.dead.WithLabelValues(v.raw.Feed).Inc()
	letter := v.d.NewDeadLetter(v.raw.Tenant, Flow.Stage, cause, payload)
	letter.Feed, letter.Table = v.raw.Feed, v.table
	return v.e.bus.PublishDead(ctx, letter, id)
}
