package seen

import (
	"context"
	"sync"
)

// What is read ahead at most: more keys the bus does not give at once, and more bytes would wait in
// memory for records that may not come.
const (
	prefetchKeys  = 900
	prefetchBytes = 16 << 20
)

// Prefetch knows which hours the last job of each lane touched. The next job will touch most of
// them, too, and can read them in one request. Their content is always reread, so a prefetch cannot
// be wrong, only useless. The zero value is ready; it is safe for concurrent use.
type Prefetch struct {
	mu    sync.Mutex
	lanes map[string][]hourKey
}

func (p *Prefetch) of(lane string) []hourKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lanes[lane]
}

func (p *Prefetch) set(lane string, keys []hourKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lanes == nil {
		p.lanes = make(map[string][]hourKey)
	}
	p.lanes[lane] = keys
}

// readPrefetch reads the prefetch list once. Best effort: hours missing from the reply, hours with
// several chunks, or all of them on error, are read on demand.
func (s *Sets) readPrefetch(ctx context.Context) {
	if s.prefetched {
		return
	}
	s.prefetched = true
	keys := s.prefetch.of(s.lane)
	if len(keys) < 2 {
		return
	}
	names, hours := make([]string, len(keys)), make(map[string]hourKey, len(keys))
	for i, key := range keys {
		names[i] = s.key(key, 0)
		hours[names[i]] = key
	}
	pairs, err := s.store.Select(ctx, names...)
	if err != nil {
		return
	}
	for _, pair := range pairs {
		l, ok := s.open(pair.Entry)
		if !ok {
			continue
		}
		h := newHour()
		h.chunks, h.rev = []list{l}, pair.Revision
		s.hours[hours[pair.Key]] = h
	}
}

// setPrefetch remembers which hours this job touched.
func (s *Sets) setPrefetch() {
	keys, size := make([]hourKey, 0, len(s.hours)), 0
	for key, h := range s.hours {
		if len(h.added) > 0 {
			keys = append(keys, key)
			size += h.size()
		}
	}
	if len(keys) > prefetchKeys || size > prefetchBytes {
		keys = nil
	}
	s.prefetch.set(s.lane, keys)
}
