package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/seen"
)

const (
	// rebuildBatches is how many batches of RAW are remembered together: what a crash repeats, and
	// what memory it takes.
	rebuildBatches = 100
	rebuiltHeld    = 24 * time.Hour
)

// rebuildSeen makes the memory of published records again when it was lost: RAW has the records, as
// far back as it reaches. Until that is done nothing is read, since it would be published twice.
// Any number of fetchers may do it at once.
func (f *Fetcher) rebuildSeen(ctx context.Context) error {
	memory, err := f.bus.Usage(ctx, "KV_"+bus.BucketSeen)
	if err != nil {
		return fmt.Errorf("look at what was seen: %w", err)
	}
	raw, err := f.bus.Usage(ctx, bus.StreamRaw)
	if err != nil {
		return fmt.Errorf("look at what was seen: %w", err)
	}
	// Setup makes SEEN before RAW, so SEEN is the younger one only when it was made anew. What is
	// in SEEN stays there for as long as its records stay in RAW, so it is empty after all only
	// when it was emptied.
	if raw.Messages == 0 || !memory.Created.After(raw.Oldest) && (memory.Messages > 0 || memory.Last == 0) {
		return nil
	}
	done := f.cfg.Tenant.Name + ".rebuilt.0"
	entry, err := f.seen.Get(ctx, done)
	if err == nil && string(entry.Value) == memory.Created.UTC().Format(time.RFC3339Nano) {
		return nil
	}
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return fmt.Errorf("look at what was seen: %w", err)
	}
	f.log.Info("SEEN is empty or new: rebuilding it from RAW", slog.Uint64("messages", raw.Messages))
	f.health.NotReady(Flow.Stage, "rebuilding SEEN from RAW")
	records, err := f.seenFrom(ctx, raw)
	if err != nil {
		return err
	}
	if err := f.seen.Put(ctx, done, []byte(memory.Created.UTC().Format(time.RFC3339Nano))); err != nil {
		return fmt.Errorf("rebuild SEEN: %w", err)
	}
	if records == 0 {
		return nil
	}
	detail := fmt.Sprintf("SEEN was lost and has been rebuilt: RAW has %d records since %s; what was published before may come twice", records, raw.Oldest.UTC().Format(time.RFC3339))
	f.log.Warn("SEEN is rebuilt", slog.String("detail", detail))
	f.alarms.HoldCause(ctx, alarm.MemoryLost, "SEEN", detail, rebuiltHeld)
	return nil
}

// seenFrom remembers every record of the tenant that RAW has, and counts them.
func (f *Fetcher) seenFrom(ctx context.Context, raw bus.Usage) (records int, err error) {
	var sets *seen.Sets
	var b batch.Raw
	pending := 0
	for sequence := raw.First; sequence <= raw.Last; sequence++ {
		stored, err := f.bus.Message(ctx, bus.StreamRaw, sequence)
		if errors.Is(err, bus.ErrNotFound) {
			continue
		}
		if err != nil {
			return records, fmt.Errorf("rebuild SEEN: %w", err)
		}
		if sets == nil {
			sets = seen.Open(f.seen, f.cfg.Tenant.Name, &f.prefetch, "rebuild")
		}
		n, err := f.seeBatch(ctx, sets, stored, &b)
		if err != nil {
			return records, fmt.Errorf("rebuild SEEN: %w", err)
		}
		records += n
		if pending++; pending < rebuildBatches && sequence < raw.Last {
			continue
		}
		if err := sets.Commit(ctx); err != nil {
			return records, fmt.Errorf("rebuild SEEN: %w", err)
		}
		sets, pending = nil, 0
	}
	if sets == nil {
		return records, nil
	}
	if err := sets.Commit(ctx); err != nil {
		return records, fmt.Errorf("rebuild SEEN: %w", err)
	}
	return records, nil
}

// seeBatch remembers the records of a message of RAW, and what a marker says of DEAD. What cannot
// be decoded has none; answers about ids are in KNOWN.
func (f *Fetcher) seeBatch(ctx context.Context, sets *seen.Sets, stored bus.Stored, b *batch.Raw) (records int, err error) {
	if !stored.IsRaw() {
		return f.seeMarker(ctx, sets, stored)
	}
	if batch.DecodeRaw(stored.Data, b) != nil || b.Tenant != f.cfg.Tenant.Name {
		return 0, nil //nolint:nilerr // see above
	}
	id, err := job.Parse(b.JobID)
	if err != nil {
		return 0, nil //nolint:nilerr // of no job: nothing repeats it
	}
	for i := range b.Records {
		if r := &b.Records[i]; len(r.Target) == 0 {
			if _, err := look(ctx, sets, feed.Feed(b.Feed), id, r); err != nil {
				return 0, err
			}
			records++
		}
	}
	return records, nil
}

// seeMarker remembers what a job brought to DEAD.
func (f *Fetcher) seeMarker(ctx context.Context, sets *seen.Sets, stored bus.Stored) (records int, err error) {
	result := &taplinev1.JobResult{}
	if wire.Unmarshal(stored.Data, result) != nil || result.GetTenant() != f.cfg.Tenant.Name {
		return 0, nil //nolint:nilerr // it is no marker of this tenant
	}
	id, err := job.Parse(result.GetJobId())
	if err != nil {
		return 0, nil //nolint:nilerr // of no job: nothing repeats it
	}
	return len(result.GetDead()), recall(ctx, sets, id, result)
}
