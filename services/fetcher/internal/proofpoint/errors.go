package proofpoint

import (
	"errors"
	"fmt"
	"time"

	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// Kind says what a failed call means.
type Kind string

// The kinds. Those of status 400 are distinguished by the sentence in the body, which may come from
// a proxy: a kind says what the sentence says and proves nothing about the window.
const (
	BadCredentials  Kind = "bad-credentials"   // 401
	Forbidden       Kind = "forbidden"         // 403: not entitled to this customer's data
	TooManyRequests Kind = "too-many-requests" // 429
	TooFarPast      Kind = "too-far-past"      // 400: it says the start is too far in the past
	TooShort        Kind = "too-short"         // 400: it says the interval is too short
	TooLong         Kind = "too-long"          // 400: it says the interval is too long
	StillCurrent    Kind = "still-current"     // 400: it says the end is not in the past yet
	BadRequest      Kind = "bad-request"       // 400 with any other sentence, or with none
	NotFound        Kind = "not-found"         // 404
	ServerError     Kind = "server-error"      // 5xx
	Unexpected      Kind = "unexpected-status" // any other status
	Timeout         Kind = "timeout"           // no answer, or no more of it, in time
	Network         Kind = "network"           // no connection, or it broke before an answer
	Truncated       Kind = "truncated"         // the body ended early
	Malformed       Kind = "malformed"         // the body began as a JSON object and is broken further on
	Odd             Kind = "odd-answer"        // the body is not one JSON object, or 2xx that is no answer
	TooLarge        Kind = "too-large"         // the body is beyond a bound of package bound
	Canceled        Kind = "canceled"          // the caller gave up
)

// Devo's numbers for the kinds of errors, as its own collector logs them.
const (
	devoCredentials = 100
	devoStart       = 101
	devoHTTP        = 300
	devoPull        = 301
)

// DevoID is the number that Devo's collector gives such an error.
func (k Kind) DevoID() int {
	switch k {
	case BadCredentials, Forbidden:
		return devoCredentials
	case TooFarPast:
		return devoStart
	case Timeout, Network, Truncated, Malformed, Odd, TooLarge, Canceled:
		return devoPull
	default:
		return devoHTTP
	}
}

// APIError is a failed call.
type APIError struct {
	Kind       Kind
	Status     int    // 0 when there was no answer
	Sentence   string // beginning of the body, printable; may be empty
	RetryAfter time.Duration
	Endpoint   string
	Window     window.Window
	Err        error // cause, if there is one besides the answer
}

// Error names the call and what happened.
func (e *APIError) Error() string {
	what := e.Endpoint
	if e.Window != (window.Window{}) { // lists and ids have none
		what += " " + e.Window.String()
	}
	text := fmt.Sprintf("error %d: %s: %s", e.Kind.DevoID(), what, e.Kind)
	if e.Status != 0 {
		text += fmt.Sprintf(" (status %d)", e.Status)
	}
	if e.Sentence != "" {
		text += fmt.Sprintf(": %q", e.Sentence)
	}
	if e.Err != nil {
		text += ": " + words([]byte(e.Err.Error()), bound.Words) // it may quote what came
	}
	return text
}

// Unwrap gives the cause.
func (e *APIError) Unwrap() error { return e.Err }

var (
	errTruncated = errors.New("body ends early")
	errMalformed = errors.New("body is broken")
	errOdd       = errors.New("body is not what was asked for")
	errNotObject = errors.New("array element is not a JSON object")
	errTooLarge  = errors.New("record is larger than a record may be")
	errTimeout   = errors.New("no answer in time")
	errTooMuch   = errors.New("answer is larger than one may be")
)
