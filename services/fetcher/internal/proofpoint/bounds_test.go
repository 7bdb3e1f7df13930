package proofpoint_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// without writes a piece until the client has had enough.
func without(end io.Writer, begin, piece string) {
	_, err := io.WriteString(end, begin)
	for err == nil {
		_, err = io.WriteString(end, piece)
	}
}

// hijacked answers with bytes of its own in place of HTTP.
func hijacked(w http.ResponseWriter, begin, piece string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	without(conn, begin, piece)
}

// TestWhateverIsAskedEnds: each way to ask, each way not to end, and what the error says.
func TestWhateverIsAskedEnds(t *testing.T) {
	t.Parallel()
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	list := strings.Repeat(`{"id":"x"},`, 1000)
	answers := map[string]struct {
		answer http.HandlerFunc
		kinds  []proofpoint.Kind // of a window, a list, and one id
	}{
		"records":     {func(w http.ResponseWriter, _ *http.Request) { without(w, `{"campaigns":[],"clicksBlocked":[`, list) }, []proofpoint.Kind{"too-large", "too-large", "malformed"}},
		"entries":     {func(w http.ResponseWriter, _ *http.Request) { without(w, `{"campaigns":[`, list) }, []proofpoint.Kind{"too-large", "too-large", "malformed"}},
		"members":     {func(w http.ResponseWriter, _ *http.Request) { without(w, `{"a":1`, strings.Repeat(`,"a":1`, 1000)) }, []proofpoint.Kind{"too-large", "too-large", "malformed"}},
		"a key":       {func(w http.ResponseWriter, _ *http.Request) { without(w, `{"a":1,"`, strings.Repeat("k", 1<<10)) }, []proofpoint.Kind{"too-large", "too-large", "malformed"}},
		"white space": {func(w http.ResponseWriter, _ *http.Request) { without(w, `{`, strings.Repeat(" ", 1<<10)) }, []proofpoint.Kind{"too-large", "too-large", "malformed"}},
		"empty members of gzip": {func(w http.ResponseWriter, _ *http.Request) {
			var nothing strings.Builder
			_ = gzip.NewWriter(&nothing).Close()
			w.Header().Set("Content-Encoding", "gzip")
			without(w, "", strings.Repeat(nothing.String(), 100))
		}, []proofpoint.Kind{"too-large", "too-large", "too-large"}},
		"headers":     {func(w http.ResponseWriter, _ *http.Request) { hijacked(w, "HTTP/1.1 200 OK\r\n", "X-Filler: x\r\n") }, []proofpoint.Kind{"network", "network", "network"}},
		"a status":    {func(w http.ResponseWriter, _ *http.Request) { hijacked(w, "HTTP/1.1 200 ", "O") }, []proofpoint.Kind{"network", "network", "network"}},
		"no HTTP":     {func(w http.ResponseWriter, _ *http.Request) { hijacked(w, "", strings.Repeat("x", 100)+"\r\n") }, []proofpoint.Kind{"network", "network", "network"}},
		"early hints": {func(w http.ResponseWriter, _ *http.Request) { hijacked(w, "", "HTTP/1.1 103 Early Hints\r\n\r\n") }, []proofpoint.Kind{"network", "network", "network"}},
		"trailers": {func(w http.ResponseWriter, _ *http.Request) {
			hijacked(w, chunked+"1\r\n{\r\n0\r\n", "X-Filler: x\r\n")
		}, []proofpoint.Kind{"truncated", "truncated", "truncated"}},
		"extensions of a chunk": {func(w http.ResponseWriter, _ *http.Request) {
			hijacked(w, chunked, "1;"+strings.Repeat("x", 2000)+"\r\n \r\n")
		}, []proofpoint.Kind{"truncated", "truncated", "truncated"}},
		"an error": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			without(w, "", list)
		}, []proofpoint.Kind{"server-error", "server-error", "server-error"}},
	}
	for name, c := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, calls := api(t, c.answer, func(c *proofpoint.Config) { c.MaxBodyBytes, c.MaxRecordBytes = 8<<20, 1<<20 })
			_, _, window := read(t, client)
			_, _, page := client.List(t.Context(), proofpoint.Question{Call: feed.CallCampaignIDs, Interval: "i", Page: 1}, func(proofpoint.Record) error { return nil })
			_, _, one := client.One(t.Context(), proofpoint.Question{Call: feed.CallThreatForensics, Target: "x"})
			for i, err := range []error{window, page, one} {
				failure, ok := errors.AsType[*proofpoint.APIError](err)
				if !ok || failure.Kind != c.kinds[i] || len(err.Error()) > 2*bound.Words {
					t.Errorf("%.2000v, want %s", err, c.kinds[i])
				}
			}
			if n := calls.Load(); n != 3 {
				t.Errorf("%d calls, want 3", n)
			}
		})
	}
}

// TestABodyTakesItsTimeAtMost: some bytes now and then hold nothing up for ever, and neither do
// enough of them.
func TestABodyTakesItsTimeAtMost(t *testing.T) {
	t.Parallel()
	for words, c := range map[string]struct {
		piece int
		set   func(*proofpoint.Config)
	}{
		"less than 1024 bytes of the body in 100ms": {1, func(c *proofpoint.Config) { c.IdleTimeout = 100 * time.Millisecond }},
		"100ms for a body":                          {2 * bound.Progress, func(c *proofpoint.Config) { c.MaxTime = 100 * time.Millisecond }},
	} {
		client, _ := api(t, func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for {
				if _, err := fmt.Fprint(w, strings.Repeat(" ", c.piece)); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-tick.C:
				}
			}
		}, c.set)
		_, _, err := read(t, client)
		if failure, ok := errors.AsType[*proofpoint.APIError](err); !ok || failure.Kind != proofpoint.Timeout || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %s", err, words)
		}
	}
}

// TestABodyMayBeginAsLateAsHeaders: some send headers at once and have the answer later. What came
// is waited for no longer than ever.
func TestABodyMayBeginAsLateAsHeaders(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		begins, pauses, timeout time.Duration
		words                   string // "" for a good answer
	}{
		"later than idle":        {begins: 500 * time.Millisecond, timeout: time.Minute},
		"later than both":        {begins: time.Hour, timeout: 400 * time.Millisecond, words: "no byte of the body in "},
		"and pauses in the body": {pauses: time.Hour, timeout: time.Minute, words: "less than 1024 bytes of the body in 200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, _ := api(t, func(w http.ResponseWriter, r *http.Request) {
				wait := func(d time.Duration) {
					_ = http.NewResponseController(w).Flush()
					select {
					case <-r.Context().Done():
					case <-time.After(d):
					}
				}
				wait(c.begins)
				_, _ = fmt.Fprint(w, whole[:1])
				wait(c.pauses)
				_, _ = fmt.Fprint(w, whole[1:])
			}, func(config *proofpoint.Config) {
				config.Timeout, config.IdleTimeout = c.timeout, 200*time.Millisecond
			})
			records, _, err := read(t, client)
			if c.words == "" {
				if err != nil || len(records) != 2 {
					t.Errorf("%q, %v", records, err)
				}
				return
			}
			if failure, ok := errors.AsType[*proofpoint.APIError](err); !ok || failure.Kind != proofpoint.Timeout || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v, want %s", err, c.words)
			}
		})
	}
}
