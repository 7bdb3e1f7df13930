package identity_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
)

func siem(t interface {
	Helper()
	Fatalf(string, ...any)
}, f feed.Feed, record string,
) identity.Identity {
	t.Helper()
	id, err := identity.NewHasher().SIEM(f, []byte(record))
	if err != nil {
		t.Fatalf("%s: %v", record, err)
	}
	return id
}

// TestGolden pins the algorithm: a change here makes every stored record look new.
func TestGolden(t *testing.T) {
	t.Parallel()
	const record = `{"id":"a1","GUID":"g","recipient":["b@corp.example","a@corp.example"],"messageTime":"2026-03-11T08:00:00.000Z","n":1.0,"messageParts":[{"x":1},{"y":[true,null,"\u00e9"]}]}`
	got := siem(t, feed.MessagesBlocked, record)
	want := identity.Identity{ID: 0xe7826db1ead77458, Hash: 0xccd0616d980564b7, TimeMS: 1773216000000}
	if got != want {
		t.Errorf("got %#x %#x %d, want %#x %#x %d", got.ID, got.Hash, got.TimeMS, want.ID, want.Hash, want.TimeMS)
	}
	if s := string(identity.AppendTaplineID(nil, 1, 0xabcdef)); s != "00000000000000010000000000abcdef" {
		t.Errorf("tapline id %s", s)
	}
}

func TestIdentityKeys(t *testing.T) {
	t.Parallel()
	base := siem(t, feed.MessagesBlocked, `{"GUID":"g","recipient":["a","b"]}`).ID
	same := []string{
		`{"recipient":["b","a"],"GUID":"g"}`, `{"GUID":"\u0067","recipient":["a","\u0062"],"x":1}`,
		`{"GUID":"g","recipient":["a","b"],"id":null}`, `{"GUID":"g","recipient":["a","b"],"id":""}`,
	}
	for _, record := range same {
		if id := siem(t, feed.MessagesBlocked, record).ID; id != base {
			t.Errorf("%s: another identity", record)
		}
	}
	other := []string{
		`{"GUID":"g","recipient":["a"]}`, `{"GUID":"g","recipient":["ab"]}`, `{"GUID":"g","recipient":["a","b"],"id":"x"}`,
		`{"GUID":"ga","recipient":["b"]}`, `{"GUID":"g"}`,
	}
	for _, record := range other {
		if id := siem(t, feed.MessagesBlocked, record).ID; id == base {
			t.Errorf("%s: the same identity", record)
		}
	}
	if siem(t, feed.MessagesDelivered, `{"id":"1"}`).ID == siem(t, feed.MessagesBlocked, `{"id":"1"}`).ID {
		t.Error("feeds share identities")
	}
	if siem(t, feed.MessagesBlocked, `{"GUID":"g","recipient":"a"}`).ID != siem(t, feed.MessagesBlocked, `{"GUID":"g","recipient":["a"]}`).ID {
		t.Error("one recipient as text and as array differ")
	}
	if siem(t, feed.ClicksBlocked, `{"GUID":"g","url":"a"}`).ID == siem(t, feed.ClicksBlocked, `{"GUID":"g","url":"b"}`).ID {
		t.Error("two clicks on one message are one")
	}
}

func TestBadRecordsAreRefused(t *testing.T) {
	t.Parallel()
	for _, record := range []string{
		``, ` `, `[]`, `"x"`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1}x`, `{"a":"x}`, `{"a":"x\"}`, `{a:1}`, `{"a" 1}`, `{"a":[1}`,
		`["a":1}`, `"a":1}`, `{"a":[}`, `{"a":[1,}`, `{"a":1e}`, `{"a":1e+}`, `{"a":1.}`, `{"a":-}`, `{"a":1x}`, `{"actors":[}`, `{"actors":[1,}`, `{"recipient":[}`,
		`{"a":` + strings.Repeat("[", 20_000),
	} {
		if _, err := identity.NewHasher().SIEM(feed.ClicksBlocked, []byte(record)); !errors.Is(err, identity.ErrNotJSON) {
			t.Errorf("%.40q: %v", record, err)
		}
	}
}

// anyValue draws a JSON value.
func anyValue(t *rapid.T, depth int) any {
	kind := rapid.IntRange(0, 6).Draw(t, "kind")
	if depth == 0 {
		kind %= 5
	}
	switch kind {
	case 0:
		return rapid.String().Draw(t, "text")
	case 1:
		return json.Number(rapid.SampledFrom([]string{"1", "0", "-7", "1.5", "1e400", "123456789012345678901"}).Draw(t, "number"))
	case 2:
		return rapid.Bool().Draw(t, "bool")
	case 3:
		return nil
	case 4:
		return "x"
	case 5:
		var list []any
		for range rapid.IntRange(0, 4).Draw(t, "elements") {
			list = append(list, anyValue(t, depth-1))
		}
		return list
	}
	object := map[string]any{}
	for range rapid.IntRange(0, 4).Draw(t, "members") {
		object[rapid.SampledFrom([]string{"a", "b", "c", "é", `q"`, "actors", "recipient"}).Draw(t, "key")] = anyValue(t, depth-1)
	}
	return object
}

func anyRecord(t *rapid.T) map[string]any {
	record := map[string]any{"id": "x", "extra": anyValue(t, 3)}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(slices.Collect(maps.Keys(bags))), rapid.ID).Draw(t, "bags") {
		list := []any{}
		for range rapid.IntRange(0, 4).Draw(t, name) {
			list = append(list, anyValue(t, 2))
		}
		record[name] = list
	}
	return record
}

// bags are the lists whose order is no content, wherever they are.
var bags = map[string]bool{
	"messageParts": true, "threatsInfoMap": true, "modulesRun": true, "policyRoutes": true, "recipient": true, "fromAddress": true, "toAddresses": true,
	"ccAddresses": true, "replyToAddress": true, "actors": true, "families": true, "malware": true, "techniques": true, "brands": true,
}

// write spells a value in one of many ways that mean the same.
func write(b *strings.Builder, r *rand.Rand, v any) {
	pad := func() { b.WriteString([]string{"", " ", "\n\t"}[r.IntN(3)]) }
	pad()
	defer pad()
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v)+1)
		for k := range v {
			keys = append(keys, k)
		}
		r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		b.WriteByte('{')
		for i, k := range keys {
			if i > 0 {
				b.WriteByte(',')
			}
			writeString(b, r, k)
			b.WriteByte(':')
			if list, ok := v[k].([]any); ok && bags[k] {
				shuffled := append([]any(nil), list...)
				r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
				if len(list) == 1 && single(list[0]) && r.IntN(2) == 0 {
					write(b, r, list[0])
					continue
				}
				write(b, r, shuffled)
				continue
			}
			write(b, r, v[k])
		}
		if r.IntN(3) == 0 {
			if len(keys) > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`"nothing":null`)
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			write(b, r, e)
		}
		b.WriteByte(']')
	case string:
		writeString(b, r, v)
	case json.Number:
		spellings := map[string][]string{
			"1": {"1", "1.0", "1e0", "10e-1", "0.1E+1", "1.00e00"}, "0": {"0", "-0", "0.0", "-0.00", "0e9", "0E-4"}, "1.5": {"1.5", "15e-1", "0.0150e2"},
			"-7": {"-7", "-7.0", "-0.7e1", "-70E-1"}, "1e400": {"1e400", "10e399", "0.1e401", "1" + strings.Repeat("0", 400)},
			"123456789012345678901": {"123456789012345678901", "12345678901234567890.1e1", "123456789012345678901.000"},
		}[v.String()]
		b.WriteString(spellings[r.IntN(len(spellings))])
	default:
		fmt.Fprint(b, map[any]string{true: "true", false: "false", nil: "null"}[v])
	}
}

func writeString(b *strings.Builder, r *rand.Rand, s string) {
	b.WriteByte('"')
	for _, c := range s {
		if c < 0x10000 && (c < ' ' || c == '"' || c == '\\' || r.IntN(4) == 0) {
			fmt.Fprintf(b, `\u%04x`, c)
			continue
		}
		b.WriteRune(c)
	}
	b.WriteByte('"')
}

func spelled(seed uint64, record any) string {
	var b strings.Builder
	write(&b, rand.New(rand.NewPCG(seed, 1)), record)
	return b.String()
}

// single reports whether a value is as good as a list of it.
func single(v any) bool {
	_, list := v.([]any)
	return !list && v != nil
}

// canonical is the slow and obvious form that the hash must agree with.
func canonical(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var members []string
		for k, e := range v {
			list, ok := e.([]any)
			switch {
			case e == nil:
			case ok && bags[k] && len(list) == 1 && single(list[0]):
				members = append(members, fmt.Sprintf("%q:%s", k, canonical(list[0])))
			case ok && bags[k] && len(list) > 0:
				members = append(members, fmt.Sprintf("%q:bag%s", k, canonicalList(list, true)))
			default:
				members = append(members, fmt.Sprintf("%q:%s", k, canonical(e)))
			}
		}
		return "{" + strings.Join(sorted(members), ",") + "}"
	case []any:
		return canonicalList(v, false)
	case string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprintf("%T%v", v, v)
}

func canonicalList(list []any, bag bool) string {
	var out []string
	for _, e := range list {
		out = append(out, canonical(e))
	}
	if bag {
		out = sorted(out)
	}
	return "[" + strings.Join(out, ",") + "]"
}

func sorted(s []string) []string {
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	return s
}

// TestHashIsTheCanonicalContent: two records hash alike exactly when their
// canonical forms are alike, however they are spelled.
func TestHashIsTheCanonicalContent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyRecord(t), anyRecord(t)
		seed := rapid.Uint64().Draw(t, "seed")
		one, two := siem(t, feed.MessagesBlocked, spelled(seed, a)).Hash, siem(t, feed.MessagesBlocked, spelled(seed+1, a)).Hash
		if one != two {
			t.Fatalf("one record, two hashes:\n%s\n%s", spelled(seed, a), spelled(seed+1, a))
		}
		other := siem(t, feed.MessagesBlocked, spelled(seed, b)).Hash
		if same := canonical(a) == canonical(b); same != (one == other) {
			t.Fatalf("canonically equal: %t, equal hashes: %t\n%s\n%s", same, one == other, canonical(a), canonical(b))
		}
	})
}

// addOdd seeds a target with what is odd about values and names.
func addOdd(f *testing.F) {
	f.Helper()
	for _, value := range []string{
		"01", "-", "1.", "1.e3", "-0.0E+10", "0.00", "1.50", "tru", "nulll", "true", `"\u12g4"`, `"\x"`, `"\`, "\"\t\"", `"\udc00\ud800"`, "[1,]", "[,1]", "[x]", "[[1]]", "{}", `{"a":1,}`, "\x00", "+1", "é", "[1]]", "1 2",
	} {
		f.Add([]byte(`{"a":` + value + `}`))
	}
	// Empty, no object, no name, no value, a wrong escape in a name, a text without an end.
	for _, text := range []string{"", " []", "{]", `{"a"}`, `{"\x":1}`, `{"a":"\n`} {
		f.Add([]byte(text))
	}
}

func FuzzSIEM(f *testing.F) {
	f.Add([]byte(`{"id":"x","messageParts":[{"a":1}],"recipient":["r"],"messageTime":"2026-03-11T08:00:00Z"}`))
	addOdd(f)
	f.Add([]byte(`{"GUID":"\ud800","recipient":"\"","a":{"b":[null,-0,1e400]}}`))
	f.Fuzz(func(t *testing.T, record []byte) {
		h := identity.NewHasher()
		before := bytes.Clone(record)
		first, err := h.SIEM(feed.MessagesBlocked, record)
		again, errAgain := h.SIEM(feed.MessagesBlocked, record)
		if first != again || (err == nil) != (errAgain == nil) || !bytes.Equal(before, record) {
			t.Errorf("not repeatable: %v %v, %v %v", first, again, err, errAgain)
		}
		valid := jsontext.Value(record).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
		if object := valid && jsontext.Value(record).Kind() == '{'; object == errors.Is(err, identity.ErrNotJSON) {
			t.Errorf("%q is an object: %t, and: %v", record, object, err)
		}
	})
}

func BenchmarkSIEM(b *testing.B) {
	record := []byte(`{"spamScore":0,"phishScore":100,"threatsInfoMap":[{"threatID":"` + strings.Repeat("ab", 32) + `","threatStatus":"active","classification":"phish","threatUrl":"https://threatinsight.example/` + strings.Repeat("c", 80) + `","threatTime":"2026-03-11T08:00:00.000Z","threat":"portal.example/login","campaignID":null,"threatType":"url"}],"messageTime":"2026-03-11T08:00:00.000Z","impostorScore":0.0,"malwareScore":0,"cluster":"corp_hosted","subject":"` + strings.Repeat("word ", 12) + `","quarantineFolder":null,"quarantineRule":null,"policyRoutes":["default_inbound","allow_relay"],"modulesRun":["av","spf","dkimv","spam","dmarc","urldefense"],"messageSize":23481,"headerFrom":"A <a@sender.example>","recipient":["h.lind@corp.example"],"messageParts":[{"disposition":"inline","sha256":"` + strings.Repeat("0f", 32) + `","md5":"` + strings.Repeat("0f", 16) + `","filename":"text.html","sandboxStatus":null,"oContentType":"text/html","contentType":"text/html"},{"disposition":"attached","sha256":"` + strings.Repeat("1e", 32) + `","md5":"` + strings.Repeat("1e", 16) + `","filename":"invoice.xlsx","sandboxStatus":"THREAT","oContentType":"application/vnd.ms-excel","contentType":"application/vnd.ms-excel"}],"completelyRewritten":true,"id":"8d1f2c5e-1f0a-7a4e-1f9d-9d0e7a1b2c3d","QID":"4abc123-1","GUID":"Qm7xTn2dLw0aVb9RkzPyE4uHsJ1cFo8G","sender":"bounce@sender.example","senderIP":"192.0.2.15","messageID":"<1@sender.example>","xmailer":null,"replyToAddress":[],"ccAddresses":[],"fromAddress":["a@sender.example"],"toAddresses":["h.lind@corp.example"]}`)
	h := identity.NewHasher()
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.SIEM(feed.MessagesBlocked, record); err != nil {
			b.Fatal(err)
		}
	}
}

func TestContentIgnoresOrderAndWhatIsToldApart(t *testing.T) {
	t.Parallel()
	h := identity.NewHasher()
	sum := func(text string, without ...string) uint64 {
		t.Helper()
		hash, err := h.Content([]byte(text), without...)
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	if sum(`{"a":1,"b":[1,2]}`) != sum(` { "b":[1, 2], "a":1 } `) {
		t.Error("the order of members and white space make a difference")
	}
	if sum(`{"a":1,"b":2}`) == sum(`{"a":1,"b":3}`) || sum(`{"b":[1,2]}`) == sum(`{"b":[2,1]}`) {
		t.Error("different contents are the same")
	}
	if sum(`{"generated":"x","a":{"generated":1}}`, "generated") != sum(`{"a":{"generated":1}}`) || sum(`{"a":{"generated":1}}`, "generated") == sum(`{"a":{}}`) {
		t.Error("only members of the object itself are left out")
	}
	if _, err := h.Content([]byte(`[1]`)); !errors.Is(err, identity.ErrNotJSON) {
		t.Errorf("an array: %v", err)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	const record = `{"x":[{"guid":"no"}],"identity":{"emails":[],"guid":"g\u00e9"},"n":12345678901234567890.0,"null":null,"o":{}}`
	for want, path := range map[string][]string{
		"gé": {"identity", "guid"}, "12345678901234567890.0": {"n"}, "": {"null"},
	} {
		if got := identity.Text([]byte(record), path...); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
	for _, path := range [][]string{{"guid"}, {"identity"}, {"identity", "guid", "x"}, {"x", "guid"}, {"o"}} {
		if got := identity.Text([]byte(record), path...); got != "" {
			t.Errorf("%q is %q", path, got)
		}
	}
}

func FuzzContent(f *testing.F) {
	f.Add([]byte(`{"id":"x","generated":1,"a":{"b":[1,{"c":null}]}}`))
	f.Add([]byte(`{"identity":{"guid":`))
	addOdd(f)
	f.Fuzz(func(t *testing.T, record []byte) {
		h := identity.NewHasher()
		first, err := h.Content(record, "generated")
		again, errAgain := h.Content(record, "generated")
		if first != again || (err == nil) != (errAgain == nil) || (err != nil && !errors.Is(err, identity.ErrNotJSON)) {
			t.Fatalf("%x, %v, then %x, %v", first, err, again, errAgain)
		}
		_ = identity.Text(record, "identity", "guid")
	})
}
