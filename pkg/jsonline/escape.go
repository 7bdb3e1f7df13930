package jsonline

import "fmt"

// AppendEscaped appends JSON text whose strings hold raw control characters, which JSON does not
// allow, with those escaped. All other bytes stay as they are, so that valid JSON does not change.
// What is behind a backslash stays, too: an escape that begins with a control character says
// nothing, and the text stays invalid.
func AppendEscaped(dst, text []byte) []byte {
	inside := false
	for len(text) > 0 {
		n := Special(text)
		dst, text = append(dst, text[:n]...), text[n:]
		if len(text) == 0 {
			break
		}
		c, length := text[0], 1
		switch {
		case c == '"':
			inside = !inside
		case !inside:
		case c == '\\':
			length = min(2, len(text))
		default:
			dst = fmt.Appendf(dst, `\u%04x`, c)
			text = text[1:]
			continue
		}
		dst, text = append(dst, text[:length]...), text[length:]
	}
	return dst
}
