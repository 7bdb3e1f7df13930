package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	lookBatch = 64
	lookBytes = 8 << 20
)

// PublishedEvents looks through what a table's subject took since an instant for a batch of a name,
// and gives its sequence; 0 if there is none. [Bus.PublishEvents] recognizes a repetition for two
// hours only; this one takes as long as there is to read.
func (b *Bus) PublishedEvents(ctx context.Context, m EventMeta, since time.Time) (sequence uint64, err error) {
	from := jetstreamext.GetBatchStartTime(since)
	for {
		page, cancel := context.WithTimeout(ctx, requestTimeout)
		found, last, err := b.lookFor(page, m, from)
		cancel()
		switch {
		case errors.Is(err, jetstreamext.ErrNoMessages):
			return 0, nil
		case err != nil:
			return 0, fmt.Errorf("look for events %s: %w", m.MsgID, err)
		case found > 0:
			return found, nil
		case last == 0:
			return 0, fmt.Errorf("look for events %s: %w", m.MsgID, ErrIncomplete)
		}
		from = jetstreamext.GetBatchSeq(last + 1)
	}
}

// lookFor reads one page. found is 0 if the name is not in it; last is the sequence of its last
// message.
func (b *Bus) lookFor(ctx context.Context, m EventMeta, from jetstreamext.GetBatchOpt) (found, last uint64, err error) {
	messages, err := jetstreamext.GetBatch(ctx, b.js, StreamEvents, lookBatch,
		jetstreamext.GetBatchSubject(eventSubject(m.Tenant, m.Table)), jetstreamext.GetBatchMaxBytes(lookBytes), from)
	if err != nil {
		return 0, 0, err
	}
	for msg, err := range messages {
		if err != nil {
			return 0, last, err
		}
		if last = msg.Sequence; msg.Header.Get(jetstream.MsgIDHeader) == m.MsgID {
			return last, last, nil
		}
	}
	return 0, last, nil
}
