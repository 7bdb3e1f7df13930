package devohttp

import (
	"bytes"
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
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/batch"
)

const (
	maxPause  = 5 * time.Minute // however long Retry-After wants it
	maxAnswer = 300             // bytes of a refusal that are quoted
	maxHeader = 64 << 10        // bytes of the headers of an answer
	maxBody   = 32 << 20        // Devo's limit on a request; taken for the size before compression
)

// errRefused says that the endpoint answered with something other than 2xx.
var errRefused = errors.New("the endpoint does not take the rows")

// errClosed says that the connection was closed from this side.
var errClosed = errors.New("connection closed")

// Dialer makes connections. They share what HTTP keeps open underneath.
type Dialer struct {
	cfg  Config
	host string
	http *http.Client

	mu    sync.Mutex
	after time.Time            // no request before this instant
	took  map[string]time.Time // by table: when rows of it were taken last
}

// NewDialer checks the configuration. host is the name in the address of every request.
func NewDialer(c Config, host string) (*Dialer, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: c.Proxy.For(), DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: 25 * time.Second, MaxResponseHeaderBytes: maxHeader,
	}
	return &Dialer{cfg: c, host: host, http: &http.Client{
		Transport: transport, Timeout: c.Timeout,
		// The token is in the address; it goes nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close ends what HTTP keeps open.
func (d *Dialer) Close() error {
	d.http.CloseIdleConnections()
	return nil
}

// Open makes a connection. It waits as long as the endpoint asked for.
func (d *Dialer) Open(ctx context.Context) (*Conn, error) {
	d.mu.Lock()
	rest := time.Until(d.after)
	d.mu.Unlock()
	if rest > 0 && !backoff.Sleep(ctx, rest) {
		return nil, ctx.Err()
	}
	// It lives until Close, longer than the opening.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	return &Conn{dialer: d, client: d.http, life: life, end: end, lost: make(chan struct{}), confirmed: make(chan struct{}, 1)}, nil
}

// Reach proves that the endpoint answers, without sending anything to it.
func (d *Dialer) Reach(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, d.cfg.URL, http.NoBody)
	if err != nil {
		return fmt.Errorf("DEVO_HTTP_URL: %w", err)
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return plain(err)
	}
	return resp.Body.Close()
}

// Conn sends requests one after the other. Send is for one goroutine, Confirm for another.
type Conn struct {
	dialer *Dialer
	client *http.Client    // the dialer's, or one with connections of its own; for the goroutine of Send
	life   context.Context // it is the life of the connection, ended by Close
	end    context.CancelFunc
	body   bytes.Buffer
	gzip   *gzip.Writer

	lost chan struct{} // closed when the connection is finished
	once sync.Once
	err  error // why; set before lost is closed

	mu        sync.Mutex
	done      int           // batches confirmed and not yet reported
	confirmed chan struct{} // gets a value when there are some
}

// Send sends the rows of one batch and waits for the answer. With a [RefusedError] the connection
// stays usable.
func (c *Conn) Send(e *batch.Events) error {
	d := delivery{conn: c, table: e.Table, rows: e.Events}
	err := d.send(0, len(e.Events))
	among := d.among()
	if err == nil && among {
		err = d.again()
	}
	if err != nil {
		return c.finish(err)
	}
	if len(d.refused) > 0 {
		c.dialer.http.CloseIdleConnections() // the next try should not meet the same backend of several
		return &RefusedError{Rows: d.refused, Taken: c.dialer.taken(e.Table), Among: among, Partial: d.gaveUp, confirm: c.confirm}
	}
	c.confirm()
	return nil
}

// confirm counts a batch as confirmed.
func (c *Conn) confirm() {
	c.mu.Lock()
	c.done++
	c.mu.Unlock()
	select {
	case c.confirmed <- struct{}{}:
	default:
	}
}

// post makes one request.
func (c *Conn) post(table string, rows []batch.Event) error {
	if err := c.pack(rows); err != nil {
		return err
	}
	d := c.dialer
	address := strings.TrimRight(d.cfg.URL, "/") + "/stream/" + url.PathEscape(d.cfg.Domain) + "/token!" + d.cfg.Token.Reveal() + "/" + url.PathEscape(d.host) + "/" + url.PathEscape(table)
	req, err := http.NewRequestWithContext(c.life, http.MethodPost, address, bytes.NewReader(c.body.Bytes()))
	if err != nil {
		return fmt.Errorf("%w: the address cannot be made", errRefused) // the error would tell the address
	}
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := c.client.Do(req)
	if err != nil {
		return plain(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return d.refused(resp, answer)
	case err != nil: // the status says enough, but the connection is gone
		c.client.CloseIdleConnections()
	}
	d.take(table)
	return nil
}

func (c *Conn) pack(rows []batch.Event) error {
	c.body.Reset()
	if c.gzip == nil {
		var err error
		if c.gzip, err = gzip.NewWriterLevel(&c.body, gzip.BestSpeed); err != nil {
			return fmt.Errorf("compress: %w", err)
		}
	} else {
		c.gzip.Reset(&c.body)
	}
	for i := range rows {
		if _, err := c.gzip.Write(rows[i].JSON); err != nil {
			return fmt.Errorf("compress: %w", err)
		}
		if _, err := c.gzip.Write([]byte{'\n'}); err != nil {
			return fmt.Errorf("compress: %w", err)
		}
	}
	if err := c.gzip.Close(); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return nil
}

// pauseOf is how long an answer wants us to wait: seconds, or a date.
func pauseOf(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(seconds, 0), int(maxPause/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(at.Sub(now), maxPause)
	}
	return 0
}

// refused says what an answer other than 2xx is, and keeps the pause it asks for.
func (d *Dialer) refused(resp *http.Response, answer []byte) error {
	if pause := pauseOf(resp.Header, time.Now()); pause > 0 {
		d.mu.Lock()
		d.after = time.Now().Add(pause)
		d.mu.Unlock()
	}
	hint := ""
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		hint = "; look at DEVO_HTTP_DOMAIN and DEVO_HTTP_TOKEN"
	case http.StatusRequestEntityTooLarge:
		hint = "; if it is about a single row, a lower EVENT_MAX_BYTES sends it to DEAD"
	}
	text := strings.ReplaceAll(string(answer), d.cfg.Token.Reveal(), "***")
	err := fmt.Errorf("%w: status %d: %q%s", errRefused, resp.StatusCode, text, hint)
	// An answer that says when to retry is about the endpoint.
	if aboutRows(resp.StatusCode) && resp.Header.Get("Retry-After") == "" {
		return &answerError{err}
	}
	return err
}

// plain takes the address out of an error: the token is in it.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return fmt.Errorf("devo-http: %w", u.Err)
	}
	return err
}

// Confirm waits until batches are confirmed, and says how many.
func (c *Conn) Confirm(ctx context.Context) (int, error) {
	for {
		c.mu.Lock()
		n := c.done
		c.done = 0
		c.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-c.lost:
			return 0, c.err
		case <-c.confirmed:
		}
	}
}

// Wait returns why the connection is finished, or nil when ctx has ended.
func (c *Conn) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.lost:
		return c.err
	}
}

// Close finishes the connection; a request under way is given up.
func (c *Conn) Close() { _ = c.finish(errClosed) }

// finish ends the connection. The first reason stays.
func (c *Conn) finish(err error) error {
	c.once.Do(func() {
		c.err = err
		close(c.lost)
		c.end()
	})
	return err
}
