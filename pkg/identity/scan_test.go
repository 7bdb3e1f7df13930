package identity

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

// unquoted is the text of a string that hashes have been made of from the beginning: as it is
// written if nothing in it is escaped, otherwise as jsontext unquotes it, which replaces bytes that
// are not UTF-8.
func unquoted(quoted []byte) []byte {
	if !bytes.Contains(quoted, []byte{'\\'}) {
		return quoted[1 : len(quoted)-1]
	}
	text, _ := jsontext.AppendUnquote([]byte(nil), quoted)
	return text
}

// checkString reads a string twice, as there are several in a record.
func checkString(t interface {
	Helper()
	Fatalf(string, ...any)
}, quoted []byte,
) {
	t.Helper()
	want := unquoted(quoted)
	var s scanner
	s.reset(append(bytes.Clone(quoted), quoted...))
	first, err := s.str()
	second, errAgain := s.str()
	if err != nil || errAgain != nil || s.pos != len(s.text) {
		t.Fatalf("%q: %v, %v, up to byte %d", quoted, err, errAgain, s.pos)
	}
	if !bytes.Equal(first, want) || !bytes.Equal(second, want) {
		t.Fatalf("%q is read as %q, then as %q, want %q", quoted, first, second, want)
	}
}

// TestStringsAreReadAsByJsontext: what is unescaped on the way is what jsontext makes of it.
func TestStringsAreReadAsByJsontext(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{
		`\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0000`, `\u00e9`, `\uD83D`, `\ude00`, `\ud83d\ude00`,
		"x", "some words", "é", "日本", "\xc3", "\xa9", "\xf0\x9f", "\x98\x80", "\xff", "\xed\xa0\x80", "\uFFFD", "/", "'",
	})
	rapid.Check(t, func(t *rapid.T) {
		checkString(t, []byte(`"`+strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "")+`"`))
	})
}

func FuzzString(f *testing.F) {
	for _, text := range []string{"", "x", `a\"b\\c\/d`, `\b\f\n\r\té`, "\\n\xff", "\xc3\\n\xa9", `\ud83d\ude00\n`, `\n\ud83d\n`, `\u12G4`, `\x`, "\t", `"`, `\`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		quoted := append(append([]byte{'"'}, text...), '"')
		if jsontext.Value(quoted).IsValid(jsontext.AllowInvalidUTF8(true)) {
			checkString(t, quoted)
			return
		}
		s := scanner{text: quoted}
		if got, err := s.str(); err == nil && s.pos == len(quoted) {
			t.Fatalf("%q is read as %q", quoted, got)
		}
	})
}
