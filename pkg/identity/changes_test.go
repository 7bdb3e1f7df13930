package identity_test

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
)

// TestARecordWithoutAName: neither the order of its members nor white space make another record of
// it; its content, its time and its feed do.
func TestARecordWithoutAName(t *testing.T) {
	t.Parallel()
	const click = `{"url":"http://x.example/","clickTime":"2022-03-30T10:51:53.000Z","threatID":"t1","recipient":"a@corp.example"}`
	base := siem(t, feed.ClicksBlocked, click)
	if want := time.Date(2022, 3, 30, 10, 51, 53, 0, time.UTC).UnixMilli(); base.TimeMS != want {
		t.Errorf("its time is %d, want %d", base.TimeMS, want)
	}
	for _, same := range []string{
		`{"recipient":"a@corp.example","threatID":"t1","clickTime":"2022-03-30T10:51:53.000Z","url":"http://x.example/"}`,
		"{ \"threatID\" : \"t1\",\n\"url\":\"http:\\/\\/x.example/\", \"recipient\":[\"a@corp.example\"],\"clickTime\":\"2022-03-30T10:51:53.000Z\", \"id\":null}",
	} {
		if got := siem(t, feed.ClicksBlocked, same); got != base {
			t.Errorf("%s is another record", same)
		}
	}
	for _, other := range []string{
		strings.Replace(click, "t1", "t2", 1), strings.Replace(click, ":53.", ":54.", 1), strings.Replace(click, "{", `{"GUID":"g",`, 1),
	} {
		if got := siem(t, feed.ClicksBlocked, other); got.ID == base.ID {
			t.Errorf("%s is the same record", other)
		}
	}
	if got := siem(t, feed.ClicksPermitted, click); got.ID == base.ID || got.Hash != base.Hash {
		t.Error("the record of another feed has the same identity, or another content")
	}
	if siem(t, feed.ClicksBlocked, `{}`).ID == siem(t, feed.ClicksPermitted, `{}`).ID {
		t.Error("feeds share identities of nothing")
	}
}

// TestBytesHaveAFeed: what is no object is told by its bytes, within its feed.
func TestBytesHaveAFeed(t *testing.T) {
	t.Parallel()
	base := identity.Bytes(feed.ClicksBlocked, []byte("\xff{"))
	if want := (identity.Identity{ID: 0xce5702e960da9a42, Hash: 0xb255f291268bdec7}); base != want { // another one brings every dead letter once more
		t.Errorf("%#x %#x, want %#x %#x", base.ID, base.Hash, want.ID, want.Hash)
	}
	if base.TimeMS != 0 || base.ID == base.Hash {
		t.Errorf("%+v", base)
	}
	if identity.Bytes(feed.ClicksBlocked, []byte("\xff{")) != base {
		t.Error("the same bytes are another record")
	}
	for _, other := range []identity.Identity{identity.Bytes(feed.ClicksPermitted, []byte("\xff{")), identity.Bytes(feed.ClicksBlocked, []byte("\xff{ "))} {
		if other.ID == base.ID || other.Hash == base.Hash {
			t.Error("others share identity or hash")
		}
	}
}

// TestTheTimeOfARecord is that of its feed, whatever stands first, and none when it cannot be read.
func TestTheTimeOfARecord(t *testing.T) {
	t.Parallel()
	const click, message = `"clickTime":"2026-03-11T08:00:01.500Z"`, `"messageTime":"2026-03-11T10:00:00+02:00"`
	at := time.Date(2026, 3, 11, 8, 0, 0, 0, time.UTC).UnixMilli()
	for record, want := range map[string][2]int64{
		"{" + click + "," + message + "}": {at + 1500, at}, "{" + message + "," + click + "}": {at + 1500, at},
		"{" + message + "}": {at, at}, "{" + click + "}": {at + 1500, at + 1500}, `{"clickTime":"",` + message + "}": {at, at},
		"{}": {0, 0}, `{"clickTime":"yesterday"}`: {0, 0}, `{"messageTime":"2026-03-11"}`: {0, 0}, `{"messageTime":"2026-13-11T08:00:00Z"}`: {0, 0}, `{"clickTime":1773216000000}`: {0, 0},
		`{"messageTime":"1969-12-31T23:59:59Z"}`: {0, 0}, `{"messageTime":"1970-01-01T00:00:01Z"}`: {1000, 1000},
	} {
		if got := [2]int64{siem(t, feed.ClicksPermitted, record).TimeMS, siem(t, feed.MessagesDelivered, record).TimeMS}; got != want {
			t.Errorf("%s is of %d, want %d", record, got, want)
		}
	}
}

// TestWhatIsNoChange: lists without a promised order, one element alone, and spellings of numbers.
func TestWhatIsNoChange(t *testing.T) {
	t.Parallel()
	hash := func(record string) uint64 { t.Helper(); return siem(t, feed.MessagesBlocked, record).Hash }
	same := func(a, b string) {
		t.Helper()
		if hash(a) != hash(b) {
			t.Errorf("a change: %s, %s", a, b)
		}
	}
	differ := func(a, b string) {
		t.Helper()
		if hash(a) == hash(b) {
			t.Errorf("no change: %s, %s", a, b)
		}
	}
	for name := range bags {
		same(`{"`+name+`":["a","b","a"]}`, `{"`+name+`":["b","a","a"]}`)
		same(`{"`+name+`":["a"]}`, `{"`+name+`":"a"}`)
		same(`{"`+name+`":[{"id":"1"}]}`, `{"`+name+`":{"id":"1"}}`)
		same(`{"x":{"`+name+`":[1,2]}}`, `{"x":{"`+name+`":[2,1]}}`)
		differ(`{"`+name+`":["a","b","a"]}`, `{"`+name+`":["a","b"]}`)
		differ(`{"`+name+`":["a","b"]}`, `{"`+name+`":["a","c"]}`)
		differ(`{"`+name+`":["a","a"]}`, `{"`+name+`":"a"}`)
		differ(`{"`+name+`":[["a"]]}`, `{"`+name+`":["a"]}`)
		differ(`{"`+name+`":[[]]}`, `{"`+name+`":[]}`)
		differ(`{"`+name+`":[null]}`, `{"`+name+`":null}`)
		differ(`{"`+name+`":[null]}`, `{}`)
		differ(`{"`+name+`":[]}`, `{}`)
	}
	differ(`{"x":["a","b"]}`, `{"x":["b","a"]}`)
	differ(`{"x":["a"]}`, `{"x":"a"}`)
	differ(`{"threatsInfoMap":[{"threatID":"1"},{"threatID":"2"}]}`, `{"threatsInfoMap":[{"threatID":"1"},{"threatID":"3"}]}`)
	for _, equal := range [][]string{
		{"0", "-0", "0.0", "-0.000", "0e5", "0E-99999999999999999999"},
		{"1", "1.0", "1e0", "10e-1", "1E+0", "0.1e1", "1.000e00", "1000e-3"},
		{"-12.5", "-1.25e1", "-12.50", "-125e-1"},
		{"100", "1e2", "1E2", "100.0", "0.001e5", "1e+02"},
		{"1000000000000000000000000", "1e24", "10e23"},
		{"100000000000000000000000", "1e23"},
		{"1e24000000000000000000001", "0.1e24000000000000000000002"},
		{"1e999999999999999", "10e999999999999998"},
		{"1e9999999999999999", "10e9999999999999998", "0.1e10000000000000000"},
		{"1e-1000000000000000", "10e-1000000000000001"},
		{"1" + strings.Repeat("0", 5000), "1e5000"},
		{"0." + strings.Repeat("0", 4999) + "1", "1e-5000"},
		{"1e" + strings.Repeat("0", 5000) + "7", "10000000"},
	} {
		for i := range equal {
			same(`{"n":`+equal[0]+`}`, `{"n":`+equal[i]+`}`)
			same(`{"n":[1,{"x":`+equal[0]+`}]}`, `{"n":[1.0,{"x":`+equal[i]+`}]}`)
		}
	}
	unequal := []string{
		"0", "1", "-1", "10", "0.1", "1e24", "1e25", "9007199254740992", "9007199254740993", "0.1000000000000000055511151231257827", "1e400", "1e401", "-1e400", "1e-400",
		"1e99999999999999999999", "1e-99999999999999999999", `"1"`, "true", "null", "123456789012345678901234", "1234567890123456789012345",
	}
	for i, a := range unequal {
		for _, b := range unequal[:i] {
			differ(`{"n":`+a+`}`, `{"n":`+b+`}`)
		}
	}
}

// TestNumbersAreExact: two spellings hash alike exactly when they are the same number.
func TestNumbersAreExact(t *testing.T) {
	t.Parallel()
	spelling := rapid.Custom(func(t *rapid.T) string {
		text := rapid.StringMatching(`-?(0|[1-9][0]{0,3}[0-9]{0,3})(\.0{0,3}[0-9]{1,3}0{0,2})?`).Draw(t, "digits")
		return text + rapid.StringMatching(`([eE][-+]?0?[0-9]{1,2})?`).Draw(t, "exponent")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := spelling.Draw(t, "a"), spelling.Draw(t, "b")
		if rapid.Bool().Draw(t, "shifted") { // the same number, more often than not
			b = a + "e0"
			if strings.ContainsAny(a, "eE") {
				b = a
			}
		}
		x, _ := new(big.Rat).SetString(a)
		y, _ := new(big.Rat).SetString(b)
		one, two := siem(t, feed.MessagesBlocked, `{"n":`+a+`}`).Hash, siem(t, feed.MessagesBlocked, `{"n":`+b+`}`).Hash
		if (one == two) != (x.Cmp(y) == 0) {
			t.Fatalf("%s and %s hash alike: %t", a, b, one == two)
		}
	})
}

// TestANumberCostsItsLength: neither a huge exponent nor millions of digits are worked out.
func TestANumberCostsItsLength(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("7", 2<<20)
	for _, n := range []string{"1e" + long, "1e-" + long, long, "0." + long, long + "." + long + "e" + long, "1e2147483648", "-1E-9223372036854775809"} {
		began := siem(t, feed.MessagesBlocked, `{"n":`+n+`}`)
		if again := siem(t, feed.MessagesBlocked, `{"n": `+n+` }`); again != began {
			t.Errorf("%.20s: two hashes", n)
		}
	}
	if siem(t, feed.MessagesBlocked, `{"n":1e`+long+`}`) == siem(t, feed.MessagesBlocked, `{"n":1e`+long[1:]+`}`) {
		t.Error("two exponents hash alike")
	}
}

// TestFormerGolden pins what is stored by versions that knew fewer bags and no numbers.
func TestFormerGolden(t *testing.T) {
	t.Parallel()
	const record = `{"id":"a1","GUID":"g","recipient":["b@corp.example","a@corp.example"],"messageTime":"2026-03-11T08:00:00.000Z","n":1.0,"messageParts":[{"x":1},{"y":[true,null,"\u00e9"]}]}`
	h := identity.NewHasher()
	of := func(text string) uint64 {
		t.Helper()
		sum, err := h.Former(func() (uint64, error) {
			id, err := h.SIEM(feed.MessagesBlocked, []byte(text))
			return id.Hash, err
		})
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	if got, want := of(record), uint64(0x43f4435dcd3fb435); got != want {
		t.Errorf("got %#x, want %#x", got, want)
	}
	for _, alike := range [][2]string{
		{`{"messageParts":[1,2],"threatsInfoMap":["a","b"]}`, `{"threatsInfoMap":["b","a"],"messageParts":[2,1]}`},
	} {
		if of(alike[0]) != of(alike[1]) {
			t.Errorf("%s and %s differed never", alike[0], alike[1])
		}
	}
	for _, change := range [][2]string{
		{`{"n":1.0}`, `{"n":1}`},
		{`{"modulesRun":["a","b"]}`, `{"modulesRun":["b","a"]}`},
		{`{"recipient":["a","b"]}`, `{"recipient":["b","a"]}`},
		{`{"recipient":"a"}`, `{"recipient":["a"]}`},
		{`{"messageParts":[]}`, `{}`},
		{`{"messageParts":[]}`, `{"messageParts":[1]}`},
	} {
		if of(change[0]) == of(change[1]) {
			t.Errorf("%s and %s were different", change[0], change[1])
		}
	}
	// What neither has bags of several elements nor odd numbers hashes as it did: a click, for one.
	const click = `{"url":"u","clickTime":"2026-03-11T08:00:00.000Z","id":"1","recipient":"a","n":[1,-2,{"x":null}]}`
	if of(click) != siem(t, feed.MessagesBlocked, click).Hash {
		t.Error("the hash of a click has changed")
	}
	sum, err := h.Former(func() (uint64, error) { return h.Content([]byte(`{"actors":[1.0,2]}`)) })
	now, errNow := h.Content([]byte(`{"actors":[1.0,2]}`))
	if err != nil || errNow != nil || sum == now {
		t.Errorf("%x, %v, then %x, %v", sum, err, now, errNow)
	}
}

// TestDepth: as deep as jsontext reads, and no deeper, in plain lists, in bags and in objects.
func TestDepth(t *testing.T) {
	t.Parallel()
	h := identity.NewHasher()
	for _, nest := range [][2]string{{`[`, `]`}, {`{"a":`, `}`}, {`{"actors":[`, `]}`}} {
		per := strings.Count(nest[0], "{") + strings.Count(nest[0], "[")
		for depth := 9990; depth < 10010; depth++ {
			n := depth / per
			record := []byte(`{"x":` + strings.Repeat(nest[0], n) + `1` + strings.Repeat(nest[1], n) + `}`)
			_, err := h.SIEM(feed.MessagesBlocked, record)
			if valid := jsontext.Value(record).IsValid(); valid != (err == nil) {
				t.Fatalf("%d times %s: valid %t, %v", n, nest[0], valid, err)
			}
		}
	}
}

// TestRawControlCharactersAreRefused wherever a string may be; they make a record malformed for
// every reader.
func TestRawControlCharactersAreRefused(t *testing.T) {
	t.Parallel()
	h := identity.NewHasher()
	for c := range 0x80 {
		for _, format := range []string{`{"a":"x%cy"}`, `{"a%cb":1}`, `{"id":"%c"}`, `{"a":[{"b":"\n%c"}]}`} {
			if c == '"' || c == '\\' {
				continue
			}
			record := fmt.Appendf(nil, format, c)
			_, err := h.SIEM(feed.ClicksBlocked, record)
			_, _, errFirst := h.First(feed.ClicksBlocked, record)
			_, errContent := h.Content(record)
			for _, err := range []error{err, errFirst, errContent} {
				if (c < 0x20) != errors.Is(err, identity.ErrNotJSON) || (c >= 0x20) != (err == nil) {
					t.Fatalf("%q: %v", record, err)
				}
			}
		}
	}
}

// TestErrorsSayWhere and what should be there.
func TestErrorsSayWhere(t *testing.T) {
	t.Parallel()
	for record, want := range map[string]string{
		`{"a":1`: "ends where a comma should be", "{\"a\":\"x\ty\"}": `'\t' at byte 7 where a character that needs no escape should be`, `{"a":"\x"}`: `'\\' at byte 6 where an escape should be`,
		`{"a":tru}`: `'t' at byte 5 where a value should be`, `{"a":1}]`: `']' at byte 7 where the end should be`, `[]`: `'[' at byte 0 where an object should be`,
		`{"a":"x`: "a string at byte 5 does not end", `{"a" 1}`: `'1' at byte 5 where a colon should be`, `{1}`: `'1' at byte 1 where a key should be`,
	} {
		if _, err := identity.NewHasher().SIEM(feed.ClicksBlocked, []byte(record)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", record, err, want)
		}
	}
}

// TestStoredHashesStay: they are in ids of rows, keys and names of messages that are stored.
func TestStoredHashesStay(t *testing.T) {
	t.Parallel()
	for got, want := range map[uint64]uint64{
		identity.Named("threat", "t1"): 0xb51f351921842de9, identity.Named("threatt1"): 0x83f8942d8cf20db6, identity.Named(): 0xe3b0c44298fc1c14,
		identity.Mix(1, 2): 0x8c7654ecfd7b0b62, identity.Mix(2, 1): 0x705be1047ba534f1, identity.Mix(1<<40, 1<<63): 0x48ee565ce81d1dab,
	} {
		if got != want {
			t.Errorf("got %#x, want %#x", got, want)
		}
	}
}

// TestTheIDOfARowIsFound, the last of them, and nothing that only looks like one.
func TestTheIDOfARowIsFound(t *testing.T) {
	t.Parallel()
	const id, key = "0123456789abcdef9876543210fedcba", `"@tapline_id":"`
	for row, want := range map[string]string{
		key + id + `"`: id, `{"a":1,` + key + id + `"}`: id, `{` + key + strings.Repeat("f", 32) + `",` + key + id + `"}`: id,
		`{"a":"\"@tapline_id\":\"` + strings.Repeat("0", 32) + `\"",` + key + id + `"}`: id,
		`{}`: "", `{` + key + id: "", `{` + key + id[1:] + `"}`: "", `{` + key + id + `0"}`: "", `{` + key + `"}`: "",
		`{` + key + id[1:] + `g"}`: "", `{` + key + id[1:] + `G"}`: "", `{` + key + id[1:] + `A"}`: "", `{` + key + id[1:] + `/"}`: "", `{` + key + id[1:] + `:"}`: "", `{` + key + id[1:] + "`" + `"}`: "",
	} {
		if got, ok := identity.FindTaplineID([]byte(row)); string(got) != want || ok != (want != "") {
			t.Errorf("%s has %q, %t; want %q", row, got, ok, want)
		}
	}
}
