package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Selection is a part of a stream.
type Selection struct {
	stream, filter string
	since          time.Time // zero for all
	after          uint64
}

// Since leaves out what was stored before an instant.
func (s Selection) Since(t time.Time) Selection {
	s.since = t
	return s
}

// After leaves out what has this sequence or an older one. It takes the place of [Selection.Since].
func (s Selection) After(sequence uint64) Selection {
	s.after = sequence
	return s
}

// start is where the consumer that scans begins.
func (s Selection) start() jetstream.OrderedConsumerConfig {
	c := jetstream.OrderedConsumerConfig{FilterSubjects: []string{s.filter}}
	switch {
	case s.after > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.after+1
	case !s.since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.since
	}
	return c
}

// What can be scanned, for one tenant each.

// Markers selects the accounts of jobs.
func Markers(tenant string) Selection {
	return Selection{stream: StreamRaw, filter: markPrefix + tenant + ".>"}
}

// Raws selects the batches of records.
func Raws(tenant string) Selection {
	return Selection{stream: StreamRaw, filter: rawPrefix + tenant + ".>"}
}

// Events selects the batches of rows.
func Events(tenant string) Selection {
	return Selection{stream: StreamEvents, filter: eventPrefix + tenant + ".>"}
}

// Dead selects the dead letters of one stage.
func Dead(tenant, stage string) Selection {
	return Selection{stream: StreamDead, filter: deadPrefix + token(tenant) + "." + token(stage) + ".>"}
}

// Letters selects the dead letters of everybody.
func Letters() Selection { return Selection{stream: StreamDead, filter: deadPrefix + ">"} }

// scanWait bounds the wait for one message that the server says is there.
const scanWait = 10 * time.Second

// errUnfinished says that a scan did not see everything.
var errUnfinished = errors.New("the server sends no more, though there is more")

// interrupted tells a stream whose rest has aged out meanwhile from a server that has stopped.
func interrupted(ctx context.Context, consumer jetstream.Consumer, s Selection) error {
	info, err := consumer.Info(ctx)
	if err == nil && info.NumPending > 0 {
		err = errUnfinished
	}
	if err != nil {
		return fmt.Errorf("scan %s: %w", s.stream, err)
	}
	return nil
}

// Scan visits what is stored, oldest first, until visit returns false. What is
// stored later is not visited. It makes a consumer on the server: for tools.
func (b *Bus) Scan(ctx context.Context, s Selection, visit func(Stored) (bool, error)) error {
	consumer, err := b.js.OrderedConsumer(ctx, s.stream, s.start())
	if err != nil {
		return missing(err, "stream", s.stream)
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("scan %s: %w", s.stream, err)
	}
	if info.NumPending == 0 {
		return nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("scan %s: %w", s.stream, err)
	}
	defer messages.Stop()
	for range info.NumPending {
		next, cancel := context.WithTimeout(ctx, scanWait)
		msg, err := messages.Next(jetstream.NextContext(next))
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return interrupted(ctx, consumer, s)
		}
		if err != nil {
			return fmt.Errorf("scan %s: %w", s.stream, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("scan %s: %w", s.stream, err)
		}
		more, err := visit(Stored{msg.Subject(), meta.Sequence.Stream, meta.Timestamp, msg.Data()})
		if err != nil || !more {
			return err
		}
	}
	return nil
}
