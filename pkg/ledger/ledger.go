package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

var errMalformed = errors.New("malformed ledger entry")

// store is the bucket LEDGER.
type store interface {
	Get(ctx context.Context, key string) (bus.Entry, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Select(ctx context.Context, filters ...string) ([]bus.Pair, error)
	Keys(ctx context.Context, filters ...string) ([]string, error)
}

// Ledger reads and writes pages. It is safe for concurrent use.
type Ledger struct {
	store  store
	writer pageWriter
}

// New opens the ledger over the bucket LEDGER.
func New(s store) *Ledger {
	return &Ledger{store: s, writer: pageWriter{store: s, pages: make(map[string]*pendingPage)}}
}

func readPage(ctx context.Context, s store, key string) (*taplinev1.LedgerPage, uint64, error) {
	entry, err := s.Get(ctx, key)
	if errors.Is(err, bus.ErrNotFound) {
		return &taplinev1.LedgerPage{}, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("ledger: %w", err)
	}
	page, err := DecodePage(entry.Value)
	if err != nil { // [Ledger.Load] names it, also when the next update has taken its place
		return &taplinev1.LedgerPage{Damaged: true}, entry.Revision, nil //nolint:nilerr // see above
	}
	return page, entry.Revision, nil
}

// RecordJob records the outcome of a job.
func (l *Ledger) RecordJob(ctx context.Context, w *taplinev1.JobRecord) error {
	id, err := job.Parse(w.GetJobId())
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return l.writer.write(ctx, Key(PartRead, id.Tenant, id.Window.Start), func(p *taplinev1.LedgerPage) { putJob(p, w) })
}

// RecordRows records the rows made from a RAW batch of a job: all batches of them at once.
func (l *Ledger) RecordRows(ctx context.Context, jobID string, batches ...*taplinev1.BatchRecord) error {
	id, err := job.Parse(jobID)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return l.writer.write(ctx, Key(PartMade, id.Tenant, id.Window.Start), func(p *taplinev1.LedgerPage) {
		for _, b := range batches {
			p.Made = putBatch(p.GetMade(), b)
		}
	})
}

// HasMade reports whether all rows of a RAW batch of a job are recorded. A damaged stream reuses
// its sequences: what was recorded before the batch was stored is about another one.
func (l *Ledger) HasMade(ctx context.Context, jobID string, sequence uint64, stored time.Time) (bool, error) {
	id, err := job.Parse(jobID)
	if err != nil {
		return false, nil //nolint:nilerr // a batch of no job is in no sum of the ledger
	}
	page, _, err := readPage(ctx, l.store, Key(PartMade, id.Tenant, id.Window.Start))
	return slices.ContainsFunc(page.GetMade(), func(b *taplinev1.BatchRecord) bool {
		return b.GetRawSequence() == sequence && b.GetAtMs() >= stored.UnixMilli()
	}), err
}

// RecordLookups records which lookups a RAW batch of a job asks for.
func (l *Ledger) RecordLookups(ctx context.Context, jobID string, w *taplinev1.LookupRecord) error {
	id, err := job.Parse(jobID)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return l.writer.write(ctx, Key(PartWant, id.Tenant, id.Window.Start), func(p *taplinev1.LedgerPage) { putLookups(p, w) })
}

// RecordRemade records rows that were reprocessed from a RAW batch of a job, beside those that were
// made first.
func (l *Ledger) RecordRemade(ctx context.Context, jobID string, batches ...*taplinev1.BatchRecord) error {
	id, err := job.Parse(jobID)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return l.writer.write(ctx, Key(PartMade, id.Tenant, id.Window.Start), func(p *taplinev1.LedgerPage) {
		for _, b := range batches {
			p.Remade = putAgain(p.GetRemade(), b)
		}
	})
}

// Delivery is what became of one batch at the shipper.
type Delivery struct {
	JobID string
	Batch *taplinev1.BatchRecord
	// Remaker is the order that reprocessed the rows; empty for those that were made first.
	Remaker string
	// Part says that these are not all rows of the batch, or that they went to another sink than
	// all else.
	Part bool
}

// RecordDelivery records the rows that the sink confirmed, with one write for each page. What a
// replay sent counts as delivered if it was not before, and else as resent.
func (l *Ledger) RecordDelivery(ctx context.Context, batches ...Delivery) error {
	pages := make(map[string][]Delivery)
	for _, s := range batches {
		id, err := job.Parse(s.JobID)
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		key := Key(PartSent, id.Tenant, id.Window.Start)
		pages[key] = append(pages[key], s)
	}
	for key, list := range pages {
		err := l.writer.write(ctx, key, func(p *taplinev1.LedgerPage) {
			for _, s := range list {
				putSent(p, s)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// RecordRange records that a span of time is lost or sealed.
func (l *Ledger) RecordRange(ctx context.Context, tenant string, r *taplinev1.RangeRecord) error {
	w, err := window.FromProto(r.GetWindow())
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	for !w.Empty() {
		next := w.Start.Truncate(time.Hour).Add(time.Hour)
		part := w
		if next.Before(w.End) {
			part.End = next
		}
		piece := &taplinev1.RangeRecord{Window: part.Proto(), State: r.GetState(), Feeds: r.GetFeeds(), Reason: r.GetReason(), At: r.GetAt()}
		err := l.writer.write(ctx, Key(PartPlan, tenant, part.Start), func(p *taplinev1.LedgerPage) { putRange(p, piece) })
		if err != nil {
			return err
		}
		w.Start = part.End
	}
	return nil
}

// Outcomes says what became of jobs. Those of which nothing is known are left out.
func (l *Ledger) Outcomes(ctx context.Context, jobIDs ...string) (map[string]*taplinev1.JobRecord, error) {
	known := make(map[string]*taplinev1.JobRecord)
	pages := make(map[string]*taplinev1.LedgerPage)
	for _, jobID := range jobIDs {
		id, err := job.Parse(jobID)
		if err != nil {
			return nil, fmt.Errorf("ledger: %w", err)
		}
		key := Key(PartRead, id.Tenant, id.Window.Start)
		if pages[key] == nil {
			if pages[key], _, err = readPage(ctx, l.store, key); err != nil {
				return nil, err
			}
		}
		for _, w := range pages[key].GetWindows() {
			if w.GetJobId() == jobID {
				known[jobID] = w
			}
		}
	}
	return known, nil
}

// Span is the time from the first to the last hour that the ledger has pages of. It
// is empty when there are none. It lists keys, which is for tools and not for stages.
func (l *Ledger) Span(ctx context.Context, tenant string) (window.Window, error) {
	keys, err := l.store.Keys(ctx, "*."+tenant+".*.*")
	if err != nil {
		return window.Window{}, fmt.Errorf("ledger: %w", err)
	}
	var hours []time.Time
	for _, key := range keys {
		if hour, err := hourOf(key); err == nil {
			hours = append(hours, hour)
		}
	}
	if len(hours) == 0 {
		return window.Window{}, nil
	}
	slices.SortFunc(hours, time.Time.Compare)
	return window.New(hours[0], hours[len(hours)-1].Add(time.Hour)), nil
}
