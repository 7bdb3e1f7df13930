package telemetry

import (
	"maps"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/printable"
)

// Health collects what the parts of a process say about themselves. It is safe
// for concurrent use, and a nil *Health accepts everything and keeps nothing.
type Health struct {
	mu       sync.Mutex
	unready  map[string]string // part -> why it cannot make progress
	degraded map[string]string // part -> what it suffers from
	loops    map[string]*loop
	now      func() time.Time
}

type loop struct {
	turned time.Time
	within time.Duration
}

// NewHealth starts with nothing known, which is ready and alive.
func NewHealth() *Health {
	return &Health{
		unready: make(map[string]string), degraded: make(map[string]string),
		loops: make(map[string]*loop), now: time.Now,
	}
}

// NotReady says that a part cannot make progress.
func (h *Health) NotReady(part, reason string) { h.set(part, reason, "") }

// Degraded says that a part works but suffers from something outside.
func (h *Health) Degraded(part, reason string) { h.set(part, "", reason) }

// Connection gives a function that reports whether something is reachable without
// which no progress can be made.
func (h *Health) Connection(part string) func(connected bool) {
	return func(connected bool) {
		if connected {
			h.OK(part)
			return
		}
		h.NotReady(part, "not reachable")
	}
}

// Writes records that something without which no progress can be made cannot be written, or with
// nil that it can.
func (h *Health) Writes(place string, problem error) {
	part := "write " + place
	if problem == nil {
		h.OK(part)
		return
	}
	h.NotReady(part, problem.Error())
}

// OK takes back whatever the part said before.
func (h *Health) OK(part string) { h.set(part, "", "") }

func (h *Health) set(part, unready, degraded string) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	put(h.unready, part, printable.Line(unready)) // it may repeat words of others
	put(h.degraded, part, printable.Line(degraded))
}

func put(m map[string]string, key, value string) {
	if value == "" {
		delete(m, key)
		return
	}
	m[key] = value
}

// Turn says that a loop has turned and will turn again within the given time.
// Zero takes the promise back.
func (h *Health) Turn(name string, within time.Duration) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if within <= 0 {
		delete(h.loops, name)
		return
	}
	h.loops[name] = &loop{turned: h.now(), within: within}
}

// Wait takes a loop's promise back while it waits for something outside whose time is not bounded:
// that is no sign of being stuck. The function it returns gives the promise again.
func (h *Health) Wait(name string, within time.Duration) (done func()) {
	h.Turn(name, 0)
	return func() { h.Turn(name, within) }
}

// Report is one look at the whole process.
type Report struct {
	Ready    bool              `json:"ready"`
	Alive    bool              `json:"alive"`
	NotReady map[string]string `json:"not_ready,omitempty"`
	Degraded map[string]string `json:"degraded,omitempty"`
	Stuck    map[string]string `json:"stuck,omitempty"` // loop -> how long it has been silent
}

// Report looks at everything said so far.
func (h *Health) Report() Report {
	h.mu.Lock()
	defer h.mu.Unlock()
	stuck := make(map[string]string)
	for name, l := range h.loops {
		if silent := h.now().Sub(l.turned); silent > l.within {
			stuck[name] = silent.Round(time.Second).String()
		}
	}
	return Report{
		Ready: len(h.unready) == 0, Alive: len(stuck) == 0,
		NotReady: maps.Clone(h.unready), Degraded: maps.Clone(h.degraded), Stuck: stuck,
	}
}
