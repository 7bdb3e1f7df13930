package proofpoint

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
)

// serve answers every call with one status and body, and records the address.
func serve(t *testing.T, status int, body string) (*Client, *string) {
	t.Helper()
	var address string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address = r.URL.String()
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	c, err := New(Config{URL: server.URL, Principal: "p", Secret: config.Secret("s"), Timeout: 5 * time.Second, IdleTimeout: 5 * time.Second, MaxRecordBytes: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, &address
}

func kindOf(err error) Kind {
	if api, ok := errors.AsType[*APIError](err); ok {
		return api.Kind
	}
	return ""
}

func TestOneAnswerIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]Kind{
		"  {\"id\" : 1.0, \"n\":12345678901234567890}\n ": "",
		"\ufeff{\"id\":\"t1\"}":                           "", // a mark is none of it
		`{}`:                                              "",
		``:                                                Odd,
		`{"id":"t1"`:                                      Truncated,
		`{"id":"t1"}{}`:                                   Odd,
		`[]`:                                              Odd,
		`<html>`:                                          Odd,
		`{"id":01}`:                                       Malformed,
		`{"id":"t1","error":"unavailable"}`:               Odd,
		`{"errorCode" : 7, "id":"t1"}`:                    Odd,
		`{"id":"t1","Errors":[{"id":"t1"}]}`:              Odd,
		`{"error":"unavailable"`:                          Truncated,
		`{"id":"t1","error":null,"errors":[ ]}`:           "",
		`{"id":"t1","evidence":[{"error":"a file"}]}`: "", // the record's own
		`{"id":"t1",}`: Malformed,
		`{"a":"` + strings.Repeat("x", 100_000) + `"}`: Malformed,
	} {
		c, address := serve(t, http.StatusOK, body)
		got, r, err := c.One(t.Context(), Question{Call: feed.CallThreat, Target: "t1"})
		if kindOf(err) != want || (want == "" && string(got) != strings.TrimSpace(strings.TrimPrefix(body, "\ufeff"))) {
			t.Errorf("%.40q: %v, %q", body, err, got)
		}
		if strings.Contains(body, "unavailable\"}") && !strings.Contains(err.Error(), `error: \"unavailable\"`) {
			t.Errorf("the words are missing: %v", err)
		}
		if *address != "/v2/threat/summary/t1" || (want == "" && r.Bytes != int64(len(strings.TrimPrefix(body, "\ufeff")))) {
			t.Errorf("%s, %d bytes", *address, r.Bytes)
		}
	}
}

func TestAddressesOfCalls(t *testing.T) {
	t.Parallel()
	for want, q := range map[string]Question{
		"/v2/campaign/c1":                                   {Call: feed.CallCampaign, Target: "c1"},
		"/v2/forensics?threatId=t1":                         {Call: feed.CallThreatForensics, Target: "t1"},
		"/v2/forensics?campaignId=c1":                       {Call: feed.CallCampaignForensics, Target: "c1"},
		"/v2/people/vap?page=2&size=1000&window=30":         {Call: feed.CallVAP, Target: "30", Page: 2},
		"/v2/people/top-clickers?page=1&size=200&window=14": {Call: feed.CallTopClickers, Target: "14", Page: 1},
		"/v2/campaign/ids?interval=2026-03-11T08%3A00%3A00Z%2F2026-03-12T08%3A00%3A00Z&page=1&size=200": {
			Call: feed.CallCampaignIDs, Interval: "2026-03-11T08:00:00Z/2026-03-12T08:00:00Z", Page: 1,
		},
	} {
		c, address := serve(t, http.StatusNotFound, "")
		_, _, err := c.One(t.Context(), q)
		if *address != want || kindOf(err) != NotFound {
			t.Errorf("%s, want %s: %v", *address, want, err)
		}
	}
}

func TestListsAreSplitFromWhatStandsAroundThem(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, http.StatusOK, `{"total" : 2.50, "users":[ {"a":1.0} , 7, {"b":[]}], "x":[{"users":[]}], "interval":"a/b"}`)
	var got []string
	bad := 0
	envelope, _, err := c.List(t.Context(), Question{Call: feed.CallVAP, Target: "14", Page: 1}, func(r Record) error {
		if r.Bad() {
			bad++
		}
		got = append(got, string(r.JSON))
		return nil
	})
	if err != nil || strings.Join(got, "|") != `{"a":1.0}|7|{"b":[]}` || bad != 1 {
		t.Errorf("entries %q, %d bad, %v", got, bad, err)
	}
	if string(envelope) != `{"total":2.50,"x":[{"users":[]}],"interval":"a/b"}` {
		t.Errorf("around them: %s", envelope)
	}
}

func TestListsThatAreNone(t *testing.T) {
	t.Parallel()
	none := func(Record) error { return nil }
	for name, c := range map[string]struct {
		call   feed.Call
		status int
		body   string
		want   Kind
	}{
		"no campaigns as Proofpoint says it": {feed.CallCampaignIDs, 404, "", ""},
		"no campaigns as it documents it":    {feed.CallCampaignIDs, 200, `{"campaigns":[]}`, ""},
		"no people":                          {feed.CallVAP, 404, "", NotFound},
		"something else":                     {feed.CallVAP, 200, `{"campaigns":[]}`, Odd},
		"no campaigns in another way":        {feed.CallCampaignIDs, 204, "", ""},
		"people that are no content":         {feed.CallVAP, 204, "", Odd},
		"no people, because of an error":     {feed.CallVAP, 200, `{"users":[],"error":"backend"}`, Odd},
		"users that are none":                {feed.CallVAP, 200, `{"users":{}}`, Odd},
		"half of it":                         {feed.CallVAP, 200, `{"users":[{}`, Truncated},
		"rubbish around it":                  {feed.CallVAP, 200, `{"users":[],"total":[1,}`, Malformed},
	} {
		client, _ := serve(t, c.status, c.body)
		envelope, r, err := client.List(t.Context(), Question{Call: c.call, Target: "14", Page: 1}, none)
		if want := c.want == "" && c.status != http.StatusNotFound; r.Served != want {
			t.Errorf("%s: served %t", name, r.Served)
		}
		if kindOf(err) != c.want || (c.want == "" && string(envelope) != "{}") {
			t.Errorf("%s: %v, %s", name, err, envelope)
		}
	}
}

func FuzzJudge(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":[1,{"b":null}]}`, `{"a"`, `[]`, `{"a":1}x`, "{\"\xff\":1}", `{1:2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err := judge(body)
		valid := jsontext.Value(body).IsValid(lenient...) && len(body) > 0 && body[0] == '{'
		if (err == nil) != valid && !jsontext.Value(body).IsValid(lenient...) {
			t.Fatalf("%q: %v", body, err)
		}
		if err != nil && !errors.Is(err, errMalformed) && !errors.Is(err, errTruncated) && !errors.Is(err, errOdd) {
			t.Fatalf("%q: %v", body, err)
		}
	})
}

func FuzzList(f *testing.F) {
	for _, seed := range []string{
		`{"users":[{"a":1},2],"total":2.5,"x":[[1]]}`, `{"users":null,"users":[{}]}`, `{"total":{"users":[]}}`, `{"users":[{}],"a\"b":"}"`, `{"users":[],"\xff":1}`,
		" ", `[]`, `{}0`, `{1:2}`, // empty, no object, a second value, a name that is no string
		`{"a`, `{"a":`, `{"a":1,`, // the end inside a name, before a value, before a name
		`{"a":[1}`, `{"users":"x"}`, `{"users":[{} {}]}`, // a bracket that closes another, no list, no comma
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		read := func(piece int) (entries, envelope string, err error) {
			s := &listing{}
			_, err = split(&pieces{body, piece}, s.shape(feed.CallVAP), 1000, func(r Record) error {
				entries += string(r.JSON) + "\n"
				return nil
			})
			return entries, string(s.envelope()), err
		}
		entries, envelope, err := read(1)
		again, sameEnvelope, errAgain := read(len(body) + 1)
		if (err == nil) != (errAgain == nil) || (err == nil && (entries != again || envelope != sameEnvelope)) {
			t.Fatalf("byte by byte %q %q %v, at once %q %q %v", entries, envelope, err, again, sameEnvelope, errAgain)
		}
		if err == nil && !jsontext.Value(envelope).IsValid(lenient...) {
			t.Fatalf("the envelope is %q", envelope)
		}
	})
}

// pieces reads a text some bytes at a time.
type pieces struct {
	text []byte
	size int
}

// Read implements io.Reader.
func (p *pieces) Read(dst []byte) (int, error) {
	if len(p.text) == 0 {
		return 0, io.EOF
	}
	n := copy(dst, p.text[:min(p.size, len(p.text))])
	p.text = p.text[n:]
	return n, nil
}
