package printable_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/tapline/tapline/pkg/printable"
)

func TestForeignTextOnlyPrints(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain, häßlich, 漢字, \U0001f600":   "plain, häßlich, 漢字, \U0001f600",
		"\x1b[2J\x1b]0;title\a":            `\u001b[2J\u001b]0;title\u0007`,
		"c1 \u009b31m":                     `c1 \u009b31m`,
		"bytes \x9b31m \xff":               `bytes \ufffd31m \ufffd`,
		"a\nALARMS: 0\tb\rc\x7f":           `a\u000aALARMS: 0\u0009b\u000dc\u007f`,
		"invoice\u202efdp.exe\u2066\u200b": `invoice\u202efdp.exe\u2066\u200b`,
		"line\u2028end \ufeff":             `line\u2028end \ufeff`,
		"tag \U000e0041":                   `tag \udb40\udc41`,
		`backslash \u001b`:                 `backslash \u001b`,
	} {
		if got := printable.Line(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	got := printable.Sprintf("%s|%-5s|%v|%q|%d|%*d", "a\nb", "\x1b", errors.New("c\td"), "e\x1b", 7, 3, 1)
	if want := `a\u000ab|\u001b    |c\u0009d|"e\x1b"|7|  1`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// harmless reports whether a terminal only shows the text.
func harmless(text, pass string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return !strings.ContainsRune(pass, r) && (unicode.Is(unicode.C, r) || unicode.In(r, unicode.Zl, unicode.Zp))
	})
}

// TestNothingThatActsPassesAWriter: whatever is written and however it is cut, a terminal only
// shows it, and JSON means the same.
func TestNothingThatActsPassesAWriter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
		var whole, cut bytes.Buffer
		_, err := printable.NewWriter(&whole).Write([]byte(text))
		_, err2 := io.Copy(struct{ io.Writer }{printable.NewWriter(&cut)}, iotest.OneByteReader(strings.NewReader(text)))
		if err != nil || err2 != nil || whole.String() != cut.String() || !harmless(whole.String(), "\n\t") || !harmless(printable.Line(text), "") {
			t.Fatalf("%q becomes %q, in pieces %q: %v, %v", text, &whole, &cut, err, err2)
		}
		encoded, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var meant, means string
		if err := errors.Join(json.Unmarshal(encoded, &meant), json.Unmarshal([]byte(printable.Line(string(encoded))), &means)); err != nil || means != meant {
			t.Fatalf("%q means %q after it: %v", meant, means, err)
		}
	})
}
