// Package jsonline makes JSON text fit for one line of a syslog stream: no byte
// below 0x20, valid UTF-8, and otherwise not a byte changed.
package jsonline

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Append appends JSON text as one line. Valid JSON has control characters only
// between tokens, where they may go; bytes that are not UTF-8 become U+FFFD.
func Append(dst, text []byte) []byte {
	if Clean(text) {
		return append(dst, text...)
	}
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n <= 1:
			dst = utf8.AppendRune(dst, utf8.RuneError)
		case r >= ' ':
			dst = append(dst, text[:n]...)
		}
		text = text[n:]
	}
	return dst
}

// Clean reports whether text can stand in a line as it is.
func Clean(text []byte) bool { return !HasControl(text) && utf8.Valid(text) }

// HasControl reports whether any byte is below 0x20, eight at a time.
func HasControl(text []byte) bool {
	const high, low = 0x8080808080808080, 0x2020202020202020
	for ; len(text) >= 8; text = text[8:] {
		word := binary.LittleEndian.Uint64(text)
		// A borrow reaches the top bit of a byte below 0x20 whose own top bit is clear.
		if (word-low)&^word&high != 0 {
			return true
		}
	}
	for _, b := range text {
		if b < ' ' {
			return true
		}
	}
	return false
}

// Special finds the first byte that ends or interrupts the text of a JSON string: a quote, a
// backslash, or a byte below 0x20. It returns len(text) if there is none.
func Special(text []byte) int {
	const (
		ones = 0x0101010101010101
		high = 0x80 * ones
	)
	i := 0
	for ; i+8 <= len(text); i += 8 {
		word := binary.LittleEndian.Uint64(text[i:])
		quote, slash := word^'"'*ones, word^'\\'*ones
		// As in HasControl; the lowest of the marked bytes is exact, those above it may be marked
		// by a borrow. All three have the top bits of word, as those of a quote and a backslash are
		// clear.
		if found := ((word - ' '*ones) | (quote - ones) | (slash - ones)) &^ word & high; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(text); i++ {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' {
			return i
		}
	}
	return i
}
