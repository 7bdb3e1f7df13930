package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// Entry is the value of a key and the revision that changes with it.
type Entry struct {
	Value    []byte
	Revision uint64
	Changed  time.Time
}

// Bucket is one key-value bucket. Keys consist of letters, digits and -/_=. only.
type Bucket struct {
	kv   jetstream.KeyValue
	js   jetstream.JetStream
	name string
	// writes is told how each one ends.
	writes *writes
}

// Bucket opens a bucket that setup made. A question that a server took down with it is asked again, for some twenty seconds.
func (b *Bus) Bucket(ctx context.Context, name string) (*Bucket, error) {
	var kv jetstream.KeyValue
	err := b.patiently(ctx, startPatience, func() (err error) {
		kv, err = b.js.KeyValue(ctx, name)
		return err
	})
	if err != nil {
		return nil, missing(err, "bucket", name)
	}
	return &Bucket{kv, b.js, name, &b.writes}, nil
}

// Get reads a key. [ErrNotFound]: there is none.
func (k *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	e, err := k.kv.Get(ctx, key)
	if err != nil {
		return Entry{}, k.failed("read", key, err)
	}
	return Entry{e.Value(), e.Revision(), e.Created()}, nil
}

// Create writes a key that does not exist. [ErrConflict]: it does. Any other
// error leaves the outcome unknown.
func (k *Bucket) Create(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	defer func() { k.writes.wrote(k.name, err) }()
	revision, err = k.kv.Create(ctx, key, value)
	if err != nil {
		return 0, k.failed("create", key, err)
	}
	return revision, nil
}

// Update writes a key whose revision is still the given one; revision 0 means
// that it does not exist. [ErrConflict]: somebody was faster. Any other error
// leaves the outcome unknown.
func (k *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (next uint64, err error) {
	if revision == 0 {
		return k.Create(ctx, key, value)
	}
	defer func() { k.writes.wrote(k.name, err) }()
	next, err = k.kv.Update(ctx, key, value, revision)
	if err != nil {
		return 0, k.failed("update", key, err)
	}
	return next, nil
}

// Change is what [Bucket.UpdateAll] does to one key: as [Bucket.Update].
type Change struct {
	Key      string
	Value    []byte
	Revision uint64
}

// UpdateAll makes all the changes or none, with one sync of the disk for all of them. [ErrConflict]: at least one of the
// keys was changed by somebody else. Any other error leaves the outcome unknown. The bucket must be one that
// takes batches, and the changes at most 1000 to different keys.
func (k *Bucket) UpdateAll(ctx context.Context, changes []Change) (err error) {
	defer func() { k.writes.wrote(k.name, err) }()
	p, err := jetstreamext.NewBatchPublisher(k.js, jetstreamext.BatchFlowControl{
		AckFirst: true, AckEvery: ackEvery, AckTimeout: requestTimeout,
	})
	if err != nil {
		return fmt.Errorf("update %d keys of %s: %w", len(changes), k.name, err)
	}
	for i, c := range changes {
		subject, expected := k.prefix()+c.Key, jetstreamext.WithBatchExpectLastSequencePerSubject(c.Revision)
		if i == len(changes)-1 {
			_, err = p.Commit(ctx, subject, c.Value, expected)
		} else {
			err = p.Add(subject, c.Value, expected)
		}
		if err != nil {
			// The server forgets an open batch by itself.
			return fmt.Errorf("update %d keys of %s: %w", len(changes), k.name, errors.Join(conflict(err), p.Discard()))
		}
	}
	return nil
}

func conflict(err error) error {
	if hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence) || hasCode(err, jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return ErrConflict
	}
	return err
}

func (k *Bucket) prefix() string { return "$KV." + k.name + "." }

// Put writes a key whatever it was before.
func (k *Bucket) Put(ctx context.Context, key string, value []byte) (err error) {
	defer func() { k.writes.wrote(k.name, err) }()
	if _, err := k.kv.Put(ctx, key, value); err != nil {
		return k.failed("write", key, err)
	}
	return nil
}

// Delete removes a key whose revision is still the given one. [ErrConflict]: somebody was faster. Any other
// error leaves the outcome unknown.
func (k *Bucket) Delete(ctx context.Context, key string, revision uint64) error {
	if err := k.kv.Delete(ctx, key, jetstream.LastRevision(revision)); err != nil {
		return k.failed("delete", key, conflict(err))
	}
	return nil
}

// keysPatience is how long the server may leave a list of keys unfinished without a word. The library asks again after
// two missing heartbeats of five seconds.
const keysPatience = 30 * time.Second

// Keys lists the keys that match any of the filters. It makes a consumer on the server:
// for tools and the setup, not for stages. The list is whole, or there is an error.
func (k *Bucket) Keys(ctx context.Context, filters ...string) ([]string, error) {
	watcher, err := k.kv.WatchFiltered(ctx, filters, jetstream.IgnoreDeletes(), jetstream.MetaOnly())
	if err != nil {
		return nil, fmt.Errorf("list keys of %s: %w", k.name, err)
	}
	defer dismiss(watcher)
	patience := time.NewTimer(keysPatience)
	defer patience.Stop()
	for keys := []string(nil); ; {
		select {
		case e, open := <-watcher.Updates():
			switch {
			case !open:
				return nil, fmt.Errorf("list keys of %s: %w", k.name, errors.Join(ErrClosed, ctx.Err()))
			case e == nil: // all were said
				return keys, nil
			}
			keys = append(keys, e.Key())
			patience.Reset(keysPatience)
		case <-ctx.Done():
			return nil, fmt.Errorf("list keys of %s: %w", k.name, ctx.Err())
		case <-patience.C:
			return nil, fmt.Errorf("list keys of %s: no answer for %s: %w", k.name, keysPatience, context.DeadlineExceeded)
		}
	}
}

// dismiss ends a watcher. Its goroutine may be waiting for a reader; it closes the channel when it ends, unless
// the connection has ended before it.
func dismiss(watcher jetstream.KeyWatcher) {
	_ = watcher.Stop() // fails when it has ended
	for rest := time.After(time.Second); ; {
		select {
		case _, open := <-watcher.Updates():
			if !open {
				return
			}
		case <-rest:
			return
		}
	}
}

func (k *Bucket) failed(verb, key string, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		err = ErrNotFound
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		err = ErrConflict
	}
	return fmt.Errorf("%s %s %s: %w", verb, k.name, key, err)
}

// Pair is a key and its value.
type Pair struct {
	Key string
	Entry
}

// Select reads all keys that match any of the filters (wildcards as in subjects,
// together at most 1000 keys) in one request. It gives all of them, or an error.
func (k *Bucket) Select(ctx context.Context, filters ...string) ([]Pair, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	prefix := k.prefix()
	subjects := make([]string, len(filters))
	for i, f := range filters {
		subjects[i] = prefix + f
	}
	messages, err := jetstreamext.GetLastMsgsFor(ctx, k.js, "KV_"+k.name, subjects)
	if err != nil {
		return nil, fmt.Errorf("read keys of %s: %w", k.name, err)
	}
	var pairs []Pair
	toCome := "all" // an answer that is cut short by time or size looks like one that ended, but for this
	for msg, err := range messages {
		if toCome == "all" && errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read keys of %s: %w", k.name, err)
		}
		toCome = msg.Header.Get("Nats-Num-Pending")
		if msg.Header.Get("KV-Operation") == "" && msg.Header.Get("Nats-Marker-Reason") == "" { // neither deleted nor expired
			pairs = append(pairs, Pair{msg.Subject[len(prefix):], Entry{msg.Data, msg.Sequence, msg.Time}})
		}
	}
	if toCome != "0" {
		return nil, fmt.Errorf("read keys of %s: the answer ended with %s to come: %w", k.name, toCome, errors.Join(ErrIncomplete, ctx.Err()))
	}
	return pairs, nil
}
