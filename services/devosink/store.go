package devosink

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// Mode says what is kept of each event.
type Mode string

// The modes.
const (
	Full  Mode = "full"  // everything, until MaxBytes
	Index Mode = "index" // counts by tag, and the ids, to find duplicates
	Count Mode = "count" // counts by tag
)

// Event is one stored event.
type Event struct {
	Tag, Host  string
	Date       time.Time // of the header
	Received   time.Time // what Devo calls eventdate
	Connection int64
	Subject    string // common name of the client certificate
	Frame      Frame  // Raw is a copy when the event comes from a query
	Message    []byte
}

// Snapshot is one look at the counters.
type Snapshot struct {
	Events      int64            `json:"events"`
	Bytes       int64            `json:"bytes"`
	Partial     int64            `json:"partial"`
	Duplicates  int64            `json:"duplicates"` // events whose @tapline_id was there before; not in mode count
	Dropped     int64            `json:"dropped"`    // not kept for lack of room
	Connections int64            `json:"connections"`
	Open        int64            `json:"open"` // connections now
	Tags        map[string]int64 `json:"tags"`
}

// store keeps events. It is safe for concurrent use.
type store struct {
	mode     Mode
	maxBytes int64

	mu      sync.Mutex
	snap    Snapshot
	tags    map[string]*int64
	kept    int64
	events  []Event
	ids     map[string]int32
	changed chan struct{} // closed and replaced when something is added
}

func newStore(mode Mode, maxBytes int64) *store {
	return &store{mode: mode, maxBytes: maxBytes, tags: make(map[string]*int64), ids: make(map[string]int32), changed: make(chan struct{})}
}

var idKey = []byte(`"@tapline_id":"`)

// taplineID finds the value of @tapline_id, which stands at the end of a row.
func taplineID(message []byte) []byte {
	i := bytes.LastIndex(message, idKey)
	if i < 0 {
		return nil
	}
	value := message[i+len(idKey):]
	before, _, ok := bytes.Cut(value, []byte{'"'})
	if !ok {
		return nil
	}
	return before
}

// add keeps one event. Its header aliases the frame.
func (s *store) add(e *Event, h *Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.Events++
	s.snap.Bytes += int64(len(e.Frame.Raw))
	if e.Frame.Partial {
		s.snap.Partial++
	}
	n := s.tags[string(h.Tag)]
	if n == nil {
		n = new(int64)
		s.tags[string(h.Tag)] = n
	}
	*n++
	if s.mode != Count && !e.Frame.Partial {
		if id := taplineID(h.Message); id != nil {
			seen := s.ids[string(id)]
			if seen > 0 {
				s.snap.Duplicates++
			}
			s.ids[string(id)] = seen + 1
		}
	}
	if s.mode == Full {
		s.keep(e, h)
	}
}

func (s *store) keep(e *Event, h *Header) {
	if s.kept+int64(len(e.Frame.Raw)) > s.maxBytes {
		s.snap.Dropped++
		return
	}
	c := *e
	c.Frame.Raw = bytes.Clone(e.Frame.Raw)
	c.Message = c.Frame.Raw[len(c.Frame.Raw)-len(h.Message):]
	c.Tag, c.Host = string(h.Tag), string(h.Host)
	s.kept += int64(len(c.Frame.Raw))
	s.events = append(s.events, c)
}

// announce wakes all waiters.
func (s *store) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *store) connected() (number int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.Connections++
	s.snap.Open++
	return s.snap.Connections
}

func (s *store) disconnected() {
	s.mu.Lock()
	s.snap.Open--
	s.mu.Unlock()
	s.announce()
}

func (s *store) snapshot() (Snapshot, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := s.snap
	snap.Tags = make(map[string]int64, len(s.tags))
	for tag, n := range s.tags {
		snap.Tags[tag] = *n
	}
	return snap, s.changed
}

// Snapshot gives the counters.
func (s *Sink) Snapshot() Snapshot {
	snap, _ := s.store.snapshot()
	return snap
}

// WaitFor waits until the counters are as wanted, or ctx ends.
func (s *Sink) WaitFor(ctx context.Context, enough func(Snapshot) bool) (Snapshot, error) {
	for {
		snap, changed := s.store.snapshot()
		if enough(snap) {
			return snap, nil
		}
		select {
		case <-ctx.Done():
			return snap, ctx.Err()
		case <-changed:
		}
	}
}

// Events gives what mode full has kept, in order of arrival; an empty tag means all.
func (s *Sink) Events(tag string) []Event {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	var out []Event
	for _, e := range s.store.events {
		if tag == "" || e.Tag == tag {
			out = append(out, e)
		}
	}
	return out
}

// Duplicates gives every @tapline_id that came more than once, and how often.
func (s *Sink) Duplicates() map[string]int {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	out := make(map[string]int)
	for id, n := range s.store.ids {
		if n > 1 {
			out[id] = int(n)
		}
	}
	return out
}

// Reset forgets everything stored.
func (s *Sink) Reset() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.snap = Snapshot{Connections: s.store.snap.Connections, Open: s.store.snap.Open}
	s.store.events, s.store.kept = nil, 0
	clear(s.store.tags)
	clear(s.store.ids)
}
