package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/job"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	deliveredFor = 5 * time.Second // how long a page is believed
	deliveredMax = 16              // pages remembered
)

// Deliveries answers which batches of rows the sink has confirmed. It remembers pages for a moment,
// as batches of one hour follow each other. It is for one goroutine.
type Deliveries struct {
	store store
	pages map[string]delivered
}

type delivered struct {
	at      time.Time
	batches map[batchName]delivery
}

// delivery is what the ledger says of a batch.
type delivery struct {
	event  uint64 // its sequence in EVENTS
	rows   int64  // confirmed, or dead
	at     int64  // when that was recorded first, epoch milliseconds
	replay bool   // a replay brought it there, marked as such
}

type batchName struct {
	raw     uint64
	table   string
	part    uint32
	remaker string
}

// Deliveries gives a view of what is delivered.
func (l *Ledger) Deliveries() *Deliveries {
	return &Deliveries{store: l.store, pages: make(map[string]delivered)}
}

// Forget makes the next answers new.
func (d *Deliveries) Forget() { clear(d.pages) }

// Has reports whether the ledger shows the rows of a batch as delivered. A batch of no job
// stands in no account, so it never is.
func (d *Deliveries) Has(ctx context.Context, e *batch.Events) (bool, error) {
	_, has, err := d.find(ctx, e)
	return has, err
}

// Confirmed returns when the ledger recorded first that the sink has confirmed this very message of
// EVENTS, by no replay; zero if it does not record that. A stream that was damaged and cut off
// gives its sequences out again, for RAW as for EVENTS: what was recorded before the message was
// stored is about another one, and so is another number of rows.
func (d *Deliveries) Confirmed(ctx context.Context, e *batch.Events, sequence uint64, stored time.Time) (time.Time, error) {
	have, has, err := d.find(ctx, e)
	if err != nil || !has || have.replay || have.event != sequence || have.rows != int64(len(e.Events)) || have.at < stored.UnixMilli() {
		return time.Time{}, err
	}
	return time.UnixMilli(have.at), nil
}

func (d *Deliveries) find(ctx context.Context, e *batch.Events) (found delivery, has bool, err error) {
	id, err := job.Parse(e.JobID)
	if err != nil {
		return delivery{}, false, nil //nolint:nilerr // a batch of no job is in no sum of the ledger
	}
	key := Key(PartSent, id.Tenant, id.Window.Start)
	page, ok := d.pages[key]
	if !ok || time.Since(page.at) > deliveredFor {
		if page, err = d.read(ctx, key); err != nil {
			return delivery{}, false, err
		}
	}
	found, has = page.batches[batchName{e.SourceSequence, e.Table, e.Part, e.ReprocessID}]
	return found, has, nil
}

func (d *Deliveries) read(ctx context.Context, key string) (delivered, error) {
	page, _, err := readPage(ctx, d.store, key)
	if err != nil {
		return delivered{}, fmt.Errorf("what is delivered: %w", err)
	}
	found := delivered{time.Now(), make(map[batchName]delivery, len(page.GetSent()))}
	add := func(b *taplinev1.BatchRecord, remaker, carrier string) {
		found.batches[batchName{b.GetRawSequence(), b.GetTable(), b.GetPart(), remaker}] = delivery{
			b.GetEventSequence(), b.GetEvents() + b.GetDead(), b.GetAtMs(), carrier != "",
		}
	}
	for _, b := range page.GetSent() {
		add(b, "", b.GetReplayId())
	}
	for _, b := range page.GetResent() {
		if b.GetRemade() {
			add(b, b.GetReplayId(), b.GetCarrierId())
		}
	}
	for old := range d.pages {
		if len(d.pages) < deliveredMax {
			break
		}
		delete(d.pages, old)
	}
	d.pages[key] = found
	return found, nil
}
