package seen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// chunkEntries is how many entries one key holds: 6 MB, and the bus
// takes 8 in one message.
const chunkEntries = 500_000

// store is the bucket SEEN.
type store interface {
	Get(ctx context.Context, key string) (bus.Entry, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Select(ctx context.Context, filters ...string) ([]bus.Pair, error)
	UpdateAll(ctx context.Context, changes []bus.Change) error
}

// Verdict says what a record is to those published before.
type Verdict int

// The verdicts.
const (
	New       Verdict = iota
	Duplicate         // this very content was published
	Revision          // the record was published with other content
)

// Sets is one job's view of the memory. It is for one goroutine.
type Sets struct {
	store  store
	tenant string
	chunk  int
	hours  map[hourKey]*hour
	last   *hour // records come in runs of one hour
	lastID hourKey
	most   int // bytes of what is stored that are in memory; one hour always is
	turn   uint64

	prefetch   *Prefetch
	lane       string
	prefetched bool // the prefetch was done
}

type hourKey struct {
	feed feed.Feed
	hour int64 // hours since the epoch
}

// hour is what is known of one feed and hour.
type hour struct {
	chunks []list // all but the last are full; nil if they are to be read (again)
	rev    uint64 // revision of the last chunk; 0 when it does not exist
	added  map[uint64]entry
	more   map[entry]struct{} // further revisions of an identity in added
	used   uint64             // the turn in which it was asked for last
}

// Open begins the view of a job in a lane. The hints may be those of other jobs.
func Open(s store, tenant string, prefetch *Prefetch, lane string) *Sets {
	return &Sets{store: s, tenant: tenant, chunk: chunkEntries, most: bound.Seen, hours: make(map[hourKey]*hour), prefetch: prefetch, lane: lane}
}

// AddUndated is [Sets.Add] for a record without a time of its own: it is kept with the hour
// in which the window that returned it starts. No window is longer than an hour, so any other
// window that returns the record starts in the same hour or in one next to it.
func (s *Sets) AddUndated(ctx context.Context, f feed.Feed, start time.Time, id, hash uint64) (Verdict, error) {
	verdict := New
	for _, offset := range []time.Duration{-time.Hour, time.Hour} {
		h, err := s.load(ctx, hourKey{f, start.Add(offset).UnixMilli() / time.Hour.Milliseconds()})
		if err != nil {
			return New, err
		}
		if v := h.find(entryOf(id, hash)); v == Duplicate {
			return Duplicate, nil
		} else if v == Revision {
			verdict = Revision
		}
	}
	v, err := s.Add(ctx, f, start.UnixMilli(), id, hash)
	if v == New {
		v = verdict
	}
	return v, err
}

// Add looks a record up by its own time and remembers it for Commit.
func (s *Sets) Add(ctx context.Context, f feed.Feed, timeMS int64, id, hash uint64) (Verdict, error) {
	h, err := s.of(ctx, f, timeMS)
	if err != nil {
		return New, err
	}
	return h.add(entryOf(id, hash)), nil
}

// Former reports whether an earlier version published a record of that time. hash is the one that
// it made of the content.
func (s *Sets) Former(ctx context.Context, f feed.Feed, timeMS int64, id, hash uint64) (bool, error) {
	h, err := s.of(ctx, f, timeMS)
	if err != nil {
		return false, err
	}
	key := entryOf(id, hash).key
	return slices.ContainsFunc(h.chunks, func(l list) bool { return l.short(key) }), nil
}

// of gives the hour of a time.
func (s *Sets) of(ctx context.Context, f feed.Feed, timeMS int64) (*hour, error) {
	key := hourKey{f, timeMS / time.Hour.Milliseconds()}
	if s.last != nil && key == s.lastID && s.last.chunks != nil {
		return s.last, nil
	}
	h, err := s.load(ctx, key)
	if err != nil {
		return nil, err
	}
	s.last, s.lastID = h, key
	return h, nil
}

// spare forgets what is stored of the hours that were not asked for lately, when all of them are
// more than a job may have in memory. What was added stays.
func (s *Sets) spare(now *hour) {
	size := 0
	for _, h := range s.hours {
		size += h.size()
	}
	for size > s.most {
		var oldest *hour
		for _, h := range s.hours {
			if h != now && h.chunks != nil && (oldest == nil || h.used < oldest.used) {
				oldest = h
			}
		}
		if oldest == nil {
			return
		}
		size -= oldest.size()
		oldest.chunks = nil
	}
}

func (h *hour) size() (n int) {
	for _, chunk := range h.chunks {
		n += len(chunk)
	}
	return n
}

// find looks an entry up.
func (h *hour) find(e entry) Verdict {
	known := false
	for _, chunk := range h.chunks {
		k, same := chunk.contains(e)
		if same {
			return Duplicate
		}
		known = known || k
	}
	if have, ok := h.added[e.base()]; ok {
		if _, again := h.more[e]; again || have == e {
			return Duplicate
		}
		known = true
	}
	if known {
		return Revision
	}
	return New
}

// add looks an entry up and remembers it.
func (h *hour) add(e entry) Verdict {
	verdict := h.find(e)
	if verdict == Duplicate {
		return Duplicate
	}
	if _, ok := h.added[e.base()]; ok {
		h.more[e] = struct{}{}
	} else {
		h.added[e.base()] = e
	}
	return verdict
}

// full reports whether so many full chunks are all that an hour may have: what is published beyond
// them is not remembered, and may be published again.
func (s *Sets) full(chunks int) bool { return chunks*s.chunk*entrySize >= bound.SeenHour }

// tail is the last chunk.
func (h *hour) tail() list { return h.chunks[len(h.chunks)-1] }

func newHour() *hour {
	return &hour{added: make(map[uint64]entry), more: make(map[entry]struct{})}
}

func (s *Sets) load(ctx context.Context, key hourKey) (*hour, error) {
	s.readPrefetch(ctx)
	h := s.hours[key]
	if h == nil {
		h = newHour()
	}
	s.turn++
	h.used = s.turn
	if h.chunks != nil {
		return h, nil
	}
	if err := s.read(ctx, key, h); err != nil {
		return nil, err
	}
	s.hours[key] = h
	s.spare(h)
	return h, nil
}

// read fills the chunks from the first one that is not complete in h. After an error it has none: a
// part is not to be taken for all.
func (s *Sets) read(ctx context.Context, key hourKey, h *hour) error {
	err := s.readChunks(ctx, key, h)
	if err != nil {
		h.chunks, h.rev = nil, 0
	}
	return err
}

func (s *Sets) readChunks(ctx context.Context, key hourKey, h *hour) error {
	if n := len(h.chunks); n > 0 {
		h.chunks = h.chunks[:n-1] // the last one may have grown
	}
	h.rev = 0
	for {
		entry, err := s.store.Get(ctx, s.key(key, len(h.chunks)))
		if errors.Is(err, bus.ErrNotFound) {
			h.rev = 0
			h.chunks = append(h.chunks, nil)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what was seen: %w", err)
		}
		l, err := parse(entry.Value)
		if err != nil {
			return fmt.Errorf("%w: %s has %d bytes", err, s.key(key, len(h.chunks)), len(entry.Value))
		}
		h.rev = entry.Revision
		h.chunks = append(h.chunks, l)
		if l.len() < s.chunk || s.full(len(h.chunks)) {
			return nil
		}
	}
}

// readAgain reads the last chunks of hours in one request. What the answer lacks, and what is not
// the last chunk any more, is read one by one, and so are all of them when it fails.
func (s *Sets) readAgain(ctx context.Context, keys []hourKey) error {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = s.key(key, len(s.hours[key].chunks)-1)
	}
	stored := make(map[string]bus.Entry, len(keys))
	if pairs, err := s.store.Select(ctx, names...); err == nil {
		for _, pair := range pairs {
			stored[pair.Key] = pair.Entry
		}
	}
	for i, key := range keys {
		h := s.hours[key]
		entry := stored[names[i]]
		l, ok := s.open(entry)
		if !ok {
			if err := s.read(ctx, key, h); err != nil {
				return err
			}
			continue
		}
		h.chunks[len(h.chunks)-1], h.rev = l, entry.Revision
	}
	return nil
}

// open gives the list that is stored, if there is one that is not full.
func (s *Sets) open(stored bus.Entry) (list, bool) {
	l, err := parse(stored.Value)
	return l, err == nil && stored.Revision != 0 && l.len() < s.chunk
}

// key is "<tenant>.<feed>.<hour>", with a number for the chunks after the first.
func (s *Sets) key(k hourKey, chunk int) string {
	key := s.tenant + "." + string(k.feed) + "." + time.Unix(k.hour*3600, 0).UTC().Format("2006010215")
	if chunk > 0 {
		key += "." + strconv.Itoa(chunk)
	}
	return key
}
