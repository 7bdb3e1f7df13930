package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// store is the bucket LEDGER.
type store interface {
	Get(ctx context.Context, key string) (bus.Entry, error)
	Put(ctx context.Context, key string, value []byte) error
}

// Ledger reads and writes window records. It is safe for concurrent use.
type Ledger struct{ store store }

// New opens the ledger over the bucket LEDGER.
func New(s store) *Ledger { return &Ledger{s} }

// Window is one window as it was read by one pass: 0 is the first reading, others
// are sweeps.
type Window struct {
	window.Window
	Pass uint32
}

// Key is where the record of one window of one feed is kept.
func Key(tenant string, f feed.Feed, w Window) string {
	key := tenant + "." + string(f) + "." + w.Compact(".")
	if w.Pass > 0 {
		key += ".sweep" + strconv.FormatUint(uint64(w.Pass), 10)
	}
	return key
}

// Get reads one record. It is nil when there is none.
func (l *Ledger) Get(ctx context.Context, tenant string, f feed.Feed, w Window) (*taplinev1.WindowRecord, error) {
	entry, err := l.store.Get(ctx, Key(tenant, f, w))
	if errors.Is(err, bus.ErrNotFound) {
		return nil, nil //nolint:nilnil // no record is an answer, not an error
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	record := &taplinev1.WindowRecord{}
	if err := proto.Unmarshal(entry.Value, record); err != nil {
		return nil, fmt.Errorf("ledger: record of %s %s: %w", f, w, err)
	}
	return record, nil
}

// Put writes one record. Writing the same again changes nothing that a reader sees.
func (l *Ledger) Put(ctx context.Context, record *taplinev1.WindowRecord) error {
	w, err := window.FromProto(record.GetWindow())
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	data, err := proto.Marshal(record)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	if err := l.store.Put(ctx, Key(record.GetTenant(), feed.Feed(record.GetFeed()), Window{w, record.GetPass()}), data); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// Outcome is what became of a job.
type Outcome struct {
	State  taplinev1.WindowState // UNSPECIFIED while nothing is known
	SkewMS int64
}

// Outcome reads what became of one window for all feeds of a set. A state is
// reported only when every feed has one: fetched if all are fetched, else split
// or lost.
func (l *Ledger) Outcome(ctx context.Context, tenant string, set feed.Set, w Window) (Outcome, error) {
	var out Outcome
	for _, f := range set {
		record, err := l.Get(ctx, tenant, f, w)
		if err != nil {
			return Outcome{}, err
		}
		if record == nil {
			return Outcome{}, nil
		}
		out.State = max(out.State, record.GetState())
		out.SkewMS = record.GetSkewMs()
	}
	return out, nil
}
