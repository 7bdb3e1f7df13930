package fetcher

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
	"github.com/tapline/tapline/services/fetcher/internal/seen"
)

// keeping counts the malformed records of a job that go to DEAD as they are, or went there before.
type keeping struct{ records, bytes int }

// takes reports whether one more is within the bounds. Which ones are does not depend on what is in
// DEAD already: a window that is read again keeps the same.
func (k *keeping) takes(size int) bool {
	if k.records >= bound.Letters || k.bytes+size > bound.LetterBytes {
		return false
	}
	k.records++
	k.bytes += size
	return true
}

// excess are the malformed records of one feed that are beyond the bounds. sum does not depend on
// their order.
type excess struct {
	records, bytes int64
	sum            uint64
}

func (e *excess) add(digest []byte, size int) {
	e.records++
	e.bytes += int64(size)
	e.sum += binary.BigEndian.Uint64(digest)
}

// exceeds reports whether malformed records are beyond the bounds.
func (c *collector) exceeds() bool {
	return slices.ContainsFunc(c.feeds, func(fc *feedCollector) bool { return fc.excess.records > 0 })
}

// sumUp makes one dead letter of the excess, unless the same went to DEAD before.
func (c *collector) sumUp(ctx context.Context, fc *feedCollector) error {
	e := fc.excess
	if e.records == 0 {
		return nil
	}
	reason := fmt.Errorf("%d more entries of this answer, %d bytes, are malformed and are not kept: at most %d entries and %d bytes of one answer are",
		e.records, e.bytes, bound.Letters, bound.LetterBytes)
	payload := fmt.Appendf(nil, `{"entries":%d,"bytes":%d,"sum":"%016x"}`, e.records, e.bytes, e.sum)
	id := identity.Bytes(fc.feed, payload)
	verdict, err := look(ctx, c.sets, fc.feed, c.id, &batch.Record{ID: id.ID, Hash: id.Hash})
	switch {
	case err != nil:
		return err
	case verdict == seen.Duplicate:
		fc.result.Duplicate += e.records
		return nil
	}
	fc.result.Dead += e.records
	c.remember(fc.feed, &batch.Record{ID: id.ID, Hash: id.Hash})
	return c.addDead(c.newDeadLetter(proofpoint.Record{Feed: fc.feed, JSON: payload, Malformed: reason}))
}

// remember has the marker say what goes to DEAD: SEEN may have to be completed from what is stored.
func (c *collector) remember(f feed.Feed, r *batch.Record) {
	c.deadLettered = append(c.deadLettered, &taplinev1.DeadRecord{Feed: string(f), Id: r.ID, Hash: r.Hash})
}

// recall takes in what a job brought to DEAD.
func recall(ctx context.Context, sets *seen.Sets, id job.ID, result *taplinev1.JobResult) error {
	for _, r := range result.GetDead() {
		if _, err := look(ctx, sets, feed.Feed(r.GetFeed()), id, &batch.Record{ID: r.GetId(), Hash: r.GetHash()}); err != nil {
			return err
		}
	}
	return nil
}

func digest(follows, content []byte) []byte {
	h := sha256.New()
	h.Write(follows)
	h.Write(content)
	return h.Sum(nil)
}

// deadLetter spools the dead letter of a malformed record, or of a piece of one.
func (c *collector) deadLetter(fc *feedCollector, r proofpoint.Record) error {
	fc.result.Dead++
	letter := c.newDeadLetter(r)
	letter.Follows = c.follows
	return c.addDead(letter)
}

func (c *collector) newDeadLetter(r proofpoint.Record) *taplinev1.DeadLetter {
	reason := r.Malformed.Error()
	return &taplinev1.DeadLetter{
		Tenant: c.head.Tenant, Stage: Flow.Stage, Feed: string(r.Feed), Table: r.Feed.Table(),
		Reason: strings.ToValidUTF8(reason[:min(len(reason), bound.Words)], ""), Payload: r.JSON, Source: c.head.JobID, Attempts: 1,
		DiedAt: timestamppb.New(c.head.FetchedAt), Part: uint32(r.Part), More: r.More,
	}
}

// addDead spools a dead letter: all of them may be more than fits into memory.
func (c *collector) addDead(letter *taplinev1.DeadLetter) error {
	data, err := proto.Marshal(letter)
	if err != nil {
		return fmt.Errorf("encode a dead letter of job %s: %w", c.head.JobID, err)
	}
	return c.dead.Add(letter.GetFeed(), data)
}

// deadID names a dead letter by its content, so that a repeated job names it again.
func deadID(letter *taplinev1.DeadLetter) string {
	sum := digest(letter.GetFollows(), letter.GetPayload())
	return letter.GetSource() + "/" + letter.GetFeed() + "/" + hex.EncodeToString(sum[:12])
}
