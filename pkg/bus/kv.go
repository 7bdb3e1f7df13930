package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/tapline/tapline/pkg/backoff"
)

// Entry is the value of a key and the revision that changes with it.
type Entry struct {
	Value    []byte
	Revision uint64
	Changed  time.Time
}

// Bucket is one key-value bucket. Keys consist of letters, digits and -/_=. only.
type Bucket struct {
	kv     jetstream.KeyValue
	b      *Bus
	name   string
	writes *writes // records how each one ends
}

// Bucket opens a bucket that setup made. A question that a server took down with it is asked again,
// for some twenty seconds.
func (b *Bus) Bucket(ctx context.Context, name string) (*Bucket, error) {
	var kv jetstream.KeyValue
	err := b.patiently(ctx, startPatience, func() (err error) {
		kv, err = b.js.KeyValue(ctx, name)
		return err
	})
	if err != nil {
		return nil, missing(err, "bucket", name)
	}
	return &Bucket{kv, b, name, &b.writes}, nil
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

// Update writes a key whose revision is still the given one; revision 0 means that it does not
// exist. [ErrConflict]: another process was faster. Any other error leaves the outcome unknown.
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

// UpdateAll makes all the changes or none, with one sync of the disk for all of them.
// [ErrConflict]: another process changed at least one of the keys. Any other error leaves the
// outcome unknown. The bucket must be one that takes batches, and the changes at most 1000 to
// different keys.
func (k *Bucket) UpdateAll(ctx context.Context, changes []Change) (err error) {
	defer func() { k.writes.wrote(k.name, err) }()
	p, err := jetstreamext.NewBatchPublisher(k.b.js, jetstreamext.BatchFlowControl{
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
	if isFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
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

// Delete removes a key whose revision is still the given one. [ErrConflict]: another process was
// faster. Any other error leaves the outcome unknown.
func (k *Bucket) Delete(ctx context.Context, key string, revision uint64) error {
	if err := k.kv.Delete(ctx, key, jetstream.LastRevision(revision)); err != nil {
		return k.failed("delete", key, conflict(err))
	}
	return nil
}

// Keys lists the keys that match any of the filters, at most 100000 for each, as the leader of the
// bucket has them. The list is whole, or there is an error. Only keys of STATE are ever deleted; in
// other buckets a key that a foreign tool deleted is listed until it expires.
func (k *Bucket) Keys(ctx context.Context, filters ...string) ([]string, error) {
	keys := map[string]bool{}
	for _, filter := range filters {
		subjects, err := k.subjects(ctx, k.prefix()+filter)
		if err != nil {
			return nil, fmt.Errorf("list keys of %s: %w", k.name, err)
		}
		for subject := range subjects {
			keys[subject[len(k.prefix()):]] = true
		}
	}
	list := slices.Sorted(maps.Keys(keys))
	if k.name != BucketState {
		return list, nil
	}
	return k.live(ctx, list)
}

// subjects are those that the stream of the bucket has messages of, with their numbers.
func (k *Bucket) subjects(ctx context.Context, filter string) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, keysPatience)
	defer cancel()
	var info struct {
		Total int `json:"total"`
		State struct {
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
	}
	err := k.b.api(ctx, "$JS.API.STREAM.INFO."+bucketStream(k.name), map[string]any{"subjects_filter": filter}, &info)
	if err == nil && len(info.State.Subjects) < info.Total {
		err = fmt.Errorf("%w: %s matches %d keys, of which the server names %d", ErrIncomplete, filter, info.Total, len(info.State.Subjects))
	}
	return info.State.Subjects, err
}

// live leaves out keys that were deleted. A replica that does not have a key yet is asked again.
func (k *Bucket) live(ctx context.Context, keys []string) (list []string, err error) {
	for some := range slices.Chunk(keys, selectKeys) {
		for began := time.Now(); ; backoff.Sleep(ctx, lagPause) {
			all, err := k.last(ctx, 0, some...)
			if err == nil && len(all) < len(some) {
				err = fmt.Errorf("list keys of %s: %w: the server that was asked has %d of %d", k.name, ErrIncomplete, len(all), len(some))
			}
			if err == nil {
				for _, m := range all {
					if !m.deleted {
						list = append(list, m.Subject[len(k.prefix()):])
					}
				}
				break
			}
			if !repeatable(err) || ctx.Err() != nil || time.Since(began) > lagPatience {
				return nil, err
			}
		}
	}
	return list, nil
}

func (k *Bucket) failed(verb, key string, err error) error {
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		err = ErrNotFound
	case errors.Is(err, jetstream.ErrKeyExists), errors.Is(err, jetstream.ErrKeyRevisionMismatch):
		err = ErrConflict
	case isFull(err):
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("%s %s %s: %w", verb, k.name, key, err)
}

// keysPatience bounds the wait for a list of keys.
const keysPatience = 30 * time.Second

// Pair is a key and its value.
type Pair struct {
	Key string
	Entry
}

// selectKeys is how many keys one request may read; the server's own limit is 1024.
const selectKeys = 1000

// selectBytes bounds the values of one answer, and one value more: server and reader hold all of
// them.
const selectBytes = 16 << 20

// Select reads all keys that match any of the filters (wildcards as in subjects, together at most
// 1000 keys) in one request. It gives all of them, or an error: [ErrIncomplete] for more than 16
// MiB. In a cluster any replica answers: the values, and which keys there are, may be those of a
// moment ago.
func (k *Bucket) Select(ctx context.Context, filters ...string) (pairs []Pair, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	all, err := k.last(ctx, selectBytes, filters...)
	for _, m := range all {
		if !m.deleted {
			pairs = append(pairs, Pair{m.Subject[len(k.prefix()):], Entry{m.Data, m.Sequence, m.Time}})
		}
	}
	return pairs, err
}

// last reads the last message of each key that matches any of the filters. Beyond so many bytes, if
// any, it is incomplete.
func (k *Bucket) last(ctx context.Context, most int, filters ...string) (all []found, err error) {
	d, err := k.b.direct(bucketStream(k.name))
	if err != nil {
		return nil, err
	}
	defer d.end()
	for m, err := range d.ask(ctx, directRequest{LastFor: around(k.prefix(), filters, ""), MaxBytes: most}) {
		if errors.Is(err, ErrNotFound) && len(all) == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read keys of %s: %w", k.name, err)
		}
		if !strings.HasPrefix(m.Subject, k.prefix()) {
			return nil, fmt.Errorf("read keys of %s: %w: value %d has garbled headers", k.name, ErrIncomplete, m.Sequence)
		}
		all = append(all, m)
	}
	if d.pending > 0 {
		return nil, fmt.Errorf("read keys of %s: the answer ended with %d to come: %w", k.name, d.pending, errors.Join(ErrIncomplete, ctx.Err()))
	}
	return all, nil
}
