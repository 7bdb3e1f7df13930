package enricher

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// appendRow appends the record as one line with the added keys before its last
// brace. It reports false when the record is not an object.
func (e *Enricher) appendRow(dst, record []byte, pullID string, taplineID []byte) ([]byte, bool) {
	record = bytes.TrimSpace(record)
	if len(record) < 2 || record[0] != '{' || record[len(record)-1] != '}' {
		return dst, false
	}
	dst = appendLine(dst, record[:len(record)-1])
	empty := len(bytes.TrimSpace(record[1:len(record)-1])) == 0
	if e.cfg.PullID {
		dst = append(separate(dst, empty), `"@devo_pulling_id":"`...)
		dst, empty = append(append(dst, pullID...), '"'), false
	}
	if e.cfg.TaplineID {
		dst = append(separate(dst, empty), `"@tapline_id":"`...)
		dst = append(append(dst, taplineID...), '"')
	}
	return append(dst, '}'), true
}

func separate(dst []byte, empty bool) []byte {
	if empty {
		return dst
	}
	return append(dst, ',')
}

// appendLine appends JSON text so that it can stand in one line of syslog.
// Valid JSON has control characters only between tokens, where they may go.
func appendLine(dst, text []byte) []byte {
	if !hasControl(text) && utf8.Valid(text) {
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

// hasControl reports whether any byte is below 0x20, eight at a time.
func hasControl(text []byte) bool {
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
