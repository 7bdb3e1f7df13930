package proofpoint

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// Config of a client.
type Config struct {
	URL            string // base, such as https://tap-api-v2.proofpoint.com
	Principal      string
	Secret         config.Secret
	Timeout        time.Duration // from the request to the headers of the answer
	IdleTimeout    time.Duration // until there are bound.Progress more bytes of the body, or its end; for the first byte the rest of Timeout, if that is longer
	MaxRecordBytes int           // 0 means bound.Record
	MaxBodyBytes   int64         // 0 means bound.Body
	MaxTime        time.Duration // from the headers to the end of the body; 0 means bound.Time
	UserAgent      string
	Proxy          config.Proxy
	Now            func() time.Time // the local clock; nil means time.Now
}

// Client calls one Proofpoint service with one credential. It is safe for concurrent use.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client
	free *http.Client // for endpoints without a limit
}

// New makes a client. It does not connect.
func New(c Config) (*Client, error) {
	base, err := url.Parse(strings.TrimRight(c.URL, "/"))
	if err != nil {
		return nil, config.Invalid("TAP_URL", c.URL, "want https://host")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.MaxRecordBytes = cmp.Or(c.MaxRecordBytes, bound.Record)
	c.MaxBodyBytes = cmp.Or(c.MaxBodyBytes, bound.Body)
	c.MaxTime = cmp.Or(c.MaxTime, bound.Time)
	transport := &http.Transport{
		Proxy:               c.Proxy.For(),
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		DisableCompression:  true, // done here, so that a cut stream is seen as one
		// On a connection that was used before, net/http repeats a GET by itself when
		// the server closes it at the wrong moment. Every repetition may count.
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: bound.Headers,
		Protocols:              new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(true)
	reusing := transport.Clone()
	reusing.DisableKeepAlives, reusing.MaxIdleConnsPerHost, reusing.IdleConnTimeout = false, maxIdle, 30*time.Second
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		cfg: c, base: base, http: &http.Client{Transport: transport, CheckRedirect: stay}, free: &http.Client{Transport: reusing, CheckRedirect: stay},
	}, nil
}

const maxIdle = 8

// Close ends the connections that wait for another call.
func (c *Client) Close() { c.free.CloseIdleConnections() }

// Record is one element of an array of a response.
type Record struct {
	Feed feed.Feed
	// JSON is the element as received. It may be used only during the call. Its strings and
	// brackets match; whether it is valid JSON inside shows when it is identified.
	JSON []byte
	// Identity is that of a record which was identified to find its end, and so is known to be
	// valid; else nil. It may be used only during the call.
	Identity *identity.Identity
	// Malformed says why the element is not a record; nil for a good one.
	Malformed error
	// Part numbers the pieces of an element that is larger than a record may be, from 1; 0 is a
	// whole element. Each piece but the last, behind which no More follow, has exactly
	// Config.MaxRecordBytes. Of the pieces that all have to be malformed, the first 16 and the last
	// are handed over, one directly behind the other.
	Part int
	More bool
}

// Bad reports whether the element is malformed.
func (r Record) Bad() bool { return r.Malformed != nil }

// Response describes the answer to a call.
type Response struct {
	Status     int           // 0 when there was none
	Bytes      int64         // of the body, decompressed
	ServerTime time.Time     // the Date header; zero if there was none
	Served     bool          // what was asked for answered itself, whole and not from a cache: ServerTime is its clock
	AskedAt    time.Time     // when the call was made, by the clock of that header; by the local one if there was none
	Skew       time.Duration // how far the local clock was ahead of it when it arrived
	Duration   time.Duration // from the request to the end of the body
	Evidence   Evidence      // of a SIEM call without an error; else zero, which proves nothing
}

// SIEM reads one window from one endpoint and hands every record to visit. An
// error of visit ends the call and is returned as it is; any other error is an
// [*APIError], and nothing that visit saw may be used. Without an error the answer was one whole
// JSON object, or 204 without a body; whether it proves that the window was read is
// for [Evidence.Flaw] to say. Arrays of feeds that are not in e.Feeds are not asked for.
func (c *Client) SIEM(ctx context.Context, e feed.Endpoint, w window.Window, visit func(Record) error) (Response, error) {
	call := &call{client: c, http: c.http, path: e.Path, window: w, began: time.Now(), mayBeEmpty: true}
	query := url.Values{
		"format": {"JSON"}, "interval": {w.Interval()},
		// Without the last one, retractions would stay unknown.
		"threatStatus": {"active", "cleared", "falsePositive"},
	}
	err := call.do(ctx, c.base.JoinPath(e.Path).String()+"?"+query.Encode(), func(body *body) (err error) {
		call.response.Evidence, err = split(body, siemArrays(e.Feeds), c.cfg.MaxRecordBytes, visit)
		return err
	})
	call.response.Duration = time.Since(call.began)
	return call.response, err
}

// Check asks an endpoint without a limit for a threat that does not exist. Only
// a refused credential is an error; every other answer proves it good enough to be answered.
func (c *Client) Check(ctx context.Context) (Response, error) {
	const path = "/v2/threat/summary/0000000000000000000000000000000000000000000000000000000000000000"
	call := &call{client: c, http: c.free, path: path, began: time.Now()}
	err := call.do(ctx, c.base.JoinPath(path).String(), func(*body) error { return nil })
	if api, ok := errors.AsType[*APIError](err); ok {
		switch api.Kind {
		case BadCredentials, Forbidden, Timeout, Network, Canceled:
		default:
			err = nil
		}
	}
	return call.response, err
}

// call is one request and its answer.
type call struct {
	client   *Client
	http     *http.Client
	path     string
	window   window.Window
	began    time.Time
	response Response
	// mayBeEmpty says that status 204 without a body is an answer.
	mayBeEmpty bool
}

func (c *call) fail(kind Kind, err error) *APIError {
	return &APIError{Kind: kind, Status: c.response.Status, Endpoint: c.path, Window: c.window, Err: err}
}

func (c *call) do(ctx context.Context, target string, read func(*body) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(c.client.cfg.Timeout, func() { cancel(errTimeout) })
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return c.fail(Network, err)
	}
	req.SetBasicAuth(c.client.cfg.Principal, c.client.cfg.Secret.Reveal())
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("User-Agent", c.client.cfg.UserAgent)
	c.response.AskedAt = c.client.cfg.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return c.broken(ctx, Network, err)
	}
	defer resp.Body.Close()
	watch.Stop()
	return c.take(ctx, cancel, resp, read)
}

// take reads an answer, as long as that may take.
func (c *call) take(ctx context.Context, cancel context.CancelCauseFunc, resp *http.Response, read func(*body) error) error {
	whole := time.AfterFunc(c.client.cfg.MaxTime, func() { cancel(fmt.Errorf("%w: %s for a body", errTimeout, c.client.cfg.MaxTime)) })
	defer whole.Stop()
	progress, stop := c.idle(cancel)
	defer stop()
	c.response.Status = resp.StatusCode
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		c.response.ServerTime = at
		c.response.AskedAt = at.Add(-time.Since(c.began))
		c.response.Skew = c.client.cfg.Now().Sub(at)
	}
	b := newBody(resp.Body, c.client.cfg.MaxBodyBytes, progress)
	switch {
	case resp.StatusCode == http.StatusNoContent && c.mayBeEmpty && !announcesBody(resp):
		c.response.Evidence.NoContent = true
		c.response.Served = fresh(resp)
		return nil
	case resp.StatusCode != http.StatusOK:
		return c.refused(resp, b)
	}
	defer func() { c.response.Bytes = b.read }()
	if err := b.decompress(resp.Header.Get("Content-Encoding")); err != nil {
		return c.readError(ctx, b, err)
	}
	defer b.release()
	if err := read(b); err != nil {
		return c.readError(ctx, b, err)
	}
	c.response.Served = fresh(resp)
	return nil
}

// idle gives up a body that does not get on. Its first byte may come as late as headers may: some
// send them before they have an answer.
func (c *call) idle(cancel context.CancelCauseFunc) (progress func(), stop func() bool) {
	wait := c.client.cfg.IdleTimeout
	first := max(wait, c.client.cfg.Timeout-time.Since(c.began))
	var begun atomic.Bool
	timer := time.AfterFunc(first, func() {
		if begun.Load() {
			cancel(fmt.Errorf("%w: less than %d bytes of the body in %s", errTimeout, bound.Progress, wait))
		} else {
			cancel(fmt.Errorf("%w: no byte of the body in %s", errTimeout, first.Round(time.Millisecond)))
		}
	})
	return func() {
		begun.Store(true)
		timer.Reset(wait)
	}, timer.Stop
}

// announcesBody reports whether a 204 speaks of a body, which net/http does not read.
func announcesBody(resp *http.Response) bool {
	length := resp.Header.Get("Content-Length")
	return (length != "" && length != "0") || len(resp.TransferEncoding) > 0
}

// fresh reports whether an answer does not come from a cache, so that its Date is of now.
func fresh(resp *http.Response) bool {
	age := resp.Header.Get("Age")
	return age == "" || age == "0"
}

// readError distinguishes the body's failures from those of visit.
func (c *call) readError(ctx context.Context, b *body, err error) error {
	var visited *visitError
	switch {
	case errors.As(err, &visited):
		return visited.err
	case errors.Is(err, errTooMuch):
		return c.fail(TooLarge, err)
	case errors.Is(err, errOdd):
		failure := c.fail(Odd, err)
		failure.Sentence = printable(b.head)
		return failure
	case errors.Is(err, errMalformed):
		return c.fail(Malformed, err)
	}
	return c.broken(ctx, Truncated, err)
}

// broken says why no complete answer came.
func (c *call) broken(ctx context.Context, kind Kind, err error) error {
	cause := context.Cause(ctx)
	var timeout net.Error
	switch {
	case errors.Is(cause, errTimeout):
		return c.fail(Timeout, fmt.Errorf("%w, after %s", cause, time.Since(c.began).Round(time.Millisecond)))
	case cause != nil:
		return c.fail(Canceled, cause)
	case errors.As(err, &timeout) && timeout.Timeout():
		return c.fail(Timeout, err)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return c.fail(kind, err)
}

// refused reads the beginning of the body of an answer other than 200.
func (c *call) refused(resp *http.Response, b *body) error {
	var sentence string
	if b.decompress(resp.Header.Get("Content-Encoding")) == nil {
		defer b.release()
		// An error ends the sentence; the status says enough.
		_, _ = io.CopyN(io.Discard, b, maxWords)
		sentence = printable(b.head)
	}
	failure := c.fail(classify(resp.StatusCode, sentence), nil)
	failure.Sentence = sentence
	failure.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), cmp.Or(c.response.ServerTime, c.client.cfg.Now()))
	return failure
}

// maxRetryAfter is Proofpoint's rolling day: behind it every limit is open.
const maxRetryAfter = 24 * time.Hour

// retryAfter understands seconds and an HTTP date, by the clock that sent it. What says nothing or
// the past is 0.
func retryAfter(header string, now time.Time) time.Duration {
	if at, err := http.ParseTime(header); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	seconds, err := strconv.ParseUint(strings.TrimSpace(header), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
}
