package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of one answer. The server keeps a whole answer in memory until the client has it, and no
// write reaches the stream meanwhile.
const (
	pageMessages = 4096
	pageBytes    = 8 << 20 // and one message more
)

const (
	// answerWait bounds the wait for one message of an answer.
	answerWait = 10 * time.Second
	// answerSlice is how soon a reader notices that the server denied its request, or that it is no
	// longer wanted.
	answerSlice = 250 * time.Millisecond
	// lagPatience bounds how long a reader repeats its request without progress: until a replica
	// that is behind has what the leader has, or a server that restarts is back.
	lagPatience = 20 * time.Second
	lagPause    = 20 * time.Millisecond
)

// direct reads one stream with requests that leave nothing behind on the server: no consumer, no
// snapshot. Any server with a copy of the stream answers, so an answer may lack what the leader has
// stored a moment ago. It is not safe for concurrent use.
type direct struct {
	b       *Bus
	stream  string
	inbox   string
	sub     *nats.Subscription
	answers chan *nats.Msg
	ended   chan struct{}
	asked   int // each request has a reply subject of its own: late answers to others are recognized
	// pending is how many messages the server has behind those of the last answer.
	pending uint64
}

// directRequest is what a server takes on $JS.API.DIRECT.GET.<stream>.
type directRequest struct {
	Seq      uint64   `json:"seq,omitempty"`
	NextFor  string   `json:"next_by_subj,omitempty"`
	LastFor  []string `json:"multi_last,omitempty"`
	Batch    int      `json:"batch,omitempty"`
	MaxBytes int      `json:"max_bytes,omitempty"`
}

// found is a message and what its headers say about it.
type found struct {
	Stored
	deleted bool // the value of a key that was deleted or has expired
}

func (b *Bus) direct(stream string) (*direct, error) {
	d := &direct{b: b, stream: stream, inbox: b.nc.NewInbox(), answers: make(chan *nats.Msg, 64), ended: make(chan struct{})}
	// A synchronous subscription would take an empty message with a header Status 503 for an error.
	sub, err := b.nc.Subscribe(d.inbox+".*", func(msg *nats.Msg) {
		select {
		case d.answers <- msg:
		case <-d.ended:
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	_ = sub.SetPendingLimits(-1, -1) // fails for a subscription that has ended; an answer is bounded
	d.sub = sub
	return d, nil
}

func (d *direct) end() {
	_ = d.sub.Unsubscribe() // fails when the connection has ended
	close(d.ended)
}

// one reads one message with a request for at most one. [ErrNotFound]: there is none.
func (b *Bus) one(ctx context.Context, stream string, r directRequest) (m found, err error) {
	d, err := b.direct(stream)
	if err != nil {
		return m, err
	}
	defer d.end()
	err = ErrNotFound
	for m, err = range d.ask(ctx, r) {
		if err != nil {
			break
		}
	}
	return m, err
}

// ask gives the messages of one answer. It ends with an error unless the answer is whole: each
// message names the one before it, and the last word counts what is pending. [ErrNotFound]: the
// server has nothing of the kind.
func (d *direct) ask(ctx context.Context, r directRequest) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		d.asked++
		reply := d.inbox + "." + strconv.Itoa(d.asked)
		denial := d.b.denial.Load()
		data, err := json.Marshal(r)
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = d.b.nc.PublishRequest("$JS.API.DIRECT.GET."+d.stream, reply, data)
		}
		var garbled *found // waits for its sequence
		for last := uint64(0); err == nil; {
			var msg *nats.Msg
			if msg, err = d.next(ctx, reply, denial); err != nil {
				break
			}
			word := status(msg)
			if err = refusal(word, msg); err != nil {
				break
			}
			before := number(msg, "Nats-Last-Sequence")
			if garbled != nil && before > last {
				garbled.Sequence, last = before, before
				if !yield(*garbled, nil) {
					return
				}
				garbled = nil
			}
			m, ok := understood(msg)
			switch {
			case garbled != nil || before != last && (ok || word != ""):
				err = fmt.Errorf("%w: a message between %d and %d is missing", ErrIncomplete, last, before)
			case word != "":
				d.pending = number(msg, "Nats-Num-Pending")
				return
			case !ok:
				garbled = &m
			case m.Sequence < max(r.Seq, last+1):
				err = fmt.Errorf("%w: message %d comes where %d was asked for", errRefused, m.Sequence, max(r.Seq, last+1))
			default:
				if last = m.Sequence; !yield(m, nil) {
					return
				}
			}
		}
		yield(found{}, err)
	}
}

// next waits for a message of the answer.
func (d *direct) next(ctx context.Context, reply string, before *error) (*nats.Msg, error) {
	late, slice := time.NewTimer(answerWait), time.NewTicker(answerSlice)
	defer late.Stop()
	defer slice.Stop()
	for {
		select {
		case msg := <-d.answers:
			if msg.Subject == reply {
				return msg, nil
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrIncomplete, context.Cause(ctx))
		case <-late.C:
			return nil, fmt.Errorf("%w: the server is silent for %s", ErrIncomplete, answerWait)
		case <-slice.C:
			if denial := d.b.denial.Load(); denial != before {
				return nil, *denial
			}
			if !d.sub.IsValid() {
				return nil, nats.ErrConnectionClosed
			}
		}
	}
}

var errRefused = errors.New("the server does not answer the request")

// wordHeaders bounds the headers of a word of the server; today it has five at most.
const wordHeaders = 8

// status is that of a word of the server, and empty for a message. A publisher may store a header
// Status, and end its headers so that what the server appends to them is not read. The server has
// the status in the first line of its word, which therefore takes less than its headers would.
func status(msg *nats.Msg) string {
	values := 0
	for _, v := range msg.Header {
		values += len(v)
	}
	size, headers := msg.Size()-len(msg.Subject)-len(msg.Reply), nats.Msg{Header: msg.Header}
	if values > wordHeaders || size >= headers.Size() || said(msg, jetstream.SequenceHeader) != "" {
		return ""
	}
	return said(msg, "Status")
}

// refusal is the error that a status stands for. The status of the end of an answer is none.
func refusal(status string, msg *nats.Msg) error {
	switch status {
	case "", "204":
		return nil
	case "404":
		return ErrNotFound
	case "413":
		return fmt.Errorf("%w: more than the server gives in one answer", ErrIncomplete)
	case "503":
		return nats.ErrNoResponders
	}
	return fmt.Errorf("%w: %s %s", errRefused, status, msg.Header.Get("Description"))
}

// said is a header of the server. It comes behind those of the publisher, who may have used the
// same name.
func said(msg *nats.Msg, header string) string {
	values := msg.Header[header]
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

func number(msg *nats.Msg, header string) uint64 {
	n, _ := strconv.ParseUint(said(msg, header), 10, 64) // 0 breaks the chain of sequences
	return n
}

// understood is false for a message whose publisher garbled its headers: only its data is known.
// The next word of the server says its sequence.
func understood(msg *nats.Msg) (m found, ok bool) {
	at, err := time.Parse(time.RFC3339Nano, said(msg, jetstream.TimeStampHeaer))
	m = found{
		Stored{said(msg, jetstream.SubjectHeader), number(msg, jetstream.SequenceHeader), at, msg.Data},
		said(msg, "KV-Operation") != "" || said(msg, "Nats-Marker-Reason") != "",
	}
	if err != nil || m.Subject == "" || m.Sequence == 0 {
		return found{Stored: Stored{Data: msg.Data}}, false
	}
	return m, true
}

// leaderNext asks the leader of a stream for the first message of a filter that has a sequence or a
// later one, or was stored at an instant or later. The leader has all that is stored.
// [ErrNotFound]: there is none.
func (b *Bus) leaderNext(ctx context.Context, stream, filter string, sequence uint64, at time.Time) (uint64, error) {
	request := map[string]any{"next_by_subj": filter}
	if at.IsZero() {
		request["seq"] = sequence
	} else {
		request["start_time"] = at
	}
	var answer struct {
		Message struct {
			Seq uint64 `json:"seq"`
		} `json:"message"`
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := b.api(ctx, "$JS.API.STREAM.MSG.GET."+stream, request, &answer)
	if hasCode(err, jetstream.JSErrCodeMessageNotFound) {
		err = ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("next message of %s: %w", stream, err)
	}
	return answer.Message.Seq, nil
}
