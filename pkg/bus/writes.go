package bus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// stale is after how long a write that failed and was not tried again says nothing any more:
// another process does it.
const stale = 10 * time.Minute

// writes knows which streams, buckets included, could not be written when that was tried last. To
// be connected is not enough: a server with a full disk, without a leader or without JetStream
// answers to pings. It is safe for concurrent use.
type writes struct {
	mu      sync.Mutex
	failing map[string]*time.Timer // by stream
	watch   func(stream string, problem error)
}

// OnWrites calls f with the reason when a stream or a bucket cannot be written, and with nil when
// it has taken something again. What the server refuses for a reason of its content is no such
// reason: a conflict, a repetition, a full stream.
func (b *Bus) OnWrites(f func(stream string, problem error)) {
	b.writes.mu.Lock()
	defer b.writes.mu.Unlock()
	b.writes.watch = f
}

// wrote records how a write ended.
func (w *writes) wrote(stream string, err error) {
	if err != nil && !unwritable(err) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	timer := w.failing[stream]
	if err == nil && timer == nil {
		return
	}
	if timer != nil {
		timer.Stop()
		delete(w.failing, stream)
	}
	if err != nil {
		if w.failing == nil {
			w.failing = make(map[string]*time.Timer)
		}
		w.failing[stream] = time.AfterFunc(stale, func() { w.wrote(stream, nil) })
	}
	if w.watch != nil {
		w.watch(stream, err)
	}
}

// unwritable reports whether an error is the server's inability to store, and not its answer to
// what was to be stored, nor the caller's end.
func unwritable(err error) bool {
	for _, answer := range []error{ErrOutstanding, ErrAlreadyStored, ErrConflict, ErrFull, ErrTooLarge, ErrNotFound, context.Canceled} {
		if errors.Is(err, answer) {
			return false
		}
	}
	var api *jetstream.APIError
	var js jetstream.JetStreamError
	return transient(err) || errors.As(err, &api) || errors.As(err, &js) || errors.Is(err, nats.ErrConnectionClosed)
}
