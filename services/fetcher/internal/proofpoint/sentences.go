package proofpoint

import (
	"net/http"
	"strings"
	"unicode"
)

// sentences are how the bodies of status 400 begin, as observed on the live API.
// What they say about an interval that is too long was never observed.
var sentences = []struct {
	prefix string
	kind   Kind
}{
	{"the requested start time is too far into the past", TooFarPast},
	{"the sincetime parameter gives a time too far into the past", TooFarPast},
	{"the requested interval is too short", TooShort},
	{"the requested interval is too long", TooLong},
	{"the requested interval is still current", StillCurrent},
}

// classify says what an answer other than 200 means.
func classify(status int, sentence string) Kind {
	switch {
	case status == http.StatusBadRequest && sentence == "":
		return EndBeforeStart
	case status == http.StatusBadRequest:
		lower := strings.ToLower(sentence)
		for _, s := range sentences {
			if strings.HasPrefix(lower, s.prefix) {
				return s.kind
			}
		}
		return BadRequest
	case status == http.StatusUnauthorized:
		return BadCredentials
	case status == http.StatusForbidden:
		return Forbidden
	case status == http.StatusNotFound:
		return NotFound
	case status == http.StatusTooManyRequests:
		return TooManyRequests
	case status >= http.StatusInternalServerError:
		return ServerError
	}
	return Unexpected
}

// printable makes the beginning of a body fit for a log line.
func printable(body []byte) string {
	text := strings.ToValidUTF8(string(body), "")
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}
