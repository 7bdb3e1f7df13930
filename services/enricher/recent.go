package enricher

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/services/enricher/internal/names"
)

const (
	recentFor = 10 * time.Minute // well below any refresh period worth having
	recentMax = 100_000          // in each of two generations
)

// recent remembers what this process ordered or found known, for a while, so that a threat
// that thousands of records name is looked up once. It is safe for concurrent use.
type recent struct {
	mu       sync.Mutex
	now, old map[string]struct{}
	since    time.Time
}

func newRecent() *recent { return &recent{now: make(map[string]struct{})} }

// turn begins a new generation and forgets the one before the last.
func (r *recent) turn(at time.Time) {
	switch age := at.Sub(r.since); {
	case age >= 2*recentFor:
		r.now, r.old, r.since = make(map[string]struct{}), nil, at
	case age >= recentFor || len(r.now) >= recentMax:
		r.now, r.old, r.since = make(map[string]struct{}), r.now, at
	}
}

func (r *recent) has(key string, at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(at)
	_, ok := r.now[key]
	if !ok {
		_, ok = r.old[key]
	}
	return ok
}

func (r *recent) add(key string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(at)
	if _, ok := r.old[key]; !ok { // what is known longer is looked up again in time
		r.now[key] = struct{}{}
	}
}

// keyedLock let one batch at a time order a thing, so that batches side by side which name the same
// new threat order it once: the others find it in recent. Each takes its things in one order of
// all, so that no two wait for each other.
type keyedLock struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the thing is given back
}

func newKeyedLock() *keyedLock { return &keyedLock{held: make(map[string]chan struct{})} }

// lock waits until the key is free.
func (t *keyedLock) lock(ctx context.Context, key string) error {
	for {
		t.mu.Lock()
		theirs := t.held[key]
		if theirs == nil {
			t.held[key] = make(chan struct{})
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock()
		select {
		case <-theirs:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// unlock ends the turns of things that were taken.
func (t *keyedLock) unlock(keys []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		close(t.held[key])
		delete(t.held, key)
	}
}

const (
	vapsKept   = 48 * time.Hour   // two snapshots
	vapsReread = 10 * time.Minute // how often the shared memory is read
	vapsMost   = 100_000          // addresses of one list, and ten times that in memory
)

// vapStore is the bucket KNOWN.
type vapStore interface {
	Put(ctx context.Context, key string, value []byte) error
	Select(ctx context.Context, filters ...string) ([]bus.Pair, error)
}

// vaps knows who is attacked most: their forensics come first. It is safe for concurrent use.
type vaps struct {
	store  vapStore
	tenant string
	now    func() time.Time

	mu    sync.Mutex
	read  time.Time
	known map[uint64]struct{}
}

// learn writes the people of one batch of a list down.
func (a *vaps) learn(ctx context.Context, sequence uint64, raw *batch.Raw) error {
	threshold, _ := strconv.ParseFloat(identity.Text(raw.Envelope, "vapAttackIndexThreshold"), 64)
	value := binary.BigEndian.AppendUint64(nil, uint64(raw.FetchedAt.UnixMilli()))
	for i := range raw.Records {
		person := raw.Records[i].JSON
		index, err := strconv.ParseFloat(identity.Text(person, "threatStatistics", "attackIndex"), 64)
		if err == nil && index < threshold { // the list has those below, too
			continue
		}
		emails, err := names.Emails(person)
		if err != nil {
			continue
		}
		if len(value) >= 8*vapsMost {
			break
		}
		for _, e := range emails {
			value = binary.BigEndian.AppendUint64(value, identity.Named(strings.ToLower(e)))
		}
	}
	if err := a.store.Put(ctx, a.key(raw.FetchedAt, strconv.FormatUint(sequence, 10)), value); err != nil {
		return fmt.Errorf("record the VAPs: %w", err)
	}
	a.mu.Lock()
	a.read = time.Time{}
	a.mu.Unlock()
	return nil
}

// key is where a list is kept. Its day is in it: the lists of a month are more than one request may
// read.
func (a *vaps) key(fetched time.Time, list string) string {
	return a.tenant + ".attacked." + fetched.UTC().Format("20060102") + "." + list
}

// any reports whether one of the addresses is a VAP's.
func (a *vaps) any(ctx context.Context, addresses []string) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := a.now(); now.Sub(a.read) > vapsReread {
		var days []string
		for day := now.Add(-vapsKept); !day.After(now.Add(24 * time.Hour)); day = day.Add(24 * time.Hour) {
			days = append(days, a.key(day, "*"))
		}
		pairs, err := a.store.Select(ctx, days...)
		if err != nil {
			return false, fmt.Errorf("read who is attacked: %w", err)
		}
		a.known, a.read = make(map[uint64]struct{}), now
		for _, pair := range pairs {
			a.take(pair.Value, now)
		}
	}
	for _, address := range addresses {
		if _, ok := a.known[identity.Named(strings.ToLower(address))]; ok {
			return true, nil
		}
	}
	return false, nil
}

func (a *vaps) take(value []byte, now time.Time) {
	if len(value) < 8 || now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(value)))) > vapsKept {
		return
	}
	for value = value[8:]; len(value) >= 8 && len(a.known) < 10*vapsMost; value = value[8:] {
		a.known[binary.BigEndian.Uint64(value)] = struct{}{}
	}
}
