package proofpoint

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// outcome is all that a caller gets to see of a body, with the identity that each record has for
// the collector, and how many records were identified while they were split.
func outcome(r io.Reader, siem bool, limit int) (text string, identified int) {
	shape := siemArrays(feed.SIEM())
	shape.siem = siem
	var b strings.Builder
	h := identity.NewHasher()
	_, err := split(r, shape, limit, func(r Record) error {
		var id identity.Identity
		err := r.Malformed
		switch {
		case r.Identity != nil:
			id = *r.Identity
			identified++
		case err == nil:
			id, err = h.SIEM(r.Feed, r.JSON)
		}
		fmt.Fprintf(&b, "%s %q %v %v\n", r.Feed, r.JSON, id, err)
		return nil
	})
	fmt.Fprint(&b, err)
	return b.String(), identified
}

// checkIdentified splits a body in both ways, however it arrives. What of a large record is kept
// depends on that, so each is compared with its like.
func checkIdentified(t interface {
	Helper()
	Fatalf(string, ...any)
}, body []byte, limit int,
) (identified int) {
	t.Helper()
	for _, arriving := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, func(r io.Reader) io.Reader { return r }} {
		want, none := outcome(arriving(bytes.NewReader(body)), false, limit)
		if none != 0 {
			t.Fatalf("%d records were identified that were not to be", none)
		}
		var got string
		if got, identified = outcome(arriving(bytes.NewReader(body)), true, limit); got != want {
			t.Fatalf("%.2000q is\n%.2000s\nbut framed first\n%.2000s", body, got, want)
		}
	}
	return identified
}

// TestIdentifiedIsFramed: a record whose end its identity tells is the one that framing finds, and
// has the identity that hashing it alone gives. Everything else is as if it had been framed.
func TestIdentifiedIsFramed(t *testing.T) {
	t.Parallel()
	element := rapid.SampledFrom([]string{
		`{"id":"1"}`, `{"id":"]}\"\\","messageParts":[{"a":[{}]},{"b":"\u00e9"}],"threatsInfoMap":[]}`, ` { "id" : "x" , "n" : -1.50e3 } `, `{"GUID":"g","recipient":["b","a"]}`,
		`{"id":"late","clickTime":"2026-03-11T08:00:00.000Z"}`, `{"x":"no identity"}`, `{}`, `{"id":"2","n":01}`, `{"id":tru}`, `{'a':1}`, `{"id":"\x"}`, "{\"id\":\"\t\"}", "{\"id\":\"\xff\\n\"}",
		`12`, `"text{"`, `null`, `[{"id":"3"}]`, ``, `{"id":"4"`, `{"id":"5"]`, `{"id":"6"}}`, `{"id":"7"} x`,
	})
	identified := 0
	rapid.Check(t, func(t *rapid.T) {
		list := strings.Join(rapid.SliceOfN(element, 0, 6).Draw(t, "elements"), rapid.SampledFrom([]string{",", " ,\n", ", "}).Draw(t, "comma"))
		body := `{"clicksBlocked":[` + list + `],"other":[` + list + `],"messagesBlocked" : [ ` + list + `],"queryEndTime":"x"}`
		body = body[:rapid.SampledFrom([]int{len(body), len(body), rapid.IntRange(0, len(body)).Draw(t, "cut")}).Draw(t, "length")]
		identified += checkIdentified(t, []byte(body), rapid.SampledFrom([]int{20, bound.Record}).Draw(t, "limit"))
	})
	if identified == 0 {
		t.Error("no record was identified while it was split")
	}
}

// TestLongRecordsAreFramed: one that is not all in memory at once is framed, whether it is kept or
// not; its neighbours are not.
func TestLongRecordsAreFramed(t *testing.T) {
	t.Parallel()
	long := `{"id":"` + strings.Repeat(`long \"`, firstBuffer/6) + `"}`
	body := `{"clicksBlocked":[{"id":"1"},` + long + `,{"id":"2"},` + long + `,{"id":"3"}]}`
	for _, limit := range []int{firstBuffer, bound.Record} {
		if n := checkIdentified(t, []byte(body), limit); n < 3 {
			t.Errorf("%d records were identified, want 3 and more", n)
		}
	}
}

// TestDeepRecordsAreFramed: one that is too deep to be identified is handed over all the same.
func TestDeepRecordsAreFramed(t *testing.T) {
	t.Parallel()
	body := `{"clicksBlocked":[{"id":"1"},{"id":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `},{"id":"2"}]}`
	if n := checkIdentified(t, []byte(body), bound.Record); n != 2 {
		t.Errorf("%d records were identified, want 2", n)
	}
}

func FuzzIdentified(f *testing.F) {
	for _, list := range []string{`{"id":"\\\""},{"b":[1,{}]}`, `{"a":01},12,"x",`, `{"id":"1"} {"id":"2"}`, `{"id":"1"}]`, `{"GUID":"g","recipient":"r"},{"id":"1"`} {
		f.Add([]byte(`{"queryEndTime" : "x", "clicksBlocked" : [`+list+`],"messagesBlocked":[`+list+`]}`), 1000)
	}
	f.Fuzz(func(t *testing.T, body []byte, limit int) {
		checkIdentified(t, body, limit)
		checkIdentified(t, []byte(`{"messagesBlocked":[`+string(body)+`]}`), limit)
	})
}
