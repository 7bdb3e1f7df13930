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

// What goes to the bus in one batch. The records of one window may belong to hundreds of hours, and
// the server syncs the disk once for each batch.
const (
	batchKeys  = 500
	batchBytes = 8 << 20
)

// batchTries is how often a batch is lost before its hours are written one by one. The next try is
// lost only to a job that writes within the few milliseconds since the last reading.
const batchTries = 8

// Commit writes everything that was added. Call it once the records are
// published. It may be repeated.
func (s *Sets) Commit(ctx context.Context) error {
	s.last = nil
	s.setPrefetch()
	var keys []hourKey
	size := 0
	for key, h := range s.hours {
		n := len(h.added) + len(h.more)
		if n == 0 {
			continue
		}
		if _, err := s.load(ctx, key); err != nil { // it may have been forgotten
			return err
		}
		keys = append(keys, key)
		if size += len(h.tail()) + n*entrySize; size >= batchBytes || len(keys) == batchKeys {
			if err := s.commitAll(ctx, keys); err != nil {
				return err
			}
			keys, size = keys[:0], 0
		}
	}
	return s.commitAll(ctx, keys)
}

// commitAll writes hours in one batch. When another job was faster at any of them, they are read
// again in one request and written in the next batch: one by one each would cost a sync of the
// disk, and would be lost again to a job that does the same. That is left for what a batch cannot
// do.
func (s *Sets) commitAll(ctx context.Context, keys []hourKey) error {
	tries := 0
	var fitting []hourKey
	err := bus.RetryOnConflict(ctx, func() error {
		if tries > 0 {
			if err := s.readAgain(ctx, fitting); err != nil {
				return err
			}
		}
		var changes []bus.Change
		if fitting, changes = s.changes(keys); len(changes) < 2 || tries == batchTries {
			return nil
		}
		tries++
		err := s.store.UpdateAll(ctx, changes)
		switch {
		case errors.Is(err, bus.ErrConflict):
			return fmt.Errorf("record what was seen: %w", err)
		case err == nil:
			step.At("seen.written")
			for _, key := range fitting {
				delete(s.hours, key) // it would have to be read again for its revision
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if h := s.hours[key]; h != nil {
			if err := s.commit(ctx, key, h); err != nil {
				return err
			}
		}
	}
	return nil
}

// changes are those of hours whose new entries fit into one key, and which hours that are.
func (s *Sets) changes(keys []hourKey) (fitting []hourKey, changes []bus.Change) {
	for _, key := range keys {
		h := s.hours[key]
		pending := h.pending()
		if h.chunks == nil || len(pending) == 0 || h.tail().len()+len(pending) >= s.chunk {
			continue
		}
		value, _ := merge(h.tail(), pending)
		change := bus.Change{Key: s.key(key, len(h.chunks)-1), Value: value, Revision: h.rev}
		fitting, changes = append(fitting, key), append(changes, change)
	}
	return fitting, changes
}

// pending are the entries that are not written yet, as far as is known: a writing that failed may
// have had its effect.
func (h *hour) pending() []entry {
	added := slices.AppendSeq(slices.Collect(maps.Values(h.added)), maps.Keys(h.more))
	return slices.DeleteFunc(added, func(e entry) bool {
		return slices.ContainsFunc(h.chunks, func(l list) bool {
			_, same := l.contains(e)
			return same
		})
	})
}

// commit writes one hour, rereading it whenever another process has changed it.
func (s *Sets) commit(ctx context.Context, key hourKey, h *hour) error {
	known := h.chunks != nil
	err := bus.RetryOnConflict(ctx, func() error {
		if !known {
			if err := s.read(ctx, key, h); err != nil {
				return err
			}
		}
		known = false // a write that fails leaves what is stored unknown
		// At the limit there are no more keys.
		for pending := h.pending(); len(pending) > 0 && h.tail().len() < s.chunk; {
			last := len(h.chunks) - 1
			part := pending[:min(s.chunk-h.tail().len(), len(pending))]
			value, merged := merge(h.tail(), part)
			rev, err := s.store.Update(ctx, s.key(key, last), value, h.rev)
			if err != nil {
				return fmt.Errorf("record what was seen: %w", err)
			}
			step.At("seen.written")
			h.chunks[last], h.rev = merged, rev
			pending = pending[len(part):]
			if merged.len() >= s.chunk && !s.full(len(h.chunks)) {
				h.chunks, h.rev = append(h.chunks, nil), 0
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	clear(h.added)
	clear(h.more)
	return nil
}
