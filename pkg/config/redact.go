package config

import (
	"regexp"
	"strconv"
	"strings"
)

// Where secrets stand in mistyped addresses. What is wrong with them may be the very scheme, so
// they are not parsed: everything between the scheme and the last @, behind ? or #, and in the
// place of a port may be one.
var (
	userinfo = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*:/*|//)?.*@`)
	query    = regexp.MustCompile(`[?#].*`)
	port     = regexp.MustCompile(`(//[^/\[\]]*|//\[[^\]]*\]):([0-9]*[^0-9/,\]][^/,]*)|^([^:/\[\]]+):([^0-9/:][^/,]*)`)
	// token is what chance makes: long, of letters and digits in one piece, as keys and tokens are
	// and words are not.
	token = regexp.MustCompile(`[A-Za-z0-9+_=~!-]{16,}`)
	run   = regexp.MustCompile(`[A-Za-z0-9]{16,}`)
	named = regexp.MustCompile(`[/\\]|\.[A-Za-z]{2,5}$`)
)

// RedactAddress hides what may be a secret in a value that is, or was meant to be, an address.
func RedactAddress(value string) string {
	value = userinfo.ReplaceAllString(value, "${1}"+Redacted+"@")
	value = query.ReplaceAllStringFunc(value, func(found string) string { return found[:1] + Redacted })
	value = port.ReplaceAllString(value, "${1}${3}:"+Redacted)
	return redactTokens(value)
}

// redactTokens hides what looks as if chance had made it: a token that was put into the wrong
// variable, or into a path.
func redactTokens(value string) string {
	return token.ReplaceAllStringFunc(value, func(found string) string {
		piece := run.FindString(found)
		if piece == "" || !strings.ContainsAny(piece, "0123456789") || strings.Trim(piece, "0123456789") == "" {
			return found
		}
		return Redacted
	})
}

// shown is a value as it may be printed. A file's name that looks like none is a secret in its
// place.
func shown(variable, value string) string {
	if strings.HasSuffix(variable, "_FILE") && !named.MatchString(value) {
		return Redacted
	}
	return RedactAddress(value)
}

// shownIn hides in a reason what is hidden in the value it is about. Reasons quote the value, one
// of a list, or a part.
func shownIn(reason, variable, value string) string {
	for _, piece := range append([]string{value}, strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })...) {
		safe := shown(variable, piece)
		if safe == piece {
			continue
		}
		quoted := strconv.Quote(piece)
		reason = strings.ReplaceAll(reason, quoted[1:len(quoted)-1], safe)
		reason = strings.ReplaceAll(reason, piece, safe)
	}
	if shown(variable, value) != value {
		reason = redactTokens(reason)
	}
	return reason
}
