package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What a caller may want to distinguish.
var (
	// ErrOutstanding: the same job is waiting or in work.
	ErrOutstanding = errors.New("job is outstanding already")
	// ErrAlreadyStored: the job's batches and marker are in RAW.
	ErrAlreadyStored = errors.New("job is stored already")
	// ErrTooLarge: the batch has more messages than the server takes in one.
	ErrTooLarge = errors.New("batch exceeds the server's limit of messages")
	// ErrFull: the stream or bucket has reached its limit of bytes.
	ErrFull = errors.New("stream is full")
	// ErrNotFound: no such key or message.
	ErrNotFound = errors.New("not found")
	// ErrConflict: another process changed the key first.
	ErrConflict = errors.New("key was changed by another process")
	// ErrIncomplete: the server's answer was cut short, by time or by size.
	ErrIncomplete = errors.New("answer is incomplete")
	// ErrClosed: the subscription ended.
	ErrClosed = errors.New("subscription is closed")
	// ErrServerTooOld: the server lacks atomic batches.
	ErrServerTooOld = errors.New("NATS server is too old")
	// ErrUnfit: the server has the right version and still cannot store what a window takes.
	ErrUnfit = errors.New("NATS server cannot do what Tapline needs")
	// ErrImmutable: a stream or consumer exists with a setting that cannot be changed.
	ErrImmutable = errors.New("setting cannot be changed in place")
	// ErrNotSetUp: a stream, consumer or bucket is missing.
	ErrNotSetUp = errors.New("the bus is not set up: run tapctl setup")
	// ErrRestoring: some streams are of a backup, and others are not.
	ErrRestoring = errors.New("a restore is not finished: run tapctl restore again, with --force")
)

// Codes of the server's answers that jetstream has no error value for.
const (
	codeStoreFailed   jetstream.ErrorCode = 10077
	codeMessageSize   jetstream.ErrorCode = 10054
	codeBatchTooLarge jetstream.ErrorCode = 10199
	codeNoPeers       jetstream.ErrorCode = 10005
	codeNotAvailable  jetstream.ErrorCode = 10008
	codeNotLeader     jetstream.ErrorCode = 10009
)

func hasCode(err error, code jetstream.ErrorCode) bool {
	var js jetstream.JetStreamError
	if errors.As(err, &js) && js.APIError() != nil && js.APIError().ErrorCode == code {
		return true
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}

// isFull reports whether a stream refused a message for its limit of bytes: the server has one code
// for all limits.
func isFull(err error) bool {
	return hasCode(err, codeStoreFailed) && strings.Contains(err.Error(), "maximum bytes exceeded")
}

// permanentError is an error that a repetition will not cure.
type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Permanent marks err: the message goes to DEAD and is not delivered again.
func Permanent(err error) error { return &permanentError{err} }

// IsPermanent reports whether an error is marked so.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

// retryError is an error that is worth another try at a known time.
type retryError struct {
	err   error
	delay time.Duration
}

func (e *retryError) Error() string { return fmt.Sprintf("%v (retry in %s)", e.err, e.delay) }
func (e *retryError) Unwrap() error { return e.err }

// RetryAfter marks err: the message is delivered again after the delay.
func RetryAfter(err error, delay time.Duration) error { return &retryError{err, delay} }

// transient reports errors of servers that have no leader yet: a retry may succeed.
func transient(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrNoStreamResponse) || hasCode(err, codeNoPeers) || hasCode(err, codeNotAvailable) || hasCode(err, codeNotLeader)
}

// IsTooLarge reports whether a message was not published since it is larger than the server or the
// stream takes.
func IsTooLarge(err error) bool {
	return errors.Is(err, nats.ErrMaxPayload) || hasCode(err, codeMessageSize)
}
