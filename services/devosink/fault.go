package devosink

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// FaultKind names a way in which an endpoint fails.
type FaultKind string

// The kinds of faults.
const (
	// FaultRefuse closes the listener until the fault is cleared.
	FaultRefuse FaultKind = "refuse"
	// FaultNoHandshake accepts TCP and never answers.
	FaultNoHandshake FaultKind = "no-handshake"
	// FaultRefuseCertificate refuses the client certificate, after Fault.Delay; with TLS 1.3
	// the client learns it after it believes to be connected.
	FaultRefuseCertificate FaultKind = "refuse-certificate"
	// FaultReset breaks the connection (RST) after Fault.Bytes. With Fault.Delay it stops reading
	// that long before, so that the client's kernel is informed of bytes that are never read.
	FaultReset FaultKind = "reset"
	// FaultFIN ends the connection in an orderly way after Fault.Bytes.
	FaultFIN FaultKind = "fin"
	// FaultBareFIN ends it after Fault.Bytes without the last words of TLS.
	FaultBareFIN FaultKind = "bare-fin"
	// FaultIdle ends a connection that is silent for Fault.Delay, as load balancers do.
	FaultIdle FaultKind = "idle"
	// FaultStall stops reading after Fault.Bytes, for Fault.Delay or until cleared.
	FaultStall FaultKind = "stall"
	// FaultSlow waits Fault.Delay before each read.
	FaultSlow FaultKind = "slow"
	// FaultDiscard reads everything and stores nothing: acknowledged but lost.
	FaultDiscard FaultKind = "discard"
	// FaultTwice stores everything twice.
	FaultTwice FaultKind = "twice"
	// FaultCut stores only the first Fault.Bytes of each event.
	FaultCut FaultKind = "cut"
	// FaultSplit stores an event that is longer than Fault.Bytes as several.
	FaultSplit FaultKind = "split"
	// FaultDrop stores no event that is longer than Fault.Bytes.
	FaultDrop FaultKind = "drop"
	// FaultNoClose does not answer the end of the client's stream.
	FaultNoClose FaultKind = "no-close"
	// FaultStatus answers an HTTP request with status Fault.Bytes, and with Retry-After if there is
	// a Fault.Delay.
	FaultStatus FaultKind = "status"
	// FaultLost stores the events of an HTTP request and breaks the connection instead of
	// answering.
	FaultLost FaultKind = "lost-answer"
	// FaultRefuseLong answers 413 to an HTTP request with an event that is longer than Fault.Bytes,
	// and stores nothing of it.
	FaultRefuseLong FaultKind = "refuse-long"
	// FaultRefuseText answers 400 to an HTTP request with an event that has Fault.Text in it, and
	// stores nothing of it.
	FaultRefuseText FaultKind = "refuse-text"
	// FaultEndless answers an HTTP request with status Fault.Bytes and a body without end, a byte
	// each Fault.Delay if there is one.
	FaultEndless FaultKind = "endless-answer"
	// FaultQueryStatus answers a query with status Fault.Bytes, and with Retry-After if there is a
	// Fault.Delay.
	FaultQueryStatus FaultKind = "query-status"
	// FaultQueryCut breaks the connection after Fault.Bytes rows of the answer to a query.
	FaultQueryCut FaultKind = "query-cut"
)

var kinds = []FaultKind{
	FaultRefuse, FaultNoHandshake, FaultRefuseCertificate, FaultReset, FaultFIN, FaultBareFIN, FaultIdle, FaultStall, FaultSlow,
	FaultDiscard, FaultTwice, FaultCut, FaultSplit, FaultDrop, FaultNoClose, FaultStatus, FaultLost, FaultRefuseLong, FaultRefuseText,
	FaultEndless, FaultQueryStatus, FaultQueryCut,
}

// Kinds lists every kind of fault.
func Kinds() []FaultKind { return slices.Clone(kinds) }

// placed are the kinds that hit at an exact byte of the stream, be it inside a record.
var placed = []FaultKind{FaultReset, FaultFIN, FaultBareFIN, FaultStall}

// sized are the kinds whose Fault.Bytes is no place in the stream.
var sized = []FaultKind{FaultCut, FaultSplit, FaultDrop, FaultStatus, FaultRefuseLong, FaultEndless, FaultQueryStatus}

// Fault makes connections go wrong.
type Fault struct {
	Kind  FaultKind     `json:"kind"`
	Bytes int64         `json:"bytes,omitempty"` // decrypted bytes of the connection before it hits; a size for cut, split and drop
	Delay time.Duration `json:"delay,omitempty"` // nanoseconds
	Count int           `json:"count,omitempty"` // connections it hits; 0 means all until it is cleared
	Text  string        `json:"text,omitempty"`  // of refuse-text
}

var errBadFault = errors.New("unusable fault")

func (f Fault) validate() error {
	if !slices.Contains(kinds, f.Kind) {
		return fmt.Errorf("%w: kind %q: want one of %q", errBadFault, f.Kind, kinds)
	}
	if f.Bytes < 0 || f.Delay < 0 || f.Count < 0 {
		return fmt.Errorf("%w: no negative numbers", errBadFault)
	}
	if f.hasStatus() && (f.Bytes < 300 || f.Bytes > 599) && (f.Kind != FaultEndless || f.Bytes != 200) {
		return fmt.Errorf("%w: status %d (in bytes): want 300 to 599", errBadFault, f.Bytes)
	}
	if (f.Kind == FaultRefuseText) != (f.Text != "") {
		return fmt.Errorf("%w: refuse-text wants a text, and nothing else does", errBadFault)
	}
	if (f.Kind == FaultSplit || f.Kind == FaultCut || f.Kind == FaultRefuseLong) && f.Bytes == 0 {
		return fmt.Errorf("%w: %s wants a size in bytes", errBadFault, f.Kind)
	}
	if f.Kind == FaultIdle && f.Delay == 0 {
		return fmt.Errorf("%w: idle wants a delay", errBadFault)
	}
	return nil
}

// hasStatus reports whether Bytes is the status of an answer.
func (f Fault) hasStatus() bool {
	return f.Kind == FaultStatus || f.Kind == FaultEndless || f.Kind == FaultQueryStatus
}

// Inject adds a fault. It hits open connections too, except for those that happen
// at their beginning.
func (s *Sink) Inject(f Fault) error {
	if err := f.validate(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
	s.faulty.Store(true)
	if f.Kind == FaultRefuse {
		return s.unlisten()
	}
	return nil
}

// Clear takes all faults away; a stalled connection reads on.
func (s *Sink) Clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	s.faulty.Store(false)
	close(s.cleared)
	s.cleared = make(chan struct{})
	return s.listen()
}

// Faults lists the faults that may still hit.
func (s *Sink) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Fault{}
	for _, f := range s.faults {
		out = append(out, *f)
	}
	return out
}

// strike finds a fault of the kind that hits a connection after so many bytes.
// Faults with a count hit one connection each.
func (s *Sink) strike(c *connection, kind FaultKind, bytes int64) *Fault {
	if !s.faulty.Load() { // asked for every event
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Kind != kind || (bytes < f.Bytes && !slices.Contains(sized, kind)) {
			continue
		}
		if f.Count > 0 && !slices.Contains(c.struck, f) {
			c.struck = append(c.struck, f)
			if f.Count--; f.Count == 0 {
				s.faults = slices.Delete(s.faults, i, i+1)
			}
		}
		hit := *f
		return &hit
	}
	return nil
}

// reach is how many bytes a connection may read before the next fault with a place.
func (s *Sink) reach(read int64, most int) int {
	if !s.faulty.Load() {
		return most
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if slices.Contains(placed, f.Kind) && f.Bytes > read {
			most = int(min(int64(most), f.Bytes-read))
		}
	}
	return most
}

func (s *Sink) onClear() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cleared
}
