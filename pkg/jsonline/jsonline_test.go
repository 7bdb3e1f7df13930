package jsonline_test

import (
	"bytes"
	"testing"
	"unicode/utf8"

	"github.com/tapline/tapline/pkg/jsonline"
)

func TestAppend(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"a":1.0}`:               `{"a":1.0}`,
		"{\n\t\"a\" : \"é\"\r\n}": `{"a" : "é"}`,
		"{\"a\":\"\xff\xfeb\"}":   "{\"a\":\"\uFFFD\uFFFDb\"}",
		`{"a":"\u0000\n"}`:        `{"a":"\u0000\n"}`,
		"":                        "",
	} {
		if got := string(jsonline.Append(nil, []byte(in))); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func FuzzAppend(f *testing.F) {
	f.Add([]byte("{\"a\":\"\x01\xff\",\n\"b\":[1]}"))
	f.Add([]byte("0123456\x1f"))
	f.Add([]byte("01234567\x1f")) // in the bytes behind the last eight
	f.Add([]byte("01234567x"))    // nothing special to the end
	f.Add([]byte("some text of ünusual length\\\""))
	f.Fuzz(func(t *testing.T, text []byte) {
		slow := false
		for _, b := range text {
			slow = slow || b < ' '
		}
		if jsonline.HasControl(text) != slow {
			t.Fatalf("HasControl(%q) = %t", text, !slow)
		}
		special := bytes.IndexFunc(text, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' })
		if special < 0 {
			special = len(text)
		}
		if got := jsonline.Special(text); got != special {
			t.Fatalf("Special(%q) = %d, want %d", text, got, special)
		}
		line := jsonline.Append(nil, text)
		if jsonline.HasControl(line) || !utf8.Valid(line) {
			t.Fatalf("%q becomes %q", text, line)
		}
		if !slow && utf8.Valid(text) && !bytes.Equal(line, text) {
			t.Fatalf("%q was changed to %q", text, line)
		}
	})
}
