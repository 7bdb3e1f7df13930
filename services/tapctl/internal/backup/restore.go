package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Parts that have a place of their own in a restore: the memory of calls, and what every stage
// opens when it begins.
const (
	quotaPart  = "KV_" + bus.BucketQuota
	ledgerPart = "KV_" + bus.BucketLedger
)

// ErrRunning says that a stage runs while its streams are to be replaced.
var ErrRunning = errors.New("a stage is running")

// Order says what to restore, and how.
type Order struct {
	Dir    string
	Limits bus.Limits
	Quota  quota.Config
	Force  bool // replace streams that have something in them
	Means  Means
	// Stopped is when the collector that was backed up made its last call, at the latest.
	Stopped time.Time
	Now     func() time.Time
	Tell    func(Part)
}

// Restored is what a restore did.
type Restored struct {
	*Manifest
	Closed []Closed       `json:"closed"`            // pools of calls
	Strays int            `json:"strays"`            // letters taken out of DEAD
	Ledger ledger.Rebuilt `json:"ledger_of_batches"` // of all tenants
}

// Closed is a pool that stays closed, because the calls since the backup are unknown.
type Closed struct {
	Tenant string    `json:"tenant"`
	Pool   feed.Pool `json:"pool"`
	Until  time.Time `json:"until"`
}

// Restore replaces the streams and buckets by those of a backup. No stage may run. It may be
// repeated when it was interrupted, with Force.
//
// Whenever it is killed, nothing begins to work with the streams of a backup and those of before,
// or fresh ones: a fence keeps setup from making what is missing, and LEDGER, without which no
// stage begins, is the first to go and the last to come.
//
// QUOTA comes first and is closed at once: an older memory of calls than the truth would make too
// many. Consumers whose stream was taken after what they write go back to where they were when the
// backup began. Letters in DEAD about messages that are not in the backup go; their places will be
// taken by others. At last the ledger is derived again from the streams, which were taken after it.
func Restore(ctx context.Context, b *bus.Bus, o Order) (*Restored, error) {
	m, ids, err := Unlock(o.Dir, o.Means)
	if err != nil {
		return nil, err
	}
	o.Means.Identities = ids
	if err := b.Rewindable(); err != nil {
		return nil, err
	}
	if err := free(ctx, b, o.Force); err != nil {
		return nil, err
	}
	if err := b.Fence(ctx, o.Limits); err != nil {
		return nil, err
	}
	step.At("restore.fenced")
	r := &Restored{Manifest: m}
	if err := r.replace(ctx, b, o); err != nil {
		return nil, err
	}
	if err := b.Unfence(ctx); err != nil {
		return nil, err
	}
	step.At("restore.whole")
	if err := b.Setup(ctx, o.Limits, nil); err != nil {
		return nil, err
	}
	step.At("restore.setup")
	return r, r.rebuildLedger(ctx, b)
}

// replace puts every part into its place.
func (r *Restored) replace(ctx context.Context, b *bus.Bus, o Order) error {
	for _, stream := range append([]string{ledgerPart}, bus.Parts()...) {
		if err := b.Remove(ctx, stream); err != nil {
			return err
		}
		step.At("restore.removed")
	}
	calls, pages := r.part(quotaPart), r.part(ledgerPart)
	if err := calls.restore(ctx, b, o); err != nil {
		return err
	}
	var err error
	if r.Closed, err = closePools(ctx, b, o, calls.At); err != nil {
		return err
	}
	step.At("restore.closed")
	for i := range r.Parts {
		if p := &r.Parts[i]; p != calls && p != pages {
			if err := p.restore(ctx, b, o); err != nil {
				return err
			}
		}
	}
	if err := rewind(ctx, b, r.Floors); err != nil {
		return err
	}
	if r.Strays, err = prune(ctx, b, r.Manifest); err != nil {
		return err
	}
	return pages.restore(ctx, b, o)
}

// rewind lets consumers do again what the backup may have only a part of. One that is not in the
// backup is made by setup, and begins at the beginning.
func rewind(ctx context.Context, b *bus.Bus, floors []bus.Floor) error {
	shipper, err := b.Backlog(ctx, bus.ConsumerShipper)
	switch {
	case err == nil:
		// What was confirmed out of turn may stand in no account; the others are entered by their
		// place below the floor.
		floors = append(slices.Clone(floors), bus.Floor{Stream: bus.StreamEvents, Consumer: shipper.Consumer, Done: shipper.Done})
	case !errors.Is(err, bus.ErrNotSetUp):
		return err
	}
	for _, f := range floors {
		if err := b.Rewind(ctx, f); err != nil && !errors.Is(err, bus.ErrNotSetUp) {
			return err
		}
		step.At("restore.rewound")
	}
	return nil
}

// free refuses to replace what is in use, or has something in it.
func free(ctx context.Context, b *bus.Bus, force bool) error {
	for _, stream := range bus.Parts() {
		consumer, err := b.Pulled(ctx, stream)
		if err != nil && !errors.Is(err, bus.ErrNotSetUp) {
			return err
		}
		if consumer != "" {
			return fmt.Errorf("restore: %w: a client pulls from %s as %s; stop scheduler, fetcher, enricher and shipper first", ErrRunning, stream, consumer)
		}
	}
	for _, stream := range bus.Parts() {
		if force || stream == quotaPart { // which has something in it from the very start
			continue
		}
		u, err := b.Usage(ctx, stream)
		if err != nil && !errors.Is(err, bus.ErrNotSetUp) {
			return err
		}
		if u.Messages > 0 {
			return fmt.Errorf("restore: %s is %w: it has %d messages, which --force would replace", stream, ErrNotEmpty, u.Messages)
		}
	}
	return nil
}

// A server may still be clearing away what an interrupted restore left, and then refuses the next.
const (
	restoreTries = 5
	restoreRest  = time.Second
)

func (p *Part) restore(ctx context.Context, b *bus.Bus, o Order) error {
	for try := 1; ; try++ {
		err := p.put(ctx, b, o)
		if err == nil {
			step.At("restore.part")
			o.Tell(*p)
			return nil
		}
		if try == restoreTries || ctx.Err() != nil || errors.Is(err, bus.ErrExists) || errors.Is(err, bus.ErrSnapshot) {
			return err
		}
		if !backoff.Sleep(ctx, restoreRest) {
			return err
		}
		if err := b.Remove(ctx, p.Stream); err != nil {
			return err
		}
	}
}

func (p *Part) put(ctx context.Context, b *bus.Bus, o Order) error {
	f, err := os.Open(filepath.Join(o.Dir, p.File))
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer f.Close()
	plain, err := p.opening(f, o.Means.Identities)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	// Names of letters are places in RAW and EVENTS, and places after the backup are taken anew.
	return b.Restore(ctx, p.Snapshot, bus.Restoring{Limits: o.Limits, Forget: p.Stream == bus.StreamDead}, plain)
}

// closePools closes every pool for as long as calls count that were made after the memory of them
// was taken.
func closePools(ctx context.Context, b *bus.Bus, o Order, taken time.Time) ([]Closed, error) {
	closed := []Closed{}
	if !o.Stopped.After(taken) {
		return closed, nil
	}
	bucket, err := b.Bucket(ctx, bus.BucketQuota)
	if err != nil {
		return nil, err
	}
	keys, err := bucket.Keys(ctx, ">")
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		tenant, pool, ok := strings.Cut(key, ".")
		if !ok || feed.Pool(pool) == feed.PoolNone {
			continue
		}
		until, err := quota.NewLimiter(bucket, tenant, o.Quota, o.Now).BlockAfterLoss(ctx, feed.Pool(pool), o.Stopped)
		if err != nil {
			return nil, err
		}
		if until.After(o.Now()) {
			closed = append(closed, Closed{tenant, feed.Pool(pool), until})
		}
	}
	return closed, nil
}

// prune takes out letters about messages that came after their stream was taken.
func prune(ctx context.Context, b *bus.Bus, m *Manifest) (int, error) {
	var strays []uint64
	err := b.Scan(ctx, bus.DeadLetters(), func(s bus.Stored) (bool, error) {
		letter := &taplinev1.DeadLetter{}
		if err := wire.Unmarshal(s.Data, letter); err != nil {
			return true, nil //nolint:nilerr // not a letter, so about nothing that could be missing
		}
		stream, place, ok := strings.Cut(letter.GetSource(), "/")
		sequence, err := strconv.ParseUint(place, 10, 64)
		if ok && err == nil && (stream == bus.StreamRaw || stream == bus.StreamEvents) && sequence > m.part(stream).Last {
			strays = append(strays, s.Sequence)
		}
		return true, nil
	})
	if err != nil {
		return 0, err
	}
	for _, sequence := range strays {
		if err := b.Delete(ctx, bus.StreamDead, sequence); err != nil {
			return 0, err
		}
		step.At("restore.pruned")
	}
	return len(strays), nil
}

// rebuildLedger rebuilds the ledger of every tenant from the streams.
func (r *Restored) rebuildLedger(ctx context.Context, b *bus.Bus) error {
	pages, err := b.Bucket(ctx, bus.BucketLedger)
	if err != nil {
		return err
	}
	pools, err := b.Bucket(ctx, bus.BucketQuota)
	if err != nil {
		return err
	}
	keys, err := pools.Keys(ctx, ">")
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, key := range keys {
		tenant, _, _ := strings.Cut(key, ".")
		if done[tenant] {
			continue
		}
		done[tenant] = true
		found, err := ledger.New(pages).Rebuild(ctx, b, tenant)
		if err != nil {
			return err
		}
		step.At("restore.accounted")
		r.Ledger.Jobs += found.Jobs
		r.Ledger.Made += found.Made
		r.Ledger.Confirmed += found.Confirmed
		r.Ledger.Unknown += found.Unknown
	}
	return nil
}
