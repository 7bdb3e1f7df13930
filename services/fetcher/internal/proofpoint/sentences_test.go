package proofpoint

import (
	"strings"
	"testing"
)

// TestSentencesSayWhatTheySay, in any case and with other words around, and no more than that.
func TestSentencesSayWhatTheySay(t *testing.T) {
	t.Parallel()
	for sentence, want := range map[string]Kind{
		"The requested start time is too far into the past. Requests for information up to 7.00d are accepted": TooFarPast,
		"The sinceTime parameter gives a time too far into the past":                                           TooFarPast,
		"start is too far in the past": TooFarPast,
		"The requested interval is too short. Requests must be for at least 30.00s of data": TooShort,
		`{"message":"The requested interval is too short."}`:                                TooShort,
		"The requested interval is too long.":                                               TooLong,
		"Interval too large":                                                                TooLong,
		"the interval may not be longer than one hour":                                      TooLong,
		"The requested interval is still current.":                                          StillCurrent,
		"The interval ends in the future":                                                   StillCurrent,

		"": BadRequest,
		"<html><title>400</title>The requested interval is too long</html>": BadRequest,
		"Request-URI Too Long":                                         BadRequest,
		"Request header or cookie too large":                           BadRequest,
		"The maximum number of requests in this interval was exceeded": BadRequest,
		"Missing parameter: interval":                                  BadRequest,
		"The requested interval is too short or too long":              BadRequest,
		"Your certificate was issued too far in advance":               BadRequest,
	} {
		for _, s := range []string{sentence, strings.ToUpper(sentence)} {
			if got := classify(400, s); got != want {
				t.Errorf("%q: %s, want %s", s, got, want)
			}
		}
	}
}
