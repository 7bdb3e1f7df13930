package proofpoint

import (
	"net/http"
	"strings"
	"unicode"
)

// sentences are the words of a body of status 400 that make a kind, all of them or none. They are
// the core of what was observed on the live API, and of what others may make of it. Words for an
// interval that is too long were never observed.
var sentences = []struct {
	kind  Kind
	words []string
}{
	{TooFarPast, []string{"too far", "past"}},
	{TooFarPast, []string{"start", "too old"}},
	{TooShort, []string{"interval", "too short"}},
	{TooLong, []string{"interval", "too long"}},
	{TooLong, []string{"interval", "too large"}},
	{TooLong, []string{"interval", "longer than"}},
	{StillCurrent, []string{"interval", "still current"}},
	{StillCurrent, []string{"interval", "in the future"}},
}

// understand says what the body of status 400 says. A page is none of Proofpoint's, and a sentence
// that says two things says nothing.
func understand(sentence string) Kind {
	kind := BadRequest
	if strings.HasPrefix(sentence, "<") {
		return kind
	}
	lower := strings.ToLower(sentence)
	for _, s := range sentences {
		if !containsAll(lower, s.words) {
			continue
		}
		if kind != BadRequest && kind != s.kind {
			return BadRequest
		}
		kind = s.kind
	}
	return kind
}

func containsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// classify says what an answer other than 200 means.
func classify(status int, sentence string) Kind {
	switch {
	case status == http.StatusBadRequest:
		return understand(sentence)
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
	case status >= http.StatusOK && status < http.StatusMultipleChoices:
		return Odd
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
