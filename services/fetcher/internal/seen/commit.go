package seen

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/step"
)

// What goes to the bus in one batch. The records of one window may belong to hundreds of hours, and the server
// syncs the disk once for each batch.
const (
	batchKeys  = 500
	batchBytes = 8 << 20
)

// Commit writes everything that was added. Call it once the records are
// published. It may be repeated.
func (s *Sets) Commit(ctx context.Context) error {
	s.last = nil
	s.hint()
	var keys []hourKey
	var changes []bus.Change
	size := 0
	for key, h := range s.hours {
		pending := h.pending()
		if len(pending) == 0 {
			continue
		}
		last := len(h.chunks) - 1
		if len(h.chunks[last])/entrySize+len(pending) >= s.chunk { // more than one key
			if err := s.commit(ctx, key, h); err != nil {
				return err
			}
			continue
		}
		merged := merge(h.chunks[last], pending)
		keys, changes = append(keys, key), append(changes, bus.Change{Key: s.key(key, last), Value: merged, Revision: h.rev})
		if size += len(merged); size >= batchBytes || len(changes) == batchKeys {
			if err := s.commitAll(ctx, keys, changes); err != nil {
				return err
			}
			keys, changes, size = keys[:0], changes[:0], 0
		}
	}
	return s.commitAll(ctx, keys, changes)
}

// commitAll writes the hours in one batch, and one by one when that does not succeed.
func (s *Sets) commitAll(ctx context.Context, keys []hourKey, changes []bus.Change) error {
	if len(changes) > 1 && s.store.UpdateAll(ctx, changes) == nil {
		step.At("seen.written")
		for _, key := range keys {
			delete(s.hours, key) // it would have to be read again for its revision
		}
		return nil
	}
	for _, key := range keys {
		if err := s.commit(ctx, key, s.hours[key]); err != nil {
			return err
		}
	}
	return nil
}

// pending are the entries that are not written yet.
func (h *hour) pending() []uint64 {
	return slices.AppendSeq(slices.Collect(maps.Values(h.added)), maps.Keys(h.more))
}

// commit writes one hour, reading it again whenever somebody else has changed it.
func (s *Sets) commit(ctx context.Context, key hourKey, h *hour) error {
	pending := h.pending()
	for race := (bus.Race{}); len(pending) > 0; {
		last := len(h.chunks) - 1
		room := s.chunk - len(h.chunks[last])/entrySize
		part := pending[:min(room, len(pending))]
		merged := merge(h.chunks[last], part)
		rev, err := s.store.Update(ctx, s.key(key, last), merged, h.rev)
		if errors.Is(err, bus.ErrConflict) {
			if err := race.Lost(ctx); err != nil {
				return fmt.Errorf("note what was seen: %w", err)
			}
			if err := s.read(ctx, key, h); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("note what was seen: %w", err)
		}
		step.At("seen.written")
		h.chunks[last], h.rev = merged, rev
		pending = pending[len(part):]
		if len(merged) >= s.chunk*entrySize {
			h.chunks, h.rev = append(h.chunks, nil), 0
		}
	}
	clear(h.added)
	clear(h.more)
	return nil
}
