package jsonline_test

import (
	"bytes"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tapline/tapline/pkg/jsonline"
)

func TestControlCharactersInStringsAreEscaped(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                  "",
		"{\"a\":\"two\nlines\"}":            `{"a":"two\u000alines"}`,
		"{\"a\x00\":\"\x1f\"}":              `{"a\u0000":"\u001f"}`,
		"{\n\t\"a\" :\r\n\"\\\"\t\\\\\"\n}": "{\n\t\"a\" :\r\n\"\\\"\\u0009\\\\\"\n}",
		"{\"a\":\"\\\n\"}":                  "{\"a\":\"\\\n\"}", // an escape of nothing
		"{\"a\":\"\\":                       "{\"a\":\"\\",
		"{\"bad utf8\":\"\xff\t\x7f\"}":     "{\"bad utf8\":\"\xff\\u0009\x7f\"}",
		"\"no end\t":                        `"no end\u0009`,
	} {
		if got := jsonline.AppendEscaped([]byte("> "), []byte(text)); string(got) != "> "+want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// FuzzAppendEscaped holds the outcome against jsontext: valid text stays as it is, and text that is
// valid but for one control character in a string says the same string, with the character in it.
func FuzzAppendEscaped(f *testing.F) {
	for _, seed := range []string{`{"a":"b\"c\\","d":[1,"é\u00e9"]}`, `"x"`, "[\n\"\",\t{}]", `"\`} {
		f.Add([]byte(seed), byte('\n'), 7)
	}
	lenient := []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
	f.Fuzz(func(t *testing.T, text []byte, control byte, at int) {
		got := jsonline.AppendEscaped(nil, text)
		if again := jsonline.AppendEscaped(nil, got); !bytes.Equal(got, again) {
			t.Fatalf("%q becomes %q and then %q", text, got, again)
		}
		if jsontext.Value(text).IsValid(lenient...) && !bytes.Equal(got, text) {
			t.Fatalf("%q is valid and becomes %q", text, got)
		}
		if at < 0 || at > len(text) || control >= ' ' {
			return
		}
		// In the middle of a string, and not behind a backslash.
		quoted, err := jsontext.AppendQuote(nil, bytes.ToValidUTF8(text[:at], nil))
		if err != nil {
			t.Fatal(err)
		}
		broken := append(append(quoted[:len(quoted)-1:len(quoted)-1], control), '"')
		said, err := jsontext.AppendUnquote(nil, jsonline.AppendEscaped(nil, broken))
		if want := append(bytes.ToValidUTF8(text[:at], nil), control); err != nil || !bytes.Equal(said, want) {
			t.Fatalf("%q says %q, want %q: %v", broken, said, want, err)
		}
	})
}
