// Package printable keeps foreign text from acting on a terminal. Mail subjects, certificates,
// answers of a peer and file names may hold control sequences, marks that turn the direction of
// text, or bytes that are no text. Here they become visible escapes.
//
// A program writes to the terminal through a [Writer]: whatever a command prints passes it. Line
// breaks and tabs pass a Writer, so single values go through [Line] or [Fprintf], in which they are
// escaped as well: a value cannot forge a line or a column.
//
// An escape has the form of JSON (\u001b), and bytes that are not UTF-8 become \ufffd. JSON that
// passes stays the same JSON.
package printable

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// Line gives s as one line that only prints.
func Line(s string) string {
	if !strings.ContainsFunc(s, acts) {
		return s
	}
	return string(appendText(nil, s, ""))
}

// acts reports whether a character does something else than appear. Invalid UTF-8 is seen as
// utf8.RuneError.
func acts(r rune) bool { return !unicode.IsGraphic(r) || r == utf8.RuneError }

// appendText appends s with all escaped that acts, but for the characters in pass.
func appendText[T string | []byte](dst []byte, s T, pass string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if (c >= ' ' && c != 0x7f) || strings.IndexByte(pass, c) >= 0 {
				dst = append(dst, c)
			} else {
				dst = fmt.Appendf(dst, `\u%04x`, c)
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		switch {
		case !acts(r):
			dst = append(dst, s[i:i+size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, high, low)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		i += size
	}
	return dst
}

// value prints as the value in it does, on one line.
type value struct{ any }

// Format implements fmt.Formatter.
func (v value) Format(s fmt.State, verb rune) {
	_, _ = io.WriteString(s, Line(fmt.Sprintf(fmt.FormatString(s, verb), v.any))) // a State takes everything
}

// Sprintf is fmt.Sprintf with all values made lines.
func Sprintf(format string, args ...any) string { return fmt.Sprintf(format, values(args)...) }

// Fprintf is fmt.Fprintf with all values made lines.
func Fprintf(w io.Writer, format string, args ...any) (int, error) {
	return fmt.Fprintf(w, format, values(args)...)
}

func values(args []any) []any {
	safe := make([]any, len(args))
	for i, arg := range args {
		switch arg.(type) {
		case bool, int, int32, int64, uint32, uint64, float64: // no text; a width must stay an int
			safe[i] = arg
		default:
			safe[i] = value{arg}
		}
	}
	return safe
}

// Writer escapes what is written to it, but for line breaks and tabs.
type Writer struct {
	raw  io.Writer
	rest []byte // the beginning of a character whose end is not written yet
	buf  []byte
}

// NewWriter gives a writer that escapes all that it hands to w.
func NewWriter(w io.Writer) *Writer {
	if safe, ok := w.(*Writer); ok {
		return safe
	}
	return &Writer{raw: w}
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	text := append(w.rest, p...)
	whole := len(text)
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if tail := text[len(text)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				whole = len(text) - n
			}
			break
		}
	}
	w.buf = appendText(w.buf[:0], text[:whole], "\n\t")
	w.rest = append(w.rest[:0], text[whole:]...)
	if _, err := w.raw.Write(w.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Raw gives the writer below a [Writer], for those few that draw on a terminal. test/repo/arch
// lists them.
func Raw(w io.Writer) io.Writer {
	if safe, ok := w.(*Writer); ok {
		return safe.raw
	}
	return w
}

// Terminal reports whether w, or what is below it, is a terminal.
func Terminal(w io.Writer) bool {
	f, ok := Raw(w).(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// OnTerminal escapes only if w is a terminal: files and pipes get raw records as they are.
func OnTerminal(w io.Writer) io.Writer {
	if Terminal(w) {
		return NewWriter(w)
	}
	return w
}
