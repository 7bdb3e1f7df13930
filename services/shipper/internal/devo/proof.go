package devo

import (
	"sync"
	"time"
)

// proof decides which of the batches on a connection are confirmed. It is safe for concurrent use.
type proof struct {
	settle time.Duration // how long the connection must stand after the acknowledgement

	mu    sync.Mutex
	marks []mark // one for each unconfirmed batch, in the order they were sent
}

// mark is where a batch ends in the stream.
type mark struct {
	count int64     // bytes on the wire
	acked time.Time // when the other kernel was seen to have them; zero before
}

// said is what the kernel knows of a connection.
type said struct {
	acked    int64 // bytes of ours that the other kernel has
	received int64 // bytes of theirs, read or not
	closed   bool  // the other window: its buffer is full of what its program has not read
	open     bool  // neither side has ended it
}

// view is what we know beside what the kernel said.
type view struct {
	asked    time.Time // right before the kernel was
	now      time.Time
	judged   bool  // the peer has taken our certificate, or has had the time to refuse it
	attended int64 // bytes of theirs that we have looked at
}

// sent remembers where a batch ends.
func (p *proof) sent(count int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.marks = append(p.marks, mark{count: count})
}

// waiting counts the batches that are not confirmed.
func (p *proof) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.marks)
}

// confirmed takes out of the list the marks that were passed long enough before the kernel was
// asked. While the peer's window is closed nothing gets older: its program does not read. A
// certificate may still be refused for a while if nothing shows that it was taken. And time counts
// only if nothing has come meanwhile that we have not looked at: a process that stood still would
// otherwise take its own silence for the peer's consent.
func (p *proof) confirmed(s said, v view) (n int) {
	consents := v.judged && s.open && s.received <= v.attended
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.marks {
		m := &p.marks[i]
		if m.count > s.acked {
			break
		}
		if m.acked.IsZero() || s.closed {
			m.acked = v.now
		}
		if consents && v.asked.Sub(m.acked) >= p.settle {
			n++
		}
	}
	p.marks = p.marks[n:]
	return n
}

// progress notices that nothing more is acknowledged. The zero value has seen nothing.
type progress struct {
	limit time.Duration
	most  int64
	since time.Time
}

// stalled reports whether nothing more was acknowledged for longer than the limit.
func (p *progress) stalled(acked int64, now time.Time) bool {
	if p.since.IsZero() || acked > p.most {
		p.most, p.since = acked, now
	}
	return now.Sub(p.since) > p.limit
}
