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
	batches map[batchName]struct{}
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
	id, err := job.Parse(e.JobID)
	if err != nil {
		return false, nil //nolint:nilerr // see above
	}
	key := Key(PartSent, id.Tenant, id.Window.Start)
	page, ok := d.pages[key]
	if !ok || time.Since(page.at) > deliveredFor {
		if page, err = d.read(ctx, key); err != nil {
			return false, err
		}
	}
	_, has := page.batches[batchName{e.SourceSequence, e.Table, e.Part, e.ReprocessID}]
	return has, nil
}

func (d *Deliveries) read(ctx context.Context, key string) (delivered, error) {
	page, _, err := readPage(ctx, d.store, key)
	if err != nil {
		return delivered{}, fmt.Errorf("what is delivered: %w", err)
	}
	found := delivered{time.Now(), make(map[batchName]struct{}, len(page.GetSent()))}
	add := func(b *taplinev1.BatchRecord, remaker string) {
		found.batches[batchName{b.GetRawSequence(), b.GetTable(), b.GetPart(), remaker}] = struct{}{}
	}
	for _, b := range page.GetSent() {
		add(b, "")
	}
	for _, b := range page.GetResent() {
		if b.GetRemade() {
			add(b, b.GetReplayId())
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
