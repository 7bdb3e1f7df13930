package devohttp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"go.uber.org/goleak"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/services/shipper/internal/devohttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"

func settings(t *testing.T, environ ...string) devohttp.Config {
	t.Helper()
	var c devohttp.Config
	if err := config.Load(&c, environ); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	good := []string{"DEVO_HTTP_DOMAIN=corp", "DEVO_HTTP_TOKEN=" + token}
	for set, want := range map[string]string{
		"":                                  "",
		"DEVO_HTTP_URL=ftp://x":             `DEVO_HTTP_URL="ftp://x": want https://host`,
		"DEVO_HTTP_URL=http://devo.example": "want https; plain http needs DEVO_HTTP_INSECURE=true",
		"DEVO_HTTP_URL=https://x/stream/corp/token!" + token: "no credentials here",
		"DEVO_HTTP_DOMAIN=a/b":                               `DEVO_HTTP_DOMAIN="a/b"`,
		"DEVO_HTTP_TOKEN=token!" + token:                     "DEVO_HTTP_TOKEN=",
		"DEVO_HTTP_TIMEOUT=1h":                               `DEVO_HTTP_TIMEOUT="1h0m0s": want 1s to 10m`,
	} {
		err := settings(t, append(good, set)...).Check()
		if (err == nil) != (want == "") || (err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), token))) {
			t.Errorf("%s: %v", set, err)
		}
	}
	if err := settings(t).Check(); err == nil || !strings.Contains(err.Error(), "DEVO_HTTP_DOMAIN") || !strings.Contains(err.Error(), "DEVO_HTTP_TOKEN: is required") {
		t.Errorf("nothing set: %v", err)
	}
}

// open makes a connection to a server that does what answer says.
func open(t *testing.T, answer http.HandlerFunc) *devohttp.Conn {
	t.Helper()
	server := httptest.NewServer(answer)
	d, err := devohttp.NewDialer(settings(t, "DEVO_HTTP_URL="+server.URL+"/", "DEVO_HTTP_INSECURE=true", "DEVO_HTTP_DOMAIN=corp", "DEVO_HTTP_TOKEN="+token), "host")
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		_ = d.Close()
		server.Close()
	})
	return c
}

var rows = &batch.Events{Table: "mail.proofpoint.tap_threats.events", Events: []batch.Event{{JSON: []byte(`{"a":1.0}`)}, {JSON: []byte(`{"b":"é"}`)}}}

func TestOneRequestIsOneBatch(t *testing.T) {
	t.Parallel()
	got := make(chan string, 2)
	c := open(t, func(_ http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(z)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: %v", r.Method, err)
		}
		got <- r.URL.Path + "\n" + string(body)
	})
	for range 2 { // the second reuses what the first made
		if err := c.Send(rows); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Confirm(t.Context()); n != 1 || err != nil {
			t.Errorf("%d confirmed, %v", n, err)
		}
		if want := "/stream/corp/token!" + token + "/host/mail.proofpoint.tap_threats.events\n{\"a\":1.0}\n{\"b\":\"é\"}\n"; <-got != want {
			t.Errorf("want %s", want)
		}
	}
}

func TestARefusalFinishesTheConnection(t *testing.T) {
	t.Parallel()
	c := open(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no: "+r.URL.Path, http.StatusForbidden) })
	err := c.Send(rows)
	if err == nil || !strings.Contains(err.Error(), "status 403") || !strings.Contains(err.Error(), "look at DEVO_HTTP_DOMAIN and DEVO_HTTP_TOKEN") || strings.Contains(err.Error(), token) {
		t.Errorf("%v", err)
	}
	if why := c.Wait(t.Context()); !errors.Is(why, err) {
		t.Errorf("it is finished because of %v", why)
	}
	if n, _ := c.Confirm(t.Context()); n != 0 {
		t.Errorf("%d confirmed", n)
	}
}

// TestCloseFreesASend: a request without an answer ends when the connection is closed, and its
// error does not tell the address.
func TestCloseFreesASend(t *testing.T) {
	t.Parallel()
	arrived, leave := make(chan struct{}), make(chan struct{})
	c := open(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		select {
		case <-r.Context().Done():
		case <-leave:
		}
	})
	defer close(leave)
	sent := make(chan error, 1)
	go func() { sent <- c.Send(rows) }()
	<-arrived
	c.Close()
	if err := <-sent; err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("%v", err)
	}
}

// TestLargeBatchesAreCut: at Devo's limit, and smaller still when the endpoint says so; it is one
// batch all the same.
func TestLargeBatchesAreCut(t *testing.T) {
	t.Parallel()
	var most int
	var taken, sizes []string
	c := open(t, func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(z)
		if err != nil {
			t.Error(err)
		}
		sizes = append(sizes, fmt.Sprint(len(body)))
		if len(body) > most {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		for row := range strings.Lines(string(body)) {
			taken = append(taken, row[:1])
		}
	})
	batchOf := func(n, size int) *batch.Events {
		e := &batch.Events{Table: "some.table"}
		for i := range n {
			e.Events = append(e.Events, batch.Event{JSON: bytes.Repeat([]byte{'a' + byte(i)}, size-1)})
		}
		return e
	}
	for _, trial := range []struct {
		n, size, most int
		want          string
	}{
		{2, 20_000_000, 20_000_000, "ab 20000000 20000000"}, // 40 MB are not even tried
		{5, 10, 25, "abcde 50 20 30 10 20"},
	} {
		most, taken, sizes = trial.most, nil, nil
		if err := c.Send(batchOf(trial.n, trial.size)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Confirm(t.Context()); n != 1 || err != nil {
			t.Errorf("%d confirmed, %v", n, err)
		}
		if got := strings.Join(taken, "") + " " + strings.Join(sizes, " "); got != trial.want {
			t.Errorf("%s, want %s", got, trial.want)
		}
	}
	if err := c.Send(batchOf(1, 26)); err == nil || !strings.Contains(err.Error(), "EVENT_MAX_BYTES") {
		t.Errorf("a row that is refused: %v", err)
	}
}

// TestRetryAfterIsWaitedFor: the next connection is not opened before.
func TestRetryAfterIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, after := range []string{"3600", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)} {
		retryAfter(t, after)
	}
}

func retryAfter(t *testing.T, after string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", after)
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer server.Close()
	d, err := devohttp.NewDialer(settings(t, "DEVO_HTTP_URL="+server.URL, "DEVO_HTTP_INSECURE=true", "DEVO_HTTP_DOMAIN=corp", "DEVO_HTTP_TOKEN="+token), "host")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Send(rows); err == nil {
		t.Fatal("429 is no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.Open(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("opened again: %v", err)
	}
}

// TestARefusalWithRetryAfterIsNotAboutRows: whatever its status, the endpoint wants to be left
// alone for a while.
func TestARefusalWithRetryAfterIsNotAboutRows(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity} {
		requests := 0
		c := open(t, func(w http.ResponseWriter, _ *http.Request) {
			requests++
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(status)
		})
		err := c.Send(rows)
		if _, about := errors.AsType[*devohttp.RefusedError](err); err == nil || about {
			t.Errorf("%d: %v", status, err)
		}
		if requests != 1 {
			t.Errorf("%d: %d requests", status, requests)
		}
	}
}

// TestAnOutageInTheMiddleOfABatch proves nothing against the rows behind it.
func TestAnOutageInTheMiddleOfABatch(t *testing.T) {
	t.Parallel()
	requests := 0
	c := open(t, func(w http.ResponseWriter, _ *http.Request) {
		if requests++; requests != 2 { // the first half is taken
			http.Error(w, "no", http.StatusBadRequest)
		}
	})
	e := &batch.Events{Table: "some.table"}
	for range 32 {
		e.Events = append(e.Events, batch.Event{JSON: []byte("{}")})
	}
	err := c.Send(e)
	refused, ok := errors.AsType[*devohttp.RefusedError](err)
	if !ok || len(refused.Rows) != 16 || refused.Among || refused.Taken.IsZero() {
		t.Errorf("%+v", err)
	}
}
