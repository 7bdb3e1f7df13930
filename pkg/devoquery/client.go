package devoquery

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/config"
)

const (
	maxTries  = 4
	maxWait   = time.Minute // however long Retry-After wants it
	maxAnswer = 300         // bytes of a refusal that are quoted
	maxTime   = time.Hour   // for a query, its tries and its whole answer
	progress  = 1 << 10     // bytes of an answer that have to arrive in each DEVO_QUERY_TIMEOUT
)

// whenBusy is when a query is tried again that Devo gives no time for.
var whenBusy = backoff.Doubling{Min: time.Second, Max: 4 * time.Second, Jitter: 0.5}

var (
	// ErrRefused says that Devo does not answer the query.
	ErrRefused = errors.New("the query API refuses")
	// ErrBusy says that it may answer the same query later.
	ErrBusy = errors.New("the query API is not available")
	// ErrBroken says that the answer is not whole. What was visited of it proves nothing about the
	// others.
	ErrBroken = errors.New("the answer of the query API is broken")
)

// Client asks. It is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client
	now  func() time.Time
	most time.Duration // for a query
}

// New checks the configuration. It does not connect.
func New(c Config) (*Client, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: c.Proxy.For(), DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true, ResponseHeaderTimeout: c.Timeout, IdleConnTimeout: 25 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
	return &Client{cfg: c, now: time.Now, most: maxTime, http: &http.Client{
		Transport: transport,
		// The token goes nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close ends what HTTP keeps open.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Query selects rows of one table.
type Query struct {
	Table    string
	From, To time.Time // of the moment at which Devo took the row in, whole seconds, rounded outwards
	Holds    string    // if not empty, only rows whose text has this word in it
}

// Rows visits each row that Devo has, as it was sent. The row is valid during the call. Before the
// first row comes, a query that Devo is too busy for is retried a few times; with [ErrBroken] the
// caller may ask again, and gets rows that it has seen.
func (c *Client) Rows(ctx context.Context, q Query, visit func(row []byte) error) error {
	body, err := q.body()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.most)
	defer cancel()
	resp, err := c.answer(ctx, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	watched := &watched{Reader: resp.Body, timer: time.AfterFunc(c.cfg.Timeout, cancel), patience: c.cfg.Timeout}
	defer watched.timer.Stop()
	return read(watched, visit)
}

// column has the row as it was sent; it must be asked for by name.
const column = "rawMessage"

// body makes the request. A table and a word are put between the words of the query and must not
// end them.
func (q Query) body() ([]byte, error) {
	if !plain(q.Table, "._") || q.Table == "" || !plain(q.Holds, "-._") {
		return nil, fmt.Errorf("%w: no query for table %q and word %q: want letters, digits, . and _", ErrRefused, q.Table, q.Holds)
	}
	text := "from " + q.Table
	if q.Holds != "" {
		text += ` where has(` + column + `, "` + q.Holds + `")`
	}
	to := q.To.Unix()
	if q.To.Nanosecond() > 0 {
		to++
	}
	body, err := json.Marshal(map[string]any{
		"query": text + " select " + column, "from": q.From.Unix(), "to": to, "mode": map[string]string{"type": "json/simple"},
	})
	if err != nil {
		return nil, fmt.Errorf("make a query: %w", err)
	}
	return body, nil
}

func plain(s, also string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune(also, r)
	})
}

// answer asks until there is an answer or too many tries have failed.
func (c *Client) answer(ctx context.Context, body []byte) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, wait, err := c.once(ctx, body)
		if err == nil || !errors.Is(err, ErrBusy) || try == maxTries || ctx.Err() != nil {
			return resp, err
		}
		if wait == 0 {
			wait = whenBusy.After(try)
		}
		if !backoff.Sleep(ctx, wait) {
			return nil, err
		}
	}
}

// once asks once. wait is what Devo wants before the next try, if it says so.
func (c *Client) once(ctx context.Context, body []byte) (resp *http.Response, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(c.cfg.URL, "/")+"/search/query", bytes.NewReader(body))
	if err != nil {
		return nil, 0, fmt.Errorf("DEVO_QUERY_URL: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	c.sign(req, body)
	resp, err = c.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, 0, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, 0, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status says enough
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		wait = min(time.Duration(seconds)*time.Second, maxWait)
	}
	return nil, wait, c.refusal(resp.StatusCode, c.hide(string(text)))
}

// sign adds the credential.
func (c *Client) sign(req *http.Request, body []byte) {
	if c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token.Reveal())
		return
	}
	at := strconv.FormatInt(c.now().UnixMilli(), 10)
	req.Header.Set("x-logtrust-apikey", c.cfg.Key.Reveal())
	req.Header.Set("x-logtrust-timestamp", at)
	req.Header.Set("x-logtrust-sign", Sign(c.cfg.Secret.Reveal(), c.cfg.Key.Reveal(), body, at))
}

// Sign is the signature of a request: the hexadecimal HMAC-SHA256 of key, body and timestamp (epoch
// milliseconds).
func Sign(secret, key string, body []byte, at string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	for _, part := range [][]byte{[]byte(key), body, []byte(at)} {
		mac.Write(part)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// hide takes the credential out of what Devo says, should it repeat it.
func (c *Client) hide(text string) string {
	for _, secret := range []config.Secret{c.cfg.Token, c.cfg.Key, c.cfg.Secret} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret.Reveal(), config.Redacted)
		}
	}
	return text
}

func (c *Client) refusal(status int, text string) error {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		variable := "DEVO_QUERY_TOKEN"
		if c.cfg.Token == "" {
			variable = "DEVO_QUERY_KEY"
		}
		return &config.ProblemError{Variable: variable, Value: config.Redacted, Reason: fmt.Sprintf("Devo refuses it with status %d: want one that may query these tables (at %s): %q", status, c.cfg.URL, text)}
	case status == http.StatusTooManyRequests || status >= http.StatusInternalServerError:
		return fmt.Errorf("%w: status %d: %q", ErrBusy, status, text)
	}
	return fmt.Errorf("%w: status %d: %q", ErrRefused, status, text)
}

// watched ends the request when too little comes for too long.
type watched struct {
	io.Reader
	timer    *time.Timer
	patience time.Duration
	arrived  int
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	before := w.arrived
	if w.arrived += n; n > 0 && (before == 0 || w.arrived/progress > before/progress) {
		w.timer.Reset(w.patience)
	}
	return n, err
}
