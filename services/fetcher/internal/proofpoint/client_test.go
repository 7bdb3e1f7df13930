package proofpoint_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

var (
	endpoint = feed.Set{feed.ClicksBlocked}.Endpoint()
	span     = window.New(time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC), time.Date(2026, 3, 11, 8, 30, 0, 0, time.UTC))
	clock    = time.Date(2026, 3, 11, 9, 0, 7, 0, time.UTC)
)

const whole = `{"queryEndTime":"2026-03-11T08:30:00Z","clicksBlocked":[{"id":"1"},{"id":"2"}]}`

// api is a server that answers with a handler and counts calls.
func api(t *testing.T, answer http.HandlerFunc, change ...func(*proofpoint.Config)) (c *proofpoint.Client, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Date", clock.Format(http.TimeFormat))
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	cfg := proofpoint.Config{
		URL: server.URL + "/", Principal: "who", Secret: config.Secret("s3cret"), Timeout: time.Minute, IdleTimeout: time.Minute, UserAgent: "Tapline/test",
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := proofpoint.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c, calls
}

// read calls once and gives the records.
func read(t *testing.T, c *proofpoint.Client) (records []string, r proofpoint.Response, err error) {
	t.Helper()
	r, err = c.SIEM(t.Context(), endpoint, span, func(r proofpoint.Record) error {
		records = append(records, string(r.JSON))
		return nil
	})
	return records, r, err
}

func TestRequestIsExplicit(t *testing.T) {
	t.Parallel()
	var got *http.Request
	c, _ := api(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		fmt.Fprint(w, whole)
	})
	records, r, err := read(t, c)
	if err != nil || len(records) != 2 || !r.ServerTime.Equal(clock) || r.Status != http.StatusOK || r.Bytes != int64(len(whole)) {
		t.Fatalf("%q, %+v, %v", records, r, err)
	}
	want := url.Values{
		"format": {"JSON"}, "interval": {"2026-03-11T08:00:00Z/2026-03-11T08:30:00Z"}, "threatStatus": {"active", "cleared", "falsePositive"},
	}
	principal, secret, _ := got.BasicAuth()
	if got.URL.Path != "/v2/siem/clicks/blocked" || got.URL.Query().Encode() != want.Encode() || principal != "who" || secret != "s3cret" ||
		got.Header.Get("Accept-Encoding") != "gzip" || got.UserAgent() != "Tapline/test" {
		t.Errorf("request %s %v", got.URL, got.Header)
	}
}

// TestEveryRefusalHasAName, is tried once, and is reported in one line without the secret.
func TestEveryRefusalHasAName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		body   string
		kind   proofpoint.Kind
		id     int
	}{
		{400, "The requested start time is too far into the past.", proofpoint.TooFarPast, 101},
		{400, "The sinceTime parameter gives a time too far into the past", proofpoint.TooFarPast, 101},
		{400, "The requested interval is too short. It must be 30 seconds or more", proofpoint.TooShort, 300},
		{400, "The requested interval is too long.", proofpoint.TooLong, 300},
		{400, "The requested interval is still current and\nso on", proofpoint.StillCurrent, 300},
		{400, "", proofpoint.BadRequest, 300},
		{400, "something new", proofpoint.BadRequest, 300},
		{400, "<html>The requested interval is too long</html>", proofpoint.BadRequest, 300},
		{400, "\x00\n", proofpoint.BadRequest, 300},
		{401, "", proofpoint.BadCredentials, 100},
		{403, "<html>forbidden</html>", proofpoint.Forbidden, 100},
		{404, "", proofpoint.NotFound, 300},
		{429, "The limit has been exceeded", proofpoint.TooManyRequests, 300},
		{500, strings.Repeat("long ", 1000), proofpoint.ServerError, 300},
		{503, "", proofpoint.ServerError, 300},
		{302, "", proofpoint.Unexpected, 300},
		{418, "\x00\x1b[31m", proofpoint.Unexpected, 300},
	} {
		client, calls := api(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "17")
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		_, r, err := read(t, client)
		failure, ok := errors.AsType[*proofpoint.APIError](err)
		if !ok || failure.Kind != c.kind || failure.Kind.DevoID() != c.id || failure.Status != c.status || failure.RetryAfter != 17*time.Second ||
			!r.ServerTime.Equal(clock) || calls.Load() != 1 {
			t.Errorf("%d %.20q: %v, %d calls", c.status, c.body, err, calls.Load())
			continue
		}
		text := failure.Error()
		if !strings.HasPrefix(text, fmt.Sprintf("error %d: /v2/siem/clicks/blocked", c.id)) || strings.ContainsAny(text, "\n\x00\x1b") ||
			strings.Contains(text, "s3cret") || len(text) > 600 {
			t.Errorf("message %q", text)
		}
	}
}

// TestRetryAfterIsUnderstoodAndBounded: seconds, or a date by the clock of the answer.
func TestRetryAfterIsUnderstoodAndBounded(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "17": 17 * time.Second, " 60 ": time.Minute, "86400": day, "86401": day, "9223372036854775807": day, "99999999999999999999999": day,
		"-5": 0, "+5": 0, "1.5": 0, "1h": 0, "5m3": 0, "1e3": 0, "soon": 0, "0x10": 0,
		clock.Add(90 * time.Second).Format(http.TimeFormat):                      90 * time.Second,
		clock.Add(-time.Hour).Format(http.TimeFormat):                            0,
		clock.Add(10 * day).Format(http.TimeFormat):                              day,
		clock.Add(time.Minute).Format("Monday, 02-Jan-06 15:04:05 GMT"):          time.Minute,
		clock.Add(time.Minute).Format("Mon Jan _2 15:04:05 2006"):                time.Minute,
		clock.Add(time.Minute).Format(time.RFC3339):                              0,
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Format(http.TimeFormat): day,
	} {
		client, _ := api(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		_, _, err := read(t, client)
		if failure, ok := errors.AsType[*proofpoint.APIError](err); !ok || failure.RetryAfter != want {
			t.Errorf("%q: %v, want %s", header, err, want)
		}
	}
}

// TestBrokenAnswersFailAsAWhole: what is not complete is not used.
func TestBrokenAnswersFailAsAWhole(t *testing.T) {
	t.Parallel()
	zipped := func(text string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	send := func(encoding string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if encoding != "" {
				w.Header().Set("Content-Encoding", encoding)
			}
			_, _ = w.Write(body)
		}
	}
	abort := func(part string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if part != "" {
				_, _ = w.Write([]byte(part))
				_ = http.NewResponseController(w).Flush()
			}
			panic(http.ErrAbortHandler)
		}
	}
	hang := func(part string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if part != "" {
				_, _ = w.Write([]byte(part))
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
		}
	}
	soon := func(c *proofpoint.Config) { c.Timeout, c.IdleTimeout = 300*time.Millisecond, 300*time.Millisecond }
	patient := func(*proofpoint.Config) {} // a slow machine is no silent server
	gz := zipped(whole)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   proofpoint.Kind // "" for a good answer
	}{
		"plain":                   {send("", []byte(whole)), ""},
		"gzip":                    {send("gzip", gz), ""},
		"gzip that is cut":        {send("gzip", gz[:len(gz)-9]), proofpoint.Truncated},
		"gzip that is none":       {send("gzip", []byte("no gzip at all")), proofpoint.Odd},
		"JSON instead of gzip":    {send("gzip", []byte(whole)), ""},
		"damaged gzip":            {send("gzip", append(bytes.Clone(gz[:len(gz)-8]), "checksum"...)), proofpoint.Truncated},
		"unknown encoding":        {send("br", gz), proofpoint.Odd},
		"JSON that is cut":        {send("", []byte(whole[:len(whole)-15])), proofpoint.Truncated},
		"an HTML page":            {send("", []byte("<html>maintenance</html>")), proofpoint.Odd},
		"nothing":                 {send("", nil), proofpoint.Odd},
		"nothing, compressed":     {send("gzip", zipped("")), proofpoint.Odd},
		"reset before an answer":  {abort(""), proofpoint.Network},
		"reset in the body":       {abort(whole[:40]), proofpoint.Truncated},
		"silence before headers":  {hang(""), proofpoint.Timeout},
		"silence inside the body": {hang(whole[:40]), proofpoint.Timeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wait := patient
			if c.want == proofpoint.Timeout {
				wait = soon
			}
			client, calls := api(t, c.answer, wait)
			records, _, err := read(t, client)
			if calls.Load() != 1 {
				t.Errorf("%d calls for one", calls.Load())
			}
			if c.want == "" {
				if err != nil || len(records) != 2 {
					t.Errorf("%q, %v", records, err)
				}
				return
			}
			failure, ok := errors.AsType[*proofpoint.APIError](err)
			if !ok || failure.Kind != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func TestCallerCanGiveUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	client, _ := api(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := client.SIEM(ctx, endpoint, span, func(proofpoint.Record) error { return nil })
	if failure, ok := errors.AsType[*proofpoint.APIError](err); !ok || failure.Kind != proofpoint.Canceled {
		t.Errorf("%v", err)
	}
}

func TestVisitorsErrorIsNotTheAPIs(t *testing.T) {
	t.Parallel()
	full := errors.New("disk is full")
	client, _ := api(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, whole) })
	if _, err := client.SIEM(t.Context(), endpoint, span, func(proofpoint.Record) error { return full }); err != full { //nolint:errorlint // the same one
		t.Errorf("%v", err)
	}
}

func TestCheckTellsRefusalFromTheRest(t *testing.T) {
	t.Parallel()
	for status, refused := range map[int]bool{401: true, 403: true, 404: false, 200: false, 429: false, 500: false} {
		client, _ := api(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		if _, err := client.Check(t.Context()); (err != nil) != refused {
			t.Errorf("%d: %v", status, err)
		}
	}
}
