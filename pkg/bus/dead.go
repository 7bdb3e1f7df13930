package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/printable"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Bounds of a dead letter. What it keeps is foreign, and so may be every word about it: an error
// quotes what it is about.
const (
	maxReason = 2 << 10 // bytes
	maxName   = 256     // bytes of tenant, stage, feed, table and source
	maxPiece  = 4 << 20 // bytes of payload in one message; the longest record fits
	maxRetry  = 64 << 10
)

// NewDeadLetter is the dead letter of a message or of something in it. The caller adds the feed and
// the table, if there is one.
func (d *Delivery) NewDeadLetter(tenant, stage string, reason error, payload []byte) *taplinev1.DeadLetter {
	return &taplinev1.DeadLetter{
		Tenant: tenant, Stage: stage, Reason: reason.Error(), Payload: payload, Source: d.Source(),
		Attempts: uint64(d.Attempts()), DiedAt: timestamppb.Now(),
	}
}

// DeadID is the id of that letter: the message, and the place of a record or row inside it, for
// which no index means all of it. A redelivered message gives the same ids.
func (d *Delivery) DeadID(place ...int) string {
	var id strings.Builder
	id.WriteString(d.Source())
	for _, index := range place {
		fmt.Fprintf(&id, "/%d", index)
	}
	return id.String()
}

// PublishDead stores a dead letter. The id says where its content comes from; a second publish of
// the same from there is dropped while DEAD has the first. Every letter can be stored: words are
// cut to what a message may have, and a payload that is larger than a message may be is stored in
// pieces.
func (b *Bus) PublishDead(ctx context.Context, letter *taplinev1.DeadLetter, id string) (err error) {
	defer func() { b.writes.wrote(StreamDead, err) }()
	tidy(letter)
	payload := letter.GetPayload()
	if letter.GetPart() > 0 || len(payload) <= maxPiece {
		return b.publishDead(ctx, letter, id)
	}
	for letter.Part = 1; len(payload) > 0; letter.Part++ {
		n := min(len(payload), maxPiece)
		letter.Payload, payload = payload[:n], payload[n:]
		letter.More = len(payload) > 0
		if err := b.publishDead(ctx, letter, fmt.Sprintf("%s/piece-%d", id, letter.GetPart())); err != nil {
			return err
		}
		sum := sha256.New()
		sum.Write(letter.GetFollows())
		sum.Write(letter.GetPayload())
		letter.Follows = sum.Sum(nil)
	}
	return nil
}

// publishDead gives the letter a subject of its own, which takes one message. A message id would be
// shorter, but a stream knows the ids of all writers alike: a stage could use up the id of another
// one's letter, which would then be dropped.
func (b *Bus) publishDead(ctx context.Context, letter *taplinev1.DeadLetter, id string) error {
	data, err := proto.Marshal(letter)
	if err != nil {
		return fmt.Errorf("encode dead letter %s: %w", id, err)
	}
	// A damaged stream gives sequences out again, so the place alone does not name a letter.
	sum := sha256.Sum256(slices.Concat([]byte(id), []byte{0}, letter.GetPayload()))
	subject := deadSubject(letter.GetTenant(), letter.GetStage(), letter.GetFeed()) + "." + hex.EncodeToString(sum[:12])
	return RetryOnConflict(ctx, func() error {
		_, err := b.js.PublishMsg(ctx, message(ctx, subject, data), jetstream.WithExpectLastSequencePerSubject(0))
		switch {
		case err == nil || hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence): // the subject has its message
			return nil
		case isFull(err):
			err = fmt.Errorf("%w: %w", ErrFull, err)
		case hasCode(err, jetstream.JSErrCodeStreamWrongLastSequenceConstant):
			// Another writer's message of the subject is under way, and may fail yet. That is no
			// proof that it is stored.
			err = errors.Join(ErrConflict, err)
		}
		return fmt.Errorf("publish dead letter %s: %w", id, err)
	})
}

// tidy cuts what stands around the payload. The payload stays as it is.
func tidy(letter *taplinev1.DeadLetter) {
	letter.Reason = printable.Line(cut(letter.GetReason(), maxReason))
	letter.Tenant, letter.Stage = cut(letter.GetTenant(), maxName), cut(letter.GetStage(), maxName)
	letter.Feed, letter.Table, letter.Source = cut(letter.GetFeed(), maxName), cut(letter.GetTable(), maxName), cut(letter.GetSource(), maxName)
	if proto.Size(letter.GetRetry()) > maxRetry { // larger than any job of ours
		letter.Retry = nil
	}
}

// cut makes valid UTF-8 of a text, of no more than so many bytes and a mark.
func cut(text string, most int) string {
	if len(text) > most {
		text = text[:most]
		for len(text) > 0 && !utf8.RuneStart(text[len(text)-1]) {
			text = text[:len(text)-1]
		}
		text += "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
