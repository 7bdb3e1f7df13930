package proofpoint_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// ask reads span from /v2/siem/all, which answers so, and gives what is wrong with it.
func ask(t *testing.T, body string) (records []string, flaw *proofpoint.Flaw, e proofpoint.Evidence) {
	t.Helper()
	client, _ := api(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
	r, err := client.SIEM(t.Context(), feed.SIEMAll, span, func(r proofpoint.Record) error {
		records = append(records, string(r.Feed)+string(r.JSON))
		return nil
	})
	if err != nil || !r.Served {
		t.Fatalf("%s: served %t, %v", body, r.Served, err)
	}
	return records, r.Evidence.Flaw(span), r.Evidence
}

const four = `"clicksBlocked":[{"id":"1"}],"clicksPermitted":[],"messagesBlocked":null,"messagesDelivered":[{"GUID":"2"}]`

// TestOnlyEvidenceProvesAWindow: span is read until 08:30.
func TestOnlyEvidenceProvesAWindow(t *testing.T) {
	t.Parallel()
	end := func(value string) string { return `{"queryEndTime":` + value + `,` + four + `}` }
	for body, want := range map[string]string{ // the shape of the flaw, and what it says
		end(`"2026-03-11T08:30:00Z"`):             "",
		end(`"2026-03-11T08:30:00.123Z"`):         "",
		end(`"2026-03-11T08:30:00+00:00"`):        "",
		end(`"2026-03-11T08:30:00.123456+00:00"`): "",
		end(`"2026-03-11T01:30:00-07:00"`):        "",
		end(`"2026-03-11T14:15:00+0545"`):         "",
		end(`"2026-03-11T08:29:59Z"`):             "",
		end(`"2026-03-11T08:29:59.000Z"`):         "",
		end(`"2026-03-11T09:00:00Z"`):             "",
		end(`"2026-03-11T08:30:00\u005a"`):        "",
		`{` + four + `,"queryEndTime" : "2026-03-11T08:30:00Z", "error":null, "errors" : [ ], "errorMessage":"", "x":{"errors":0,"y":[{"error" : { }}]}}`: "",

		end(`"2026-03-11T08:29:58.999Z"`):                           "early-query-end|1.001s before",
		end(`"2026-03-11T08:20:00Z"`):                               "early-query-end|10m0s before",
		end(`"2026-03-11T08:30:00+01:00"`):                          "early-query-end|1h0m0s before",
		end(`"2026-03-11T08:30:00Z","queryEndTime":"` + tenTo):      "early-query-end|10m0s before",
		end(`"` + tenTo + `,"queryEndTime":"2026-03-11T08:30:00Z"`): "early-query-end|10m0s before",
		`{` + four + `}`:             "no-query-end|is missing",
		end(`null`):                  `no-query-end|"null"`,
		end(`1773217800`):            `no-query-end|"1773217800"`,
		end(`""`):                    "no-query-end|no time",
		end(`"2026-03-11T08:30:00"`): "no-query-end|08:30:00",
		end(`"soon","queryEndTime":"2026-03-11T08:30:00Z"`): "no-query-end|soon",
		end(`"2026-03-11T08:30:00Z","queryEndTime":"soon"`): "no-query-end|soon",

		`{"queryEndTime":"2026-03-11T08:30:00Z"}`: "missing-array clicksBlocked clicksPermitted messagesBlocked messagesDelivered|missing: clicksBlocked, clicksP",
		`{}`: "missing-array clicksBlocked clicksPermitted messagesBlocked messagesDelivered|missing",
		`{"queryEndTime":"2026-03-11T08:30:00Z","clicksBlocked":[],"clicksPermitted":[],"messagesBlocked":[]}`: "missing-array messagesDelivered|missing: messagesDelivered",
		`{"queryEndTime":"2026-03-11T08:20:00Z",` + strings.Replace(four, "messagesD", "messagesd", 1) + `}`:   `missing-array messagesDelivered|["messagesdelivered"]`,

		`{"queryEndTime":"2026-03-11T08:30:00Z", "error":"backend partially unavailable","messagesDelivered":[]}`: "error-member|backend partially unavailable",
		end(`"2026-03-11T08:30:00Z","error":"backend partially unavailable"`):                                     "error-member|backend partially",
		end(`"2026-03-11T08:30:00Z","partialError":true`):                                                         "error-member|partialError: true",
		end(`"2026-03-11T08:30:00Z","Errors":[{"code":5}]`):                                                       `error-member|Errors`,
		end(`"2026-03-11T08:30:00Z","meta":{"shards":[{"errors":[7]}]}`):                                          `error-member|errors: [7]`,
		end(`"2026-03-11T08:30:00Z","status":"Internal Error"`):                                                   "error-member|Internal Error",
		end(`"2026-03-11T08:30:00Z","error":"\u0007"`):                                                            "error-member|error",
	} {
		_, flaw, _ := ask(t, body)
		shape, detail, _ := strings.Cut(want, "|")
		switch {
		case want == "" && flaw == nil:
		case want == "" || flaw == nil || flaw.Shape() != shape || !strings.Contains(flaw.String(), detail):
			t.Errorf("%s: %v, want %q", body, flaw, want)
		}
	}
}

const tenTo = `2026-03-11T08:20:00Z"`

// TestEarlyEndTellsWhatIsProven, to the whole second.
func TestEarlyEndTellsWhatIsProven(t *testing.T) {
	t.Parallel()
	for end, want := range map[string]time.Time{
		"2026-03-11T08:20:00Z":     span.End.Add(-10 * time.Minute),
		"2026-03-11T08:20:00.999Z": span.End.Add(-10 * time.Minute),
		"2026-03-11T08:00:00.999Z": {},
		"2026-03-11T07:00:00Z":     {},
	} {
		if _, flaw, _ := ask(t, `{"queryEndTime":"`+end+`",`+four+`}`); flaw == nil || !flaw.ProvenEnd.Equal(want) {
			t.Errorf("%s: %v", end, flaw)
		}
	}
}

// TestArrayUnderAnotherSpelling is not the one that was asked for, and its records are records.
func TestArrayUnderAnotherSpelling(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"messagesdelivered", "messages_delivered", "MessagesDelivered", "messagesDelivered:"} {
		body := `{"queryEndTime":"2026-03-11T08:30:00Z","clicksBlocked":[],"clicksPermitted":[],"messagesBlocked":[],"rest":[{"id":"0"}],"` + name + `":[{"GUID":"1"},{"GUID":"2"}]}`
		records, flaw, e := ask(t, body)
		if strings.Join(records, " ") != `messagesDelivered{"GUID":"1"} messagesDelivered{"GUID":"2"}` || flaw == nil ||
			!slices.Equal(e.Missing, []feed.Feed{feed.MessagesDelivered}) || !slices.Equal(e.Others, []string{"rest", name}) {
			t.Errorf("%s: %q, %v, others %q", name, records, flaw, e.Others)
		}
	}
	// One of which the very name is escaped is the same to JSON.
	if records, flaw, _ := ask(t, `{"queryEndTime":"2026-03-11T08:30:00Z",`+strings.Replace(four, "clicksBlocked", `clicks\u0042locked`, 1)+`}`); flaw != nil || len(records) != 2 {
		t.Errorf("%q, %v", records, flaw)
	}
}

// TestWhatIsQuotedIsBounded: keys, their number, and texts of an answer that never ends.
func TestWhatIsQuotedIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("long\\n\u202e", 1000)
	var others strings.Builder
	for i := range 100 {
		fmt.Fprintf(&others, `"%d%s":[],`, i, long)
	}
	_, flaw, e := ask(t, `{`+others.String()+`"queryEndTime":"`+long+`","error":"`+long+`"}`)
	if _, huge, _ := ask(t, `{`+four+`,"queryEndTime":"2026-03-11T08:30:00Z","error":"`+strings.Repeat(long, 500)+`"}`); huge == nil || huge.Kind != proofpoint.ErrorMember {
		t.Errorf("an error of %d bytes: %v", 500*len(long), huge)
	}
	text := fmt.Sprint(e.Others, e.EndText, e.ErrorText, flaw)
	if len(text) > 4000 || strings.ContainsAny(text, "\n\u202e") || len(e.Others) != 8 {
		t.Errorf("%d bytes: %.200q", len(text), text)
	}
}

// TestProvenMeansAllOfIt: whatever an answer consists of, it is proven only with every array, an
// end that reaches, and no error. The reference reads the same body with encoding/json.
func TestProvenMeansAllOfIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		offset := rapid.SampledFrom([]time.Duration{-time.Hour, -1001 * time.Millisecond, -time.Second, -time.Millisecond, 0, time.Hour}).Draw(t, "offset")
		at := span.End.Add(offset).In(time.FixedZone("", rapid.SampledFrom([]int{0, 3600, -25200}).Draw(t, "zone")))
		members := []string{}
		for _, f := range feed.SIEM() {
			members = append(members, rapid.SampledFrom([]string{`"` + string(f) + `":[]`, `"` + string(f) + `":null`, `"` + string(f) + `":[{"id":"1"}]`, `"x":1`, `"x":[]`}).Draw(t, "array"))
		}
		members = append(members, rapid.SampledFrom([]string{`"queryEndTime":"` + at.Format(time.RFC3339Nano) + `"`, `"queryEndTime":"?"`, `"y":0`}).Draw(t, "end"))
		members = append(members, rapid.SampledFrom([]string{`"z":0`, `"error":"e"`, `"error":null`}).Draw(t, "error"))
		body := "{" + strings.Join(rapid.Permutation(members).Draw(t, "members"), ",") + "}"
		e, err := proofpoint.SplitEvidence(strings.NewReader(body), feed.SIEM())
		if err != nil {
			t.Fatal(err)
		}
		var reference map[string]any
		if err := json.Unmarshal([]byte(body), &reference); err != nil {
			t.Fatal(err)
		}
		text, _ := reference["queryEndTime"].(string)
		end, _ := time.Parse(time.RFC3339, text)
		proven := reference["error"] == nil && !end.Add(time.Second).Before(span.End)
		for _, f := range feed.SIEM() {
			_, ok := reference[string(f)]
			proven = proven && ok
		}
		if flaw := e.Flaw(span); (flaw == nil) != proven {
			t.Fatalf("%s: %v, want proven: %t", body, flaw, proven)
		}
	})
	// Evidence of any origin, not only of a body.
	rapid.Check(t, func(t *rapid.T) {
		text, feeds := rapid.SampledFrom([]string{"", "?"}), rapid.SliceOfN(rapid.SampledFrom(feed.SIEM()), 0, 2)
		e := proofpoint.Evidence{
			Present: feeds.Draw(t, "present"), Missing: feeds.Draw(t, "missing"), NoContent: rapid.Bool().Draw(t, "no content"),
			EndText: text.Draw(t, "end"), ErrorText: text.Draw(t, "error"),
		}
		e.QueryEnd = span.End.Add(time.Duration(rapid.Int64Range(-4e9, 4e9).Draw(t, "offset")))
		arrays := len(e.Missing) == 0 && len(e.Present) > 0
		proven := e.ErrorText == "" && (e.NoContent || (arrays && e.EndText == "" && !e.QueryEnd.Add(time.Second).Before(span.End)))
		if flaw := e.Flaw(span); (flaw == nil) != proven {
			t.Fatalf("%+v: %v, want proven: %t", e, flaw, proven)
		}
	})
	if flaw := (proofpoint.Evidence{}).Flaw(span); flaw == nil {
		t.Error("no evidence proves a window")
	}
}

// TestShapesDoNotKnowTheWindow: the same oddity in another window is the same.
func TestShapesDoNotKnowTheWindow(t *testing.T) {
	t.Parallel()
	shape := func(w window.Window) string {
		return proofpoint.Evidence{Present: feed.SIEM(), QueryEnd: w.Start.Add(time.Minute)}.Flaw(w).Shape()
	}
	if a, b := shape(span), shape(window.New(span.End, span.End.Add(time.Hour))); a != b {
		t.Errorf("%q and %q", a, b)
	}
}

// raw is a server that sends one text, which need not be HTTP.
func raw(t *testing.T, text string) string {
	t.Helper()
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = c.Write([]byte(text))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

// TestNoContentIsAnEmptyWindow, unless it speaks of a body.
func TestNoContentIsAnEmptyWindow(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 204 No Content\r\nDate: Wed, 11 Mar 2026 09:00:07 GMT\r\nConnection: close\r\n"
	for text, want := range map[string]proofpoint.Kind{
		head + "\r\n":                                                   "",
		head + "Content-Length: 0\r\n\r\n":                              "",
		head + "Content-Length: 12\r\n\r\n<html></html":                 proofpoint.Odd,
		head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n": proofpoint.Odd,
		"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\n{}":   proofpoint.Odd,
	} {
		client, _ := api(t, nil, func(c *proofpoint.Config) { c.URL = raw(t, text) })
		_, r, err := read(t, client)
		failure, _ := errors.AsType[*proofpoint.APIError](err)
		switch {
		case want == "" && (err != nil || r.Evidence.Flaw(span) != nil || !r.Served || !r.ServerTime.Equal(clock)):
			t.Errorf("%q: %+v, %v", text, r, err)
		case want != "" && (failure == nil || failure.Kind != want || r.Served || r.Evidence.Flaw(span) == nil):
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
}

// TestOddAnswersAreQuoted, as far as an alarm needs it.
func TestOddAnswersAreQuoted(t *testing.T) {
	t.Parallel()
	syslog := "<38>1 2026-03-11T08:00:00Z - ProofpointTAP - MSGBLK [tapmsg@21139 GUID=\"x\"]\n"
	for body, want := range map[string]string{
		"": "", " \n": "",
		strings.Repeat(syslog, 1000):           `<38>1 2026-03-11T08:00:00Z - ProofpointTAP - MSGBLK [tapmsg@21139 GUID="x"] <38>1`,
		"<html>\n\x00\x1b[31m  <h1>Sorry</h1>": "<html> [31m <h1>Sorry</h1>",
		`[` + whole + `]`:                      `[{"queryEndTime"`,
		whole + whole:                          `{"queryEndTime"`,
		`{"clicksBlocked":"none"}`:             `{"clicksBlocked":"none"}`,
	} {
		client, _ := api(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })
		_, r, err := read(t, client)
		failure, ok := errors.AsType[*proofpoint.APIError](err)
		if !ok || failure.Kind != proofpoint.Odd || !strings.HasPrefix(failure.Sentence, want) || len(failure.Sentence) > 300 || (want == "") != (failure.Sentence == "") || r.Served {
			t.Errorf("%.40q: served %t, %v", body, r.Served, err)
		}
	}
}

// TestOnlyServedAnswersTeachTheClock: not pages of errors, and nothing from a cache.
func TestOnlyServedAnswersTeachTheClock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		age    string
		want   bool
	}{
		"whole":        {200, whole, "", true},
		"not cached":   {200, whole, "0", true},
		"cached":       {200, whole, "17", false},
		"cut":          {200, whole[:20], "", false},
		"HTML":         {200, "<html>", "", false},
		"empty":        {204, "", "", true},
		"empty cached": {204, "", "3600", false},
		"not found":    {404, "", "", false},
		"refused":      {401, "", "", false},
		"busy":         {503, "", "", false},
		"elsewhere":    {302, "", "", false},
	} {
		client, _ := api(t, func(w http.ResponseWriter, _ *http.Request) {
			if c.age != "" {
				w.Header().Set("Age", c.age)
			}
			w.WriteHeader(c.status)
			if c.status != http.StatusNoContent {
				fmt.Fprint(w, c.body)
			}
		})
		if _, r, _ := read(t, client); r.Served != c.want || !r.ServerTime.Equal(clock) {
			t.Errorf("%s: served %t at %s", name, r.Served, r.ServerTime)
		}
	}
}
