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
	stream      string
	filters     []string
	since       time.Time // zero for all
	first, last uint64    // 0 for no bound
}

// Since leaves out what was stored before an instant.
func (s Selection) Since(t time.Time) Selection {
	s.since = t
	return s
}

// After leaves out what has this sequence or an older one. It takes the place of [Selection.Since].
func (s Selection) After(sequence uint64) Selection {
	s.first = sequence + 1
	return s
}

// Between bounds the selection by sequences, both included; 0 is no bound. It takes the place of [Selection.Since].
func (s Selection) Between(first, last uint64) Selection {
	s.first, s.last = first, last
	return s
}

// start is where the consumer that scans begins.
func (s Selection) start() jetstream.OrderedConsumerConfig {
	c := jetstream.OrderedConsumerConfig{FilterSubjects: s.filters}
	switch {
	case s.first > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.first
	case !s.since.IsZero():
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.since
	}
	return c
}

// What can be scanned, for one tenant each.

// Markers selects the accounts of jobs.
func Markers(tenant string) Selection { return selected(StreamRaw, markPrefix+tenant+".>") }

// AllMarkers selects the accounts of the jobs of all tenants.
func AllMarkers() Selection { return selected(StreamRaw, markPrefix+">") }

// Raws selects the batches of records, of some feeds if any are given.
func Raws(tenant string, feeds ...string) Selection {
	if len(feeds) == 0 {
		return selected(StreamRaw, rawPrefix+tenant+".>")
	}
	s := Selection{stream: StreamRaw}
	for _, f := range feeds {
		s.filters = append(s.filters, rawSubject(tenant, f))
	}
	return s
}

// Events selects the batches of rows, of some tables if any are given.
func Events(tenant string, tables ...string) Selection {
	if len(tables) == 0 {
		return selected(StreamEvents, eventPrefix+tenant+".>")
	}
	s := Selection{stream: StreamEvents}
	for _, t := range tables {
		s.filters = append(s.filters, eventSubject(tenant, t))
	}
	return s
}

// Dead selects the dead letters of one stage.
func Dead(tenant, stage string) Selection {
	return selected(StreamDead, deadPrefix+token(tenant)+"."+token(stage)+".>")
}

func selected(stream, filter string) Selection {
	return Selection{stream: stream, filters: []string{filter}}
}

// DeadLetters selects the dead letters of everybody.
func DeadLetters() Selection { return selected(StreamDead, deadPrefix+">") }

// scanWait bounds the wait for one message that the server says is there.
const scanWait = 10 * time.Second

// errUnfinished says that a scan did not see everything.
var errUnfinished = errors.New("the server sends no more, though there is more")

// interrupted tells a stream whose rest has aged out meanwhile from a server that has stopped, and from a way on
// which something is lost or late: what the server has sent is not pending there, whether it has come or not.
func interrupted(ctx context.Context, consumer jetstream.Consumer, s Selection, seen uint64) error {
	info, err := consumer.Info(ctx)
	if err == nil && (info.NumPending > 0 || info.Delivered.Consumer > 0 && info.Delivered.Stream > seen) {
		err = errUnfinished
	}
	if err != nil {
		return fmt.Errorf("scan %s: %w", s.stream, err)
	}
	return nil
}

// await waits for a message as long as a scan does. The library may find before that the server is silent; it then makes
// its consumer again, as often as that takes and whatever the context says, unless it is stopped.
func await(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	next, cancel := context.WithTimeout(ctx, scanWait)
	defer cancel()
	defer context.AfterFunc(next, messages.Stop)()
	msg, err := messages.Next(jetstream.NextContext(next))
	if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
		err = errors.Join(errUnfinished, ctx.Err())
	}
	return msg, err //nolint:wrapcheck // the caller says what for
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
	seen := uint64(0)
	for range info.NumPending {
		msg, err := await(ctx, messages)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return interrupted(ctx, consumer, s, seen)
		}
		if err != nil {
			return fmt.Errorf("scan %s: %w", s.stream, err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("scan %s: %w", s.stream, err)
		}
		seen = meta.Sequence.Stream
		if s.last > 0 && seen > s.last {
			return nil
		}
		more, err := visit(Stored{msg.Subject(), seen, meta.Timestamp, msg.Data()})
		if err != nil || !more {
			return err
		}
	}
	return nil
}
