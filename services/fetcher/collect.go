package fetcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
	"github.com/tapline/tapline/services/fetcher/internal/seen"
	"github.com/tapline/tapline/services/fetcher/internal/spool"
)

// collector takes the records of one response, drops what was seen and packs the others into
// batches. It is for one goroutine, but for take.
type collector struct {
	cfg          *Config
	id           job.ID
	head         batch.Raw // what all batches of the job share, but the feed
	sets         *seen.Sets
	spool        *spool.Spool
	hasher       *identity.Hasher
	feeds        []*feedCollector
	dead         *spool.Spool // dead letters
	kept         keeping      // of malformed records in dead letters
	deadLettered []*taplinev1.DeadRecord
	// digest names what was taken last that has no name of its own; follows what was before it if
	// it is a piece.
	digest, follows []byte

	envelope []byte // of a list
	packed   []byte // reused

	taking  sync.Mutex // held while an answer about an id is packed
	answers []answered
	broken  error // packing failed, and the account with it
}

// feedCollector is the part of one feed.
type feedCollector struct {
	feed    feed.Feed
	result  taplinev1.FeedResult
	buf     []byte // the batch under construction
	records int
	excess  excess // malformed records beyond the bounds
}

func (c *collector) of(f feed.Feed) *feedCollector {
	for _, fc := range c.feeds {
		if fc.feed == f {
			return fc
		}
	}
	return nil
}

// received is how many entries of all feeds were taken.
func (c *collector) received() (n int64) {
	for _, fc := range c.feeds {
		n += fc.result.GetReceived()
	}
	return n
}

// visit takes one record. The response's bytes are copied before it returns.
func (c *collector) visit(ctx context.Context, r proofpoint.Record) error {
	fc := c.of(r.Feed)
	if fc == nil { // served along with the others, without being asked for
		return nil
	}
	fc.result.Received++
	rec, err := c.identify(r)
	if errors.Is(err, identity.ErrNotJSON) {
		r.Malformed = err
		rec, err = c.identify(r)
	}
	if err != nil {
		return err
	}
	if r.Bad() && !c.kept.takes(len(r.JSON)) {
		fc.excess.add(c.digest, len(r.JSON))
		return nil
	}
	verdict, err := look(ctx, c.sets, r.Feed, c.id, &rec)
	if err == nil && verdict == seen.Revision {
		verdict, err = c.unlessFormer(ctx, r.Feed, &rec)
	}
	if err != nil {
		return err
	}
	switch {
	case verdict == seen.Duplicate:
		fc.result.Duplicate++
		return nil
	case r.Bad():
		c.remember(fc.feed, &rec)
		return c.deadLetter(fc, r)
	case verdict == seen.Revision:
		fc.result.Revision++
		rec.Revision = true
	}
	return c.pack(fc, &rec)
}

// look asks what a record is to those published before, and remembers it. People are remembered
// with the snapshot they belong to, a record whose time is far from its window as one without a
// time.
func look(ctx context.Context, sets *seen.Sets, f feed.Feed, id job.ID, r *batch.Record) (seen.Verdict, error) {
	switch {
	case id.Call.IsPeople():
		return sets.Add(ctx, f, id.Window.Start.UnixMilli(), r.ID, r.Hash)
	case !near(r.TimeMS, id.Window):
		return sets.AddUndated(ctx, f, id.Window.Start, r.ID, r.Hash)
	}
	return sets.Add(ctx, f, r.TimeMS, r.ID, r.Hash)
}

// near reports whether a record is remembered by its own time. Otherwise an answer could touch any
// number of hours.
func near(timeMS int64, w window.Window) bool {
	return timeMS > w.Start.Add(-bound.Before).UnixMilli() && timeMS < w.End.Add(bound.After).UnixMilli()
}

// unlessFormer judges a revision: it is a duplicate when an earlier version published this content,
// of which it made another hash.
func (c *collector) unlessFormer(ctx context.Context, f feed.Feed, r *batch.Record) (seen.Verdict, error) {
	if c.id.Call.Kind() != feed.KindWindow || !near(r.TimeMS, c.id.Window) {
		return seen.Revision, nil
	}
	hash, err := c.hasher.Former(func() (uint64, error) {
		id, err := c.hasher.SIEM(f, r.JSON)
		return id.Hash, err
	})
	if err != nil { // it has no other identity than its bytes
		return seen.Revision, nil //nolint:nilerr // see above
	}
	if before, err := c.sets.Former(ctx, f, r.TimeMS, r.ID, hash); err != nil || before {
		return seen.Duplicate, err
	}
	return seen.Revision, nil
}

// identify names the record.
func (c *collector) identify(r proofpoint.Record) (batch.Record, error) {
	var id identity.Identity
	switch {
	case r.Bad():
		id = c.byContent(r)
	case c.id.Call.Kind() != feed.KindWindow:
		return c.entry(r)
	case r.Identity != nil:
		id = *r.Identity
	default:
		var err error
		if id, err = c.hasher.SIEM(r.Feed, r.JSON); err != nil {
			return batch.Record{}, fmt.Errorf("identify a record of %s: %w", r.Feed, err)
		}
	}
	return batch.Record{ID: id.ID, Hash: id.Hash, TimeMS: id.TimeMS, JSON: r.JSON}, nil
}

// entry names an entry of a list.
func (c *collector) entry(r proofpoint.Record) (batch.Record, error) {
	hash, err := c.hasher.Content(r.JSON)
	if err != nil {
		return batch.Record{}, fmt.Errorf("identify an entry of %s: %w", c.id.Call, err)
	}
	rec := batch.Record{Hash: hash, JSON: r.JSON}
	if c.id.Call.IsPeople() {
		rec.TimeMS = c.head.FetchedAt.UnixMilli()
		if guid := identity.Text(r.JSON, "identity", "guid"); guid != "" {
			rec.ID = identity.Named(string(c.id.Call), c.id.Target, guid)
			return rec, nil
		}
		rec.ID = identity.Mix(hash, identity.Named(string(c.id.Call), c.id.Target))
		return rec, nil
	}
	name, updated := identity.Text(r.JSON, "id"), identity.Text(r.JSON, "lastUpdatedAt")
	rec.ID = identity.Named(string(c.id.Call), name, updated)
	if name == "" {
		rec.ID = hash
	}
	if at, err := time.Parse(time.RFC3339, updated); err == nil && at.Unix() > 0 {
		rec.TimeMS = at.UnixMilli()
	}
	return rec, nil
}

// byContent names a record by its bytes; a piece of one by all bytes so far, since two pieces may
// look alike.
func (c *collector) byContent(r proofpoint.Record) identity.Identity {
	if c.follows = c.digest; r.Part <= 1 {
		c.follows = nil
	}
	c.digest = digest(c.follows, r.JSON)
	return identity.Bytes(r.Feed, c.digest)
}

// pack appends the record to its feed's batch and spools batches that are full.
func (c *collector) pack(fc *feedCollector, rec *batch.Record) error {
	if fc.records > 0 && len(fc.buf)+len(rec.JSON) > c.cfg.BatchBytes {
		if err := c.flush(fc); err != nil {
			return err
		}
	}
	if fc.records == 0 {
		head := c.head
		head.Feed = string(fc.feed)
		fc.buf = batch.AppendRawHeader(fc.buf[:0], &head)
	}
	fc.buf = batch.AppendRecord(fc.buf, rec)
	fc.records++
	if fc.result.Published == 0 {
		fc.result.FirstHash = rec.Hash
	}
	fc.result.LastHash = rec.Hash
	fc.result.Published++
	if fc.records >= c.cfg.BatchRecords {
		return c.flush(fc)
	}
	return nil
}

func (c *collector) flush(fc *feedCollector) error {
	if fc.records == 0 {
		return nil
	}
	fc.records = 0
	c.packed = batch.Pack(c.packed[:0], fc.buf)
	return c.spool.Add(string(fc.feed), c.packed)
}

// finish spools what is left and gives the account of every feed.
func (c *collector) finish(ctx context.Context) ([]*taplinev1.FeedResult, error) {
	var results []*taplinev1.FeedResult
	for _, fc := range c.feeds {
		if err := errors.Join(c.flush(fc), c.sumUp(ctx, fc)); err != nil {
			return nil, err
		}
		fc.result.Feed = string(fc.feed)
		results = append(results, &fc.result)
	}
	return results, nil
}
