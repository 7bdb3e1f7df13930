package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/step"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// PublishJob stores a job. A job on the same subject that is waiting or in work
// makes it [ErrOutstanding]. A job that is larger than a message may be is a permanent error.
func (b *Bus) PublishJob(ctx context.Context, j *taplinev1.Job) (err error) {
	id, err := job.Of(j)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	data, err := proto.Marshal(j)
	if err != nil {
		return fmt.Errorf("encode job %s: %w", j.GetId(), err)
	}
	ctx, end := b.publishing(ctx, "order "+job.LaneName(id.Lane), j.GetId())
	defer func() { end(err); b.writes.wrote(StreamJobs, err) }()
	_, err = b.js.PublishMsg(ctx, message(ctx, jobSubject(id, j.GetAside()), data))
	if isFull(err) {
		return fmt.Errorf("publish job %s: %w: %w", j.GetId(), ErrFull, err)
	}
	if hasCode(err, codeStoreFailed) { // only the limit of messages per subject is left
		return fmt.Errorf("publish job %s: %w", j.GetId(), ErrOutstanding)
	}
	if IsTooLarge(err) {
		err = Permanent(err)
	}
	if err != nil {
		return fmt.Errorf("publish job %s: %w", j.GetId(), err)
	}
	return nil
}

// RawMessage is one RawBatch on its way into RAW.
type RawMessage struct {
	Feed string
	Data []byte
}

// JobOutput is everything a job stores.
type JobOutput struct {
	Tenant, JobID string
	Batches       iter.Seq2[RawMessage, error]
	Marker        []byte // WindowResult
}

// ackEvery bounds what is under way to the server inside one atomic batch: so
// many messages of at most 512 KiB each.
const ackEvery = 16

// StoreJob stores all batches and the marker in one atomic batch, or nothing, and returns the
// sequence of the marker. Without batches the marker is an ordinary message. [ErrAlreadyStored]: an
// earlier call stored this job.
// [ErrTooLarge]: more batches than the server takes. Any other error leaves
// the outcome unknown; the same call may be repeated.
func (b *Bus) StoreJob(ctx context.Context, w JobOutput) (sequence uint64, err error) {
	ctx, end := b.publishing(ctx, "store "+StreamRaw, w.JobID)
	defer func() { end(err); b.writes.wrote(StreamRaw, err) }()
	mark := markSubject(w.Tenant, w.JobID)
	var p jetstreamext.BatchPublisher
	for msg, err := range w.Batches {
		if err == nil && p == nil {
			p, err = jetstreamext.NewBatchPublisher(b.js, jetstreamext.BatchFlowControl{
				AckFirst: true, AckEvery: ackEvery, AckTimeout: requestTimeout,
			})
		}
		if err == nil {
			err = p.AddMsg(message(ctx, rawSubject(w.Tenant, msg.Feed), msg.Data))
		}
		if err != nil {
			return 0, fmt.Errorf("batch of job %s: %w", w.JobID, errors.Join(batchError(err), discard(p)))
		}
		step.At("bus.added")
	}
	if p == nil { // nothing to keep together: an atomic batch would have the server make files for one message
		ack, err := b.js.PublishMsg(ctx, message(ctx, mark, w.Marker), jetstream.WithExpectLastSequencePerSubject(0))
		if err != nil {
			return 0, fmt.Errorf("store marker of job %s: %w", w.JobID, batchError(err))
		}
		return ack.Sequence, nil
	}
	ack, err := p.Commit(ctx, mark, w.Marker, jetstreamext.WithBatchExpectLastSequencePerSubject(0))
	if err != nil {
		return 0, fmt.Errorf("commit batch of job %s: %w", w.JobID, batchError(err))
	}
	return ack.Sequence, nil
}

// discard ends an open batch on this side; the server forgets it by itself.
func discard(p jetstreamext.BatchPublisher) error {
	if p == nil {
		return nil
	}
	return p.Discard()
}

func batchError(err error) error {
	switch {
	case errors.Is(conflict(err), ErrConflict):
		return ErrAlreadyStored
	case hasCode(err, codeBatchTooLarge):
		return ErrTooLarge
	case hasCode(err, codeStoreFailed):
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// Marker finds the account of a job. [ErrNotFound]: the job is not stored.
func (b *Bus) Marker(ctx context.Context, tenant, jobID string) (sequence uint64, data []byte, err error) {
	if _, err := b.js.Stream(ctx, StreamRaw); err != nil {
		return 0, nil, missing(err, "stream", StreamRaw)
	}
	m, err := b.one(ctx, StreamRaw, directRequest{LastFor: []string{markSubject(tenant, jobID)}})
	if err != nil {
		return 0, nil, fmt.Errorf("marker of job %s: %w", jobID, err)
	}
	return m.Sequence, m.Data, nil
}

// Stored is one message as a stream keeps it. Subject and Time are zero where the publisher garbled
// the headers.
type Stored struct {
	Subject  string
	Sequence uint64
	Time     time.Time
	Data     []byte
}

// IsRaw reports whether it is a batch of records.
func (s Stored) IsRaw() bool { return strings.HasPrefix(s.Subject, rawPrefix) }

// Message reads one message of a stream by its sequence. [ErrNotFound]: there is none.
func (b *Bus) Message(ctx context.Context, stream string, sequence uint64) (Stored, error) {
	if _, err := b.js.Stream(ctx, stream); err != nil {
		return Stored{}, missing(err, "stream", stream)
	}
	m, err := b.one(ctx, stream, directRequest{Seq: max(sequence, 1), NextFor: ">", Batch: 1})
	if err == nil && m.Sequence != sequence {
		err = ErrNotFound
	}
	if err != nil {
		return Stored{}, fmt.Errorf("message %d of %s: %w", sequence, stream, err)
	}
	return m.Stored, nil
}

// Delete takes one message out of a stream for good: for tools, not for stages.
func (b *Bus) Delete(ctx context.Context, stream string, sequence uint64) error {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return missing(err, "stream", stream)
	}
	if err := s.DeleteMsg(ctx, sequence); err != nil {
		return fmt.Errorf("delete message %d of %s: %w", sequence, stream, err)
	}
	return nil
}

// EventMeta addresses one EventBatch. MsgID names its content: within two hours
// a second publish with the same id is dropped by the server.
type EventMeta struct{ Tenant, Table, MsgID string }

// PublishEvents stores one marshalled EventBatch and returns its sequence; for a
// repetition that the server dropped it is that of the first.
func (b *Bus) PublishEvents(ctx context.Context, data []byte, m EventMeta) (sequence uint64, err error) {
	ctx, end := b.publishing(ctx, "store "+StreamEvents, m.MsgID)
	defer func() { end(err); b.writes.wrote(StreamEvents, err) }()
	ack, err := b.js.PublishMsg(ctx, message(ctx, eventSubject(m.Tenant, m.Table), data), jetstream.WithMsgID(m.MsgID))
	if hasCode(err, codeStoreFailed) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return 0, fmt.Errorf("publish events %s: %w", m.MsgID, err)
	}
	return ack.Sequence, nil
}
