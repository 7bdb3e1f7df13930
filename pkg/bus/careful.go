package bus

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapline/tapline/pkg/backoff"
)

// The client library takes an empty message with a header Status for a status of the server,
// although it has a subject for an ack. So a stage could store messages that no consumer gets, and
// that come back for ever. When the library reports what the server never says to us, or nothing
// comes, a subscription therefore takes messages one by one by itself for a while.
const (
	takeFor  = 2 * time.Second
	takeLate = time.Second // what an answer may take beyond that
)

// careful ends the pulling of the library for longer than what the library has dropped takes to
// come back.
func (s *Subscription) careful() {
	giveBack(s.messages)
	s.messages, s.broken, s.until = nil, false, time.Now().Add(s.AckWait()+takeLate)
}

// single is a request for one message.
type single struct {
	nc      *nats.Conn
	sub     *nats.Subscription
	answers chan *nats.Msg // a subscription without one would take 503 for an error
	asked   time.Time
}

// take waits for one message, and goes on with the request of the call before. Nil without an
// error: none waits.
func (s *Subscription) take(ctx context.Context) (jetstream.Msg, error) {
	if s.single == nil {
		nc, info, answers := s.bus.nc, s.consumer.CachedInfo(), make(chan *nats.Msg, 1)
		sub, err := nc.ChanSubscribe(nc.NewInbox(), answers)
		if err == nil {
			err = nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+info.Stream+"."+info.Name, sub.Subject, fmt.Appendf(nil, `{"batch":1,"expires":%d}`, takeFor))
		}
		if err != nil {
			return nil, err
		}
		s.single = &single{nc, sub, answers, time.Now()}
	}
	late := time.NewTimer(time.Until(s.single.asked.Add(takeFor + takeLate)))
	defer late.Stop()
	var msg *nats.Msg
	select {
	case msg = <-s.single.answers:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
	}
	_ = s.single.sub.Unsubscribe() // the connection may have ended
	if msg == nil {
		select { // a message may have come in the same moment
		case msg = <-s.single.answers:
		default:
		}
	}
	asked := s.single.asked
	s.single = nil
	if isMessage(msg) {
		return &taken{msg: msg, nc: s.bus.nc}, nil
	}
	backoff.Sleep(ctx, time.Until(asked.Add(idleTake))) // no server or consumer may be there to wait
	return nil, ctx.Err()
}

// idleTake is how often is asked where nothing waits with the request.
const idleTake = 250 * time.Millisecond

// isMessage tells messages of the stream from the words of the server.
func isMessage(msg *nats.Msg) bool {
	return msg != nil && strings.HasPrefix(msg.Reply, "$JS.ACK.")
}

// drop ends a request. What it has brought is given back at once. The server brings nothing more
// where no subscription is.
func (r *single) drop() {
	if r == nil {
		return
	}
	_ = r.sub.Unsubscribe() // the connection may have ended
	select {
	case msg := <-r.answers:
		if isMessage(msg) {
			_ = (&taken{msg: msg, nc: r.nc}).NakWithDelay(time.Millisecond) // else it is redelivered when AckWait is over
		}
	default:
	}
}

// taken is a message that came without the library.
type taken struct {
	jetstream.Msg // nil: what is not below is not used

	msg *nats.Msg
	nc  *nats.Conn
}

func (t *taken) Data() []byte         { return t.msg.Data }
func (t *taken) Subject() string      { return t.msg.Subject }
func (t *taken) Headers() nats.Header { return t.msg.Header }
func (t *taken) Reply() string        { return t.msg.Reply }

func (t *taken) Metadata() (*jetstream.MsgMetadata, error) {
	m, err := t.msg.Metadata()
	if err != nil {
		return nil, err
	}
	return &jetstream.MsgMetadata{
		Sequence: jetstream.SequencePair{Consumer: m.Sequence.Consumer, Stream: m.Sequence.Stream}, NumDelivered: m.NumDelivered, NumPending: m.NumPending,
		Timestamp: m.Timestamp, Stream: m.Stream, Consumer: m.Consumer, Domain: m.Domain,
	}, nil
}

func (t *taken) Ack() error        { return t.say("+ACK") }
func (t *taken) InProgress() error { return t.say("+WPI") }

func (t *taken) NakWithDelay(delay time.Duration) error {
	return t.say(fmt.Sprintf(`-NAK {"delay": %d}`, delay.Nanoseconds()))
}

func (t *taken) TermWithReason(reason string) error { return t.say("+TERM " + reason) }

func (t *taken) say(verdict string) error {
	return t.nc.Publish(t.msg.Reply, []byte(verdict))
}
