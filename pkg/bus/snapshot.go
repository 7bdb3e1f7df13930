package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	chunkSize = 256 << 10
	// chunkWait bounds the wait for one chunk; the server itself gives up earlier.
	chunkWait = 30 * time.Second
	// restoreWait bounds the wait for the server to put a restored stream in place.
	restoreWait = 10 * time.Minute
)

var (
	// ErrSnapshot says that the server did not give or take a snapshot.
	ErrSnapshot = errors.New("snapshot failed")
	// ErrExists says that a stream is there already.
	ErrExists = errors.New("stream exists")
)

// Parts lists the streams in the order in which a backup of a running system takes them; a bucket
// is the stream that holds it. A backup takes effects before their causes: an earlier snapshot has
// everything that a later one acknowledges, except for the consumers that [Floors] lists. docs/adr
// says why for each.
func Parts() []string {
	return []string{
		bucketStream(BucketState), bucketStream(BucketKnown), bucketStream(BucketReplay), StreamJobs, bucketStream(BucketSeen), bucketStream(BucketLedger),
		StreamEvents, StreamRaw, StreamDead, bucketStream(BucketQuota),
	}
}

func bucketStream(bucket string) string { return "KV_" + bucket }

// Floor is up to where a consumer has acknowledged a stream.
type Floor struct {
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`
	Done     uint64 `json:"done"`
}

// Floors looks at the consumers whose stream comes after what they write in a backup. After a
// restore they resume from here, and repeat some work.
func (b *Bus) Floors(ctx context.Context) ([]Floor, error) {
	var floors []Floor
	for _, c := range []Consumer{ConsumerEnricher, ConsumerExpander} {
		backlog, err := b.Backlog(ctx, c)
		if err != nil {
			return nil, err
		}
		floors = append(floors, Floor{c.Stream, c.Name, backlog.Done})
	}
	return floors, nil
}

// Rewind lets a consumer resume behind a floor.
func (b *Bus) Rewind(ctx context.Context, f Floor) error {
	if _, err := b.js.ResetConsumerToSequence(ctx, f.Stream, f.Consumer, f.Done+1); err != nil {
		return fmt.Errorf("rewind %s: %w", f.Consumer, missing(err, "consumer", f.Consumer))
	}
	return nil
}

// Snapshot is what a stream was when it was taken.
type Snapshot struct {
	Config   json.RawMessage `json:"config"`
	State    json.RawMessage `json:"state"`
	Messages uint64          `json:"messages"`
	Last     uint64          `json:"last_sequence"`
}

// apiError is the part of an answer that says what went wrong.
type apiError struct {
	Error *jetstream.APIError `json:"error"`
}

// errLost says that the connection ended while the server was about to answer.
var errLost = errors.New("NATS connection lost")

// unbroken gives a context that ends when the connection does: what was about to come then never
// comes, and a snapshot whose middle is lost is none.
func (b *Bus) unbroken(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	lost := b.nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	go func() {
		select {
		case <-lost:
			end(errLost)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		end(nil)
		b.nc.RemoveStatusListener(lost)
	}
}

// Snapshot writes a stream as it is at a moment, with its consumers and what they have
// acknowledged, in the server's form. The server checks its messages first.
func (b *Bus) Snapshot(ctx context.Context, stream string, w io.Writer) (Snapshot, error) {
	ctx, end := b.unbroken(ctx)
	defer end()
	inbox := b.nc.NewInbox()
	sub, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return Snapshot{}, fmt.Errorf("snapshot of %s: %w", stream, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // nothing is lost with it
	var s Snapshot
	request := map[string]any{"deliver_subject": inbox, "chunk_size": chunkSize, "jsck": true}
	if err := b.api(ctx, "$JS.API.STREAM.SNAPSHOT."+stream, request, &s); err != nil {
		return Snapshot{}, fmt.Errorf("snapshot of %s: %w", stream, err)
	}
	var state struct {
		Messages uint64 `json:"messages"`
		Last     uint64 `json:"last_seq"`
	}
	if err := json.Unmarshal(s.State, &state); err != nil {
		return Snapshot{}, fmt.Errorf("snapshot of %s: %w", stream, err)
	}
	s.Messages, s.Last = state.Messages, state.Last
	for {
		chunk, err := next(ctx, sub)
		if err != nil {
			return Snapshot{}, fmt.Errorf("snapshot of %s: %w", stream, err)
		}
		if len(chunk.Data) == 0 {
			if status := chunk.Header.Get("Status"); status != "" && status != "204" {
				return Snapshot{}, fmt.Errorf("snapshot of %s: %w: %s %s", stream, ErrSnapshot, status, chunk.Header.Get("Description"))
			}
			return s, nil
		}
		if _, err := w.Write(chunk.Data); err != nil {
			return Snapshot{}, fmt.Errorf("snapshot of %s: %w", stream, err)
		}
		if chunk.Reply != "" { // the last one wants no answer
			if err := b.nc.Publish(chunk.Reply, nil); err != nil {
				return Snapshot{}, fmt.Errorf("snapshot of %s: %w", stream, err)
			}
		}
	}
}

func next(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, chunkWait)
	defer cancel()
	msg, err := sub.NextMsgWithContext(ctx)
	return msg, why(ctx, err)
}

// why explains the end of a context by its cause.
func why(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errLost) {
		return errLost
	}
	return err
}

// api asks the server and reads its answer. A snapshot begins with a check, which takes its time.
func (b *Bus) api(ctx context.Context, subject string, request, answer any) error {
	data, err := json.Marshal(request)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, restoreWait)
	defer cancel()
	msg, err := b.nc.RequestWithContext(ctx, subject, data)
	if err != nil {
		return why(ctx, err)
	}
	return understand(msg.Data, answer)
}

func understand(data []byte, answer any) error {
	if len(data) == 0 {
		return nil
	}
	var failed apiError
	if err := json.Unmarshal(data, &failed); err != nil {
		return err
	}
	if failed.Error != nil {
		return failed.Error
	}
	return json.Unmarshal(data, answer)
}

// Restoring says how a stream is made of a snapshot.
type Restoring struct {
	Limits Limits // how many copies it has; setup brings the others up to date
	Forget bool   // which names messages had that were published lately, so that others may have them
}

// Restore makes a stream of a snapshot, with its consumers. The stream must not exist
// ([ErrExists]).
func (b *Bus) Restore(ctx context.Context, s Snapshot, o Restoring, r io.Reader) error {
	ctx, end := b.unbroken(ctx)
	defer end()
	var config map[string]any
	if err := json.Unmarshal(s.Config, &config); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	stream, ok := config["name"].(string)
	if !ok || !slices.Contains(Parts(), stream) {
		return fmt.Errorf("restore: %w: %q is no stream of Tapline", ErrSnapshot, stream)
	}
	config["num_replicas"] = o.Limits.Replicas
	if o.Forget { // setup raises it again; what is younger than this at the restore is still known
		config["duplicate_window"] = int64(100 * time.Millisecond)
	}
	var place struct {
		Subject string `json:"deliver_subject"`
	}
	err := b.api(ctx, "$JS.API.STREAM.RESTORE."+stream, map[string]any{"config": config, "state": s.State}, &place)
	if hasCode(err, codeRestoreExists) || hasCode(err, codeStreamExists) {
		err = ErrExists
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", stream, err)
	}
	if err := b.send(ctx, place.Subject, r); err != nil {
		return fmt.Errorf("restore %s: %w", stream, err)
	}
	return nil
}

// Codes of the server for a stream that is there already.
const (
	codeRestoreExists jetstream.ErrorCode = 10130
	codeStreamExists  jetstream.ErrorCode = 10058
)

// send hands a snapshot over, chunk by chunk. An empty one ends it and is answered when the stream
// is in place.
func (b *Bus) send(ctx context.Context, subject string, r io.Reader) error {
	chunk := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(r, chunk)
		end := errors.Is(err, io.EOF)
		if err != nil && !end && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		wait := chunkWait
		if end {
			wait = restoreWait
		}
		answer, err := b.hand(ctx, subject, chunk[:n], wait)
		if err != nil || end {
			return errors.Join(err, understand(answer, &struct{}{}))
		}
		if err := understand(answer, &struct{}{}); err != nil {
			return err
		}
	}
}

func (b *Bus) hand(ctx context.Context, subject string, chunk []byte, wait time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	msg, err := b.nc.RequestWithContext(ctx, subject, chunk)
	if err != nil {
		return nil, why(ctx, err)
	}
	return msg.Data, nil
}

// Remove takes a stream away with all that is in it: before a restore. One that does not exist is
// none to remove.
func (b *Bus) Remove(ctx context.Context, stream string) error {
	if err := b.js.DeleteStream(ctx, stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("remove %s: %w", stream, err)
	}
	return nil
}

// ServerVersion is that of the NATS server.
func (b *Bus) ServerVersion() string { return b.nc.ConnectedServerVersion() }

// Rewindable refuses servers on which [Bus.Rewind] does not work.
func (b *Bus) Rewindable() error {
	if version := b.ServerVersion(); !atLeast(version, 2, 14) {
		return fmt.Errorf("%w: it says %q and a restore needs 2.14 or later", ErrServerTooOld, version)
	}
	return nil
}
