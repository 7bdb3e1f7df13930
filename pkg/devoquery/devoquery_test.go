package devoquery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/alloctest"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/devoquery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "0123456789abcdef0123456789abcdef"

// api starts a query API that answers as told, and a client of it.
func api(t *testing.T, answer http.HandlerFunc, change func(*devoquery.Config)) *devoquery.Client {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	c := devoquery.Config{URL: server.URL, Token: token, Timeout: 10 * time.Second, Insecure: true}
	if change != nil {
		change(&c)
	}
	client, err := devoquery.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

var query = devoquery.Query{Table: "mail.proofpoint.tapsiem_v2.clicksblocked", From: time.Unix(1000, 5), To: time.Unix(2000, 5)}

// rows collects what a query finds.
func rows(ctx context.Context, c *devoquery.Client, q devoquery.Query) (found []string, err error) {
	err = c.Rows(ctx, q, func(row []byte) error {
		found = append(found, string(row))
		return nil
	})
	return found, err
}

func TestAnswersOfAllShapes(t *testing.T) {
	t.Parallel()
	want := []string{`{"a":"ü\n"}`, `{"b":2}`}
	for name, text := range map[string]string{
		"an object for each row": `{"rawMessage":"{\"a\":\"ü\\n\"}"}` + "\n" + `{"rawMessage":"{\"b\":2}"}` + "\n",
		"with other columns":     `{"eventdate":1,"x":"y","rawMessage":"{\"a\":\"\u00fc\\n\"}"}{"rawMessage":"{\"b\":2}","n":null}`,
		"compact": `{"m":{"rawMessage":{"type":"str","index":0}},"metadata":[]}` + "\n" +
			`{"d":["{\"a\":\"ü\\n\"}"]}` + "\n" + `{"d":["{\"b\":2}"]}`,
		"in one object":     `{"msg":"","status":0,"cid":"x","object":[{"rawMessage":"{\"a\":\"ü\\n\"}"},{"rawMessage":"{\"b\":2}"}]}`,
		"compact in one":    `{"msg":"","status":200,"object":{"m":{"rawMessage":{"type":"str"}},"d":[["{\"a\":\"ü\\n\"}"],["{\"b\":2}"]]}}`,
		"an array":          `[{"rawMessage":"{\"a\":\"ü\\n\"}"},{"rawMessage":"{\"b\":2}"}]`,
		"no error, said so": `{"error":null}{"rawMessage":"{\"a\":\"ü\\n\"}"}{"rawMessage":"{\"b\":2}"}`,
	} {
		found, err := rows(t.Context(), api(t, says(text), nil), query)
		if err != nil || !slices.Equal(found, want) {
			t.Errorf("%s: %q, %v", name, found, err)
		}
	}
	if found, err := rows(t.Context(), api(t, says(""), nil), query); err != nil || len(found) > 0 {
		t.Errorf("nothing: %q, %v", found, err)
	}
}

func TestBrokenAnswersAreErrors(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"cut":          says(`{"rawMessage":"a"}{"rawMess`),
		"in an object": says(`{"object":[{"rawMessage":"a"}`),
		"no JSON":      says(`<html>`),
		"error":        says(`{"rawMessage":"a"}{"error":{"code":7}}`),
		"e":            says(`{"e":[13,"bad query"]}`),
		"status":       says(`{"msg":"no such table","status":404,"object":[]}`),
		"connection": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"rawMessage":"a"}`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		if found, err := rows(t.Context(), api(t, answer, nil), query); !errors.Is(err, devoquery.ErrBroken) {
			t.Errorf("%s: %q, %v", name, found, err)
		}
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	var got struct {
		Query    string
		From, To int64
		Mode     struct{ Type string }
	}
	var header http.Header
	var body []byte
	answer := func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &got); err != nil || r.URL.Path != "/search/query" || r.Method != http.MethodPost {
			t.Errorf("%s %s: %s: %v", r.Method, r.URL, body, err)
		}
		w.WriteHeader(http.StatusOK)
	}
	q := query
	q.Holds = "3f00d3059857d8f7"
	if _, err := rows(t.Context(), api(t, answer, nil), q); err != nil {
		t.Fatal(err)
	}
	want := `from mail.proofpoint.tapsiem_v2.clicksblocked where has(rawMessage, "3f00d3059857d8f7") select rawMessage`
	if got.Query != want || got.From != 1000 || got.To != 2001 || got.Mode.Type != "json/simple" {
		t.Errorf("%+v", got)
	}
	if header.Get("Authorization") != "Bearer "+token {
		t.Errorf("header %v", header)
	}
	client := api(t, answer, func(c *devoquery.Config) { c.Token, c.Key, c.Secret = "", "key", "secret" })
	if _, err := rows(t.Context(), client, q); err != nil {
		t.Fatal(err)
	}
	if sign := devoquery.Sign("secret", "key", body, header.Get("x-logtrust-timestamp")); header.Get("x-logtrust-apikey") != "key" ||
		header.Get("x-logtrust-sign") != sign || len(sign) != 64 || header.Get("Authorization") != "" {
		t.Errorf("header %v", header)
	}
	for _, bad := range []devoquery.Query{{}, {Table: `a" or "`}, {Table: "a.b", Holds: `x") or ("`}} {
		if _, err := rows(t.Context(), client, bad); !errors.Is(err, devoquery.ErrRefused) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestRefusals: what may pass is tried again, what may not is reported, and no answer makes the
// token show.
func TestRefusals(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	refuse := func(status int, times int64) http.HandlerFunc {
		asked.Store(0)
		return func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) > times {
				_, _ = io.WriteString(w, `{"rawMessage":"a"}`)
				return
			}
			http.Error(w, "you said "+r.Header.Get("Authorization"), status)
		}
	}
	for _, status := range []int{429, 500, 503} {
		if found, err := rows(t.Context(), api(t, refuse(status, 1), nil), query); err != nil || len(found) != 1 || asked.Load() != 2 {
			t.Errorf("%d once: %q, %v, asked %d times", status, found, err, asked.Load())
		}
	}
	for status, want := range map[int]error{401: config.ErrInvalid, 403: config.ErrInvalid, 400: devoquery.ErrRefused, 308: devoquery.ErrRefused} {
		_, err := rows(t.Context(), api(t, refuse(status, 1000), nil), query)
		if !errors.Is(err, want) || asked.Load() != 1 || strings.Contains(err.Error(), token) || !strings.Contains(err.Error(), "you said") {
			t.Errorf("%d: %v, asked %d times", status, err, asked.Load())
		}
	}
	if _, err := rows(t.Context(), api(t, refuse(502, 1000), nil), query); !errors.Is(err, devoquery.ErrBusy) || asked.Load() != 4 {
		t.Errorf("%v, asked %d times", err, asked.Load())
	}
}

// TestSilenceEnds: neither a missing answer nor one that stops midway blocks the caller for ever.
func TestSilenceEnds(t *testing.T) {
	t.Parallel()
	hang := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then the server notices that the client goes
		_, _ = io.WriteString(w, `{"rawMessage":"a"}`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	client := api(t, hang, func(c *devoquery.Config) { c.Timeout = time.Second })
	if found, err := rows(t.Context(), client, query); !errors.Is(err, devoquery.ErrBroken) || len(found) != 1 {
		t.Errorf("%q, %v", found, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	client = api(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	}, nil)
	if _, err := rows(ctx, client, query); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestTricklesEnd: an answer that hardly gets on holds a caller no longer than one that stops, and
// one that has no end is bounded as a whole.
func TestTricklesEnd(t *testing.T) {
	t.Parallel()
	trickle := func(size int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, strings.Repeat(" ", size))
				_ = http.NewResponseController(w).Flush()
				<-tick.C
			}
		}
	}
	for name, client := range map[string]*devoquery.Client{
		"a byte at a time": api(t, trickle(1), func(c *devoquery.Config) { c.Timeout = time.Second }),
		"without end":      api(t, trickle(1<<10), nil),
	} {
		if name == "without end" {
			client.Within(time.Second)
		}
		if _, err := rows(t.Context(), client, query); !errors.Is(err, devoquery.ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	good := devoquery.Config{URL: "https://apiv2-eu.devo.com", Token: token, Timeout: time.Minute}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for variable, change := range map[string]func(*devoquery.Config){
		"DEVO_QUERY_URL":     func(c *devoquery.Config) { c.URL = "http://apiv2-eu.devo.com" },
		"DEVO_QUERY_TOKEN":   func(c *devoquery.Config) { c.Token = "" },
		"DEVO_QUERY_SECRET":  func(c *devoquery.Config) { c.Token, c.Key = "", "key" },
		"DEVO_QUERY_TIMEOUT": func(c *devoquery.Config) { c.Timeout = 0 },
		"DEVO_QUERY_SETTLE":  func(c *devoquery.Config) { c.Settle = -1 },
	} {
		c := good
		change(&c)
		if _, err := devoquery.New(c); !errors.Is(err, config.ErrInvalid) || !strings.HasPrefix(err.Error(), variable) {
			t.Errorf("%s: %v", variable, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"rawMessage":"{\"a\":1}"}`))
	f.Add([]byte(`{"m":{},"d":[["a","b"],["c"]]}` + "\n" + `{"e":[1,"x"]}`))
	f.Add([]byte(`{"rawMessage":"\ud800` + "\xff" + `"}`))
	f.Add([]byte(`["a`))  // a text does not end
	f.Add([]byte(`{"e"`)) // ends behind the name of an error
	f.Fuzz(func(t *testing.T, data []byte) {
		alloctest.Linear(t, len(data), 16, 1<<20, func() {
			client := devoquery.Reader(bytes.NewReader(data))
			if err := client(func([]byte) error { return nil }); err != nil && !errors.Is(err, devoquery.ErrBroken) {
				t.Errorf("%v", err)
			}
		})
	})
}
