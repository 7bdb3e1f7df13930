package proofpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

type seenRecord struct {
	feed      feed.Feed
	json      string
	malformed bool
}

func splitAll(r io.Reader, shape arrays) ([]seenRecord, error) {
	var out []seenRecord
	h := identity.NewHasher()
	_, err := split(r, shape, bound.Record, func(r Record) error {
		_, err := h.Content(r.JSON) // judges the inside, as in the fetcher
		out = append(out, seenRecord{r.Feed, string(r.JSON), r.Bad() || err != nil})
		return nil
	})
	return out, err
}

func TestRecordsComeOutByteForByte(t *testing.T) {
	t.Parallel()
	records := []string{
		`{"n":123456789012345678901,"f":1.0,"e":1e400,"z":-0}`,
		`{"a":"quote \" slash \\","b":"\\","c":"\\\"","d":"\u00e9 é 日本","a":"twice"}`,
		`{ "spaced" : [ 1 , { "x" : "]}" } ] }`,
		"{\"bad utf8\":\"\xff\xfe\"}",
		`{}`,
		`{"long":"` + strings.Repeat(`x\"`, 200_000) + `"}`,
	}
	text := `{"queryEndTime" : "2026-03-11T09:00:00Z", "clicksBlocked" : [` + strings.Join(records, " ,\n") +
		` ], "other":{"clicksPermitted":[1]}, "clicksPermitted":null, "unknown":[{"x":[]},3,"y"], "messagesBlocked":[]}` + "\n"
	for name, reader := range map[string]io.Reader{
		"at once": strings.NewReader(text), "halves": iotest.HalfReader(strings.NewReader(text)),
		"late EOF": iotest.DataErrReader(strings.NewReader(text)),
	} {
		got, err := splitAll(reader, siemArrays(feed.SIEM()))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(got) != len(records) {
			t.Fatalf("%s: %d records, want %d", name, len(got), len(records))
		}
		for i, r := range got {
			if r.json != records[i] || r.malformed || r.feed != feed.ClicksBlocked {
				t.Errorf("%s: record %d is %.80q (malformed %t)", name, i, r.json, r.malformed)
			}
		}
	}
}

func TestMalformedElementsLeaveTheRestAlone(t *testing.T) {
	t.Parallel()
	text := `{"queryEndTime":"x","clicksBlocked":[{"id":"1"},{"id":"2","n":01},12,"text",null,[{"id":"3"}],{"id":tru},{'a':1},{"id":"4"},]}`
	got, err := splitAll(strings.NewReader(text), siemArrays(feed.SIEM()))
	if err != nil {
		t.Fatal(err)
	}
	var good, bad []string
	for _, r := range got {
		if r.malformed {
			bad = append(bad, r.json)
		} else {
			good = append(good, r.json)
		}
	}
	if want := `{"id":"1"} {"id":"4"}`; strings.Join(good, " ") != want {
		t.Errorf("good records %s", good)
	}
	if want := `{"id":"2","n":01} 12 "text" null [{"id":"3"}] {"id":tru} {'a':1} `; strings.Join(bad, " ") != want {
		t.Errorf("malformed records %q", bad)
	}
}

// TestLargeRecordsComeWholeInParts: however they arrive, and whatever stands beside them.
func TestLargeRecordsComeWholeInParts(t *testing.T) {
	t.Parallel()
	const limit = 1000
	for size, want := range map[int]int{limit: 0, limit + 1: 2, 2 * limit: 2, 2*limit + 1: 3, (bound.Pieces + 1) * limit: bound.Pieces + 1} {
		big := `{"id":"` + strings.Repeat("x", size-9) + `"}`
		for name, arriving := range map[string]func(io.Reader) io.Reader{
			"byte by byte": iotest.OneByteReader, "at once": func(r io.Reader) io.Reader { return r },
		} {
			var parts []Record
			var whole, beside string
			_, err := split(arriving(strings.NewReader(`{"clicksBlocked":[{"id":"1"},`+big+` ,{"id":"2"}]}`)), siemArrays(feed.SIEM()), limit, func(r Record) error {
				if len(r.JSON) > limit {
					t.Errorf("a piece of %d bytes", len(r.JSON))
				}
				if len(r.JSON) == len(`{"id":"1"}`) && !r.Bad() {
					beside += string(r.JSON)
					return nil
				}
				whole += string(r.JSON)
				if r.Part > 0 {
					parts = append(parts, r)
				}
				return nil
			})
			if err != nil || whole != big || len(parts) != want || beside != `{"id":"1"}{"id":"2"}` {
				t.Fatalf("%d bytes %s: %d of them in %d parts, beside them %s, %v", size, name, len(whole), len(parts), beside, err)
			}
			for i, r := range parts {
				if r.Part != i+1 || r.More != (i+1 < want) || !errors.Is(r.Malformed, errTooLarge) || r.Identity != nil || r.Feed != feed.ClicksBlocked {
					t.Errorf("%d bytes %s: part %d is %d, more %t, %v", size, name, i+1, r.Part, r.More, r.Malformed)
				}
			}
		}
	}
}

// TestEndlessRecordIsBounded: what is not kept is reported, with its bytes.
func TestEndlessRecordIsBounded(t *testing.T) {
	t.Parallel()
	const limit, size = 1000, 100*1000 + 10
	kept, last := 0, ""
	_, err := split(strings.NewReader(`{"clicksBlocked":[{"id":"`+strings.Repeat("x", size-9)+`"}]}`), siemArrays(feed.SIEM()), limit, func(r Record) error {
		kept += len(r.JSON)
		last = r.Malformed.Error()
		return nil
	})
	if want := "part 101, the last, is its bytes 100000 to 100010, and those from 16000 on before these are not kept"; err != nil ||
		kept != bound.Pieces*limit+10 || !strings.HasSuffix(last, want) {
		t.Errorf("%d bytes kept, %v: %s", kept, err, last)
	}
}

// TestControlCharactersAreDeadWithTheirBytes: a raw one inside a string makes the record malformed,
// wherever it lies, and no other.
func TestControlCharactersAreDeadWithTheirBytes(t *testing.T) {
	t.Parallel()
	for c := range byte(' ') {
		for _, format := range []string{`{"id":"%c"}`, `{"%c":1}`, `{"id":"a","x":[{"y":"tail \\%c"}]}`, `{"id":"\%c"}`, `{"id":"a","long":"` + strings.Repeat("é", firstBuffer) + `%c"}`} {
			bad := fmt.Sprintf(format, c)
			text := `{"clicksBlocked":[{"id":"1"},` + bad + `,{"id":"2"}],"messagesBlocked":[` + bad + `,{"GUID":"3"}]}`
			var good, dead []string
			_, err := split(iotest.HalfReader(strings.NewReader(text)), siemArrays(feed.SIEM()), bound.Record, func(r Record) error {
				if r.Bad() {
					dead = append(dead, string(r.JSON))
				} else if r.Identity != nil {
					good = append(good, string(r.JSON))
				}
				return nil
			})
			if err != nil || strings.Join(good, " ") != `{"id":"1"} {"id":"2"} {"GUID":"3"}` || len(dead) != 2 || dead[0] != bad || dead[1] != bad {
				t.Errorf("%.60q: good %.200q, dead %.200q, %v", bad, good, dead, err)
			}
		}
	}
}

func TestIncompleteOrForeignBodiesFailAsAWhole(t *testing.T) {
	t.Parallel()
	whole := `{"queryEndTime":"x","clicksBlocked":[{"id":"1","s":"a\"b"},{"id":"2"}],"messagesBlocked":[]}`
	for i := 1; i < len(whole); i++ {
		if _, err := splitAll(strings.NewReader(whole[:i]), siemArrays(feed.SIEM())); !errors.Is(err, errTruncated) {
			t.Errorf("cut after %d bytes: %v", i, err)
		}
	}
	for text, want := range map[string]error{
		"": errOdd, " \n": errOdd, "<html>": errOdd, "<38>1 2026-03-11T08:00:00Z - ProofpointTAP - MSGBLK [x]": errOdd, "[]": errOdd, "[" + whole + "]": errOdd,
		`"x"`: errOdd, "12": errOdd, "null": errOdd, "{{unavailable}}": errOdd, `{queryEndTime:1}`: errOdd, `{"messagesBlocked"}`: errOdd,
		whole + "x": errOdd, whole + "{}": errOdd, whole + ",": errOdd,
		`{"clicksBlocked":{"id":"1"}}`: errOdd, `{"clicksBlocked":"none"}`: errOdd, `{"clicksBlocked":0}`: errOdd, `{"clicksBlocked":nothing}`: errOdd,
		"{": errTruncated, `{"queryEndTime":1 "x":2}`: errMalformed, `{"clicksBlocked":[{"id":"1"} {"id":"2"}]}`: errMalformed,
		`{"clicksBlocked":[{"id":[}]}`: errMalformed, `{"clicksBlocked":[1}}`: errMalformed,
	} {
		_, err := splitAll(strings.NewReader(text), siemArrays(feed.SIEM()))
		got := errMalformed // one that is odd may be malformed, too
		for _, kind := range []error{errOdd, errTruncated} {
			if errors.Is(err, kind) {
				got = kind
			}
		}
		if err == nil || !errors.Is(got, want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestVisitErrorEndsTheCall(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	_, err := split(strings.NewReader(`{"clicksBlocked":[{},{}]}`), siemArrays(feed.SIEM()), bound.Record, func(Record) error { return enough })
	var v *visitError
	if !errors.As(err, &v) || !errors.Is(v.err, enough) {
		t.Errorf("%v", err)
	}
}

// TestMemoryDoesNotGrowWithTheBody reads a body that is never in memory and
// checks that the buffer never grows.
func TestMemoryDoesNotGrowWithTheBody(t *testing.T) {
	t.Parallel()
	const n = 20_000
	s := &splitter{stream: newStream(generated(n), bound.Record), arrays: siemArrays(feed.SIEM()), visit: func(Record) error { return nil }}
	if err := s.envelope(); err != nil {
		t.Fatal(err)
	}
	if len(s.buf) != firstBuffer {
		t.Errorf("the buffer grew to %d bytes", len(s.buf))
	}
}

// generated is a body of n records of about 2 kB, made while it is read.
func generated(n int) io.Reader {
	record := []byte(`{"id":"0","subject":"` + strings.Repeat("words \\\" ", 100) + `","parts":[` + strings.Repeat(`{"sha256":"0123456789abcdef","size":12345},`, 20) + `{}]}`)
	pr, pw := io.Pipe()
	go func() {
		var b bytes.Buffer
		b.WriteString(`{"queryEndTime":"x","clicksBlocked":[`)
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(record)
			if b.Len() > 1<<20 {
				if _, err := pw.Write(b.Bytes()); err != nil {
					return
				}
				b.Reset()
			}
		}
		b.WriteString(`]}`)
		_, err := pw.Write(b.Bytes())
		pw.CloseWithError(err)
	}()
	return pr
}

// TestPiecesDoNotMatter: however the body arrives, the outcome is the same.
func TestPiecesDoNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var elements []string
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			elements = append(elements, rapid.SampledFrom([]string{
				`{"a":"\\"}`, `{"a":"\\\""}`, `{"b":[{"c":"]"}]}`, ` {"d" : 1 } `, `12`, `{"e":"é\u00e9"}`, `"\""`,
			}).Draw(t, "element"))
		}
		text := `{"clicksBlocked":[` + strings.Join(elements, ",") + `]}`
		cut := rapid.IntRange(0, len(text)).Draw(t, "cut")
		want, wantErr := splitAll(strings.NewReader(text[:cut]), siemArrays(feed.SIEM()))
		got, gotErr := splitAll(iotest.OneByteReader(strings.NewReader(text[:cut])), siemArrays(feed.SIEM()))
		if fmt.Sprint(want) != fmt.Sprint(got) || (wantErr == nil) != (gotErr == nil) {
			t.Fatalf("%q: %v %v, byte by byte %v %v", text[:cut], want, wantErr, got, gotErr)
		}
	})
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte(`{"queryEndTime" : "x", "clicksBlocked" : [{"a":"\\\""},{"b":[1,{}]}],"messagesBlocked":null}`))
	f.Add([]byte(`{"clicksBlocked":[{"a":01},12,"x",]}`))
	for _, odd := range []string{
		"", "{}", "[]", "<html>", "<38>1 2026-03-11T08:00:00Z - ProofpointTAP - MSGBLK [x]", `{"queryEndTime":"2026-03-11T08:30:00Z"}`, `{"clicksBlocked":"none"}`,
		`{"queryEndTime":"2026-03-11T08:20:00.123+00:00","clicksBlocked":[],"clicksPermitted":[],"messagesBlocked":[],"messagesdelivered":[{"a":1}]}`,
		`{"queryEndTime":7,"error":"backend partially unavailable","x":{"errors":[]},"messagesDelivered":[]}`, "{\"clicksBlocked\":[{\"id\":\"\n\"}]}", `{"clicksBlocked":[]}{}`,
		"{ ", `{"a`, `{"a":}`, `{"a":[1,2`, // the end before and inside a name, no value, the end in an array that no feed has
		`{"a":{]`, `{"clicksBlocked":[{"a":[1}]}`, `{"clicksBlocked":[] "a":1}`, // brackets that close others, no comma
		`{"queryEndTime":"2026-03-11T08:30:00Z","clicksBlocked":[],"clicksPermitted":null,"messagesBlocked":[],"messagesDelivered":[]}`,
	} {
		f.Add([]byte(odd))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		checkEvidence(t, text)
		got, err := splitAll(bytes.NewReader(text), siemArrays(feed.SIEM()))
		slow, slowErr := splitAll(iotest.OneByteReader(bytes.NewReader(text)), siemArrays(feed.SIEM()))
		if fmt.Sprint(got) != fmt.Sprint(slow) || (err == nil) != (slowErr == nil) {
			t.Fatalf("%v %v, byte by byte %v %v", got, err, slow, slowErr)
		}
		var reference map[string]json.RawMessage
		if json.Unmarshal(text, &reference) != nil {
			return
		}
		var lists map[string][]json.RawMessage
		if json.Unmarshal(text, &lists) == nil && err == nil && bytes.Count(text, []byte(`"clicksBlocked"`)) == 1 && !bytes.Contains(text, []byte(`\`)) {
			n := 0
			for _, r := range got {
				if r.feed == feed.ClicksBlocked {
					n++
				}
			}
			if n != len(lists["clicksBlocked"]) {
				t.Fatalf("%d records, want %d", n, len(lists["clicksBlocked"]))
			}
		}
	})
}

// checkEvidence holds the evidence of a body against what encoding/json reads in it. What
// encoding/json does not read may be an answer all the same: a record that is not valid goes to
// DEAD.
func checkEvidence(t *testing.T, text []byte) {
	t.Helper()
	e, err := SplitEvidence(bytes.NewReader(text), feed.SIEM())
	slow, _ := SplitEvidence(iotest.OneByteReader(bytes.NewReader(text)), feed.SIEM())
	if fmt.Sprint(e) != fmt.Sprint(slow) {
		t.Fatalf("%+v, byte by byte %+v", e, slow)
	}
	end := time.Date(2026, 3, 11, 8, 30, 0, 0, time.UTC)
	flaw := e.Flaw(window.New(end.Add(-time.Hour), end))
	var reference map[string]any
	if json.Unmarshal(text, &reference) != nil || reference == nil {
		return
	}
	arrays := 0
	for _, f := range feed.SIEM() {
		value, ok := reference[string(f)]
		if _, array := value.([]any); ok && (array || value == nil) {
			arrays++
		}
	}
	if flaw == nil && (err != nil || arrays != len(feed.SIEM()) || reference[endKey] == nil) {
		t.Fatalf("%q is proven", text)
	}
	if names := bytes.Count(text, []byte("essages")) + bytes.Count(text, []byte("licks")); arrays == 4 && names == 4 && err != nil {
		t.Fatalf("%q is no answer: %v", text, err)
	}
}

func BenchmarkSplit(b *testing.B) {
	shape := siemArrays(feed.SIEM())
	shape.siem = false
	benchmarkSplit(b, shape, func(Record) error { return nil })
}

func BenchmarkSplitAndHash(b *testing.B) {
	h := identity.NewHasher()
	benchmarkSplit(b, siemArrays(feed.SIEM()), func(r Record) error {
		if r.Identity != nil {
			return nil
		}
		_, err := h.SIEM(r.Feed, r.JSON)
		return err
	})
}

// BenchmarkBareSplit is the ceiling of BenchmarkSplit: jsontext reads the same records, and nothing
// else is done.
func BenchmarkBareSplit(b *testing.B) {
	body, err := io.ReadAll(generated(5000))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		d := jsontext.NewDecoder(bytes.NewReader(body), lenient...)
		n := 0
		for range 4 { // {, a key and its value, the key of the array
			if _, err := d.ReadToken(); err != nil {
				b.Fatal(err)
			}
		}
		for _, err = d.ReadToken(); err == nil && d.PeekKind() != ']'; n++ {
			_, err = d.ReadValue()
		}
		if err != nil || n != 5000 {
			b.Fatalf("%d records, %v", n, err)
		}
	}
}

func benchmarkSplit(b *testing.B, shape arrays, visit func(Record) error) {
	b.Helper()
	body, err := io.ReadAll(generated(5000))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := split(bytes.NewReader(body), shape, bound.Record, visit); err != nil {
			b.Fatal(err)
		}
	}
}
