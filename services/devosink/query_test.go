package devosink_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/services/devosink"
)

// ask sends a request and returns status and answer.
func ask(t *testing.T, url, token, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return resp.StatusCode, string(text)
}

// TestIngestLies: what a lying endpoint does to a connection it does to a request, too.
func TestIngestLies(t *testing.T) {
	t.Parallel()
	for fault, want := range map[devosink.Fault][]string{
		{Kind: devosink.FaultDiscard}: nil, {Kind: devosink.FaultTwice}: {"one", "one", "three", "three"},
		{Kind: devosink.FaultCut, Bytes: 3}: {"one", "thr"}, {Kind: devosink.FaultDrop, Bytes: 3}: {"one"},
	} {
		sink, err := devosink.New(devosink.Config{})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(sink.Ingest("corp", "t"))
		if err := sink.Inject(fault); err != nil {
			t.Fatal(err)
		}
		if status, _ := ask(t, server.URL+"/stream/corp/token!t/h/my.app.a", "", "one\nthree\n"); status != http.StatusOK {
			t.Errorf("%v: status %d", fault, status)
		}
		var have []string
		for _, e := range sink.Events("my.app.a") {
			have = append(have, string(e.Message))
		}
		if !slices.Equal(have, want) {
			t.Errorf("%v: the sink has %q, not %q", fault, have, want)
		}
		server.Close()
		if err := sink.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestQuery: a query finds what a table was sent, not before the delay is over, and only for who
// may ask.
func TestQuery(t *testing.T) {
	t.Parallel()
	sink, err := devosink.New(devosink.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	mux := http.NewServeMux()
	mux.Handle("/stream/", sink.Ingest("corp", "t"))
	mux.Handle("/search/", sink.Query(devosink.QueryConfig{Token: "q"}))
	server := httptest.NewServer(mux)
	defer server.Close()
	late := httptest.NewServer(sink.Query(devosink.QueryConfig{Token: "q", Delay: time.Hour}))
	defer late.Close()

	if status, _ := ask(t, server.URL+"/stream/corp/token!t/h/my.app.a", "", "{\"a\":\"<one>\"}\n{\"a\":\"two\"}\n"); status != http.StatusOK {
		t.Fatalf("ingestion answers %d", status)
	}
	span := `"from":0,"to":99999999999,"mode":{"type":"json/simple"}`
	for query, want := range map[string]string{
		`from my.app.a select rawMessage`:                                `{"rawMessage":"{\"a\":\"<one>\"}"}` + "\n" + `{"rawMessage":"{\"a\":\"two\"}"}` + "\n",
		`from my.app.a where has(rawMessage, \"two\") select rawMessage`: `{"rawMessage":"{\"a\":\"two\"}"}` + "\n",
		`from my.app.a select count()`:                                   `{"count":2}` + "\n",
		`from my.app.b select rawMessage`:                                "",
	} {
		if status, answer := ask(t, server.URL+"/search/query", "q", `{"query":"`+query+`",`+span+`}`); status != http.StatusOK || answer != want {
			t.Errorf("%s: %d %q", query, status, answer)
		}
	}
	one := `{"query":"from my.app.a select rawMessage",`
	for what, c := range map[string]struct {
		url, token, body string
		status           int
		answer           string
	}{
		"too early":    {late.URL, "q", one + span + `}`, 200, ""},
		"limit":        {server.URL, "q", one + `"limit":1,` + span + `}`, 200, `{"rawMessage":"{\"a\":\"<one>\"}"}` + "\n"},
		"before":       {server.URL, "q", one + `"from":0,"to":5,"mode":{"type":"json/simple"}}`, 200, ""},
		"other token":  {server.URL, "x", one + span + `}`, 401, "unknown"},
		"endless":      {server.URL, "q", one + `"from":0,"mode":{"type":"json/simple"}}`, 400, "want from and to"},
		"another mode": {server.URL, "q", one + `"from":0,"to":5,"mode":{"type":"xls"}}`, 400, "mode"},
		"other query":  {server.URL, "q", `{"query":"drop",` + span + `}`, 400, "query"},
		"no JSON":      {server.URL, "q", `{`, 400, "answer"},
	} {
		if status, answer := ask(t, c.url+"/search/query", c.token, c.body); status != c.status || !strings.Contains(answer, c.answer) || (c.answer == "" && answer != "") {
			t.Errorf("%s: %d %q", what, status, answer)
		}
	}
}
