package identity

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// Text finds a member of a JSON object by its path and gives its text: that of a string
// without quotes and escapes, that of a number as it is written. It is empty when there is no
// such member, or the member is neither.
func Text(record []byte, path ...string) string {
	d := jsontext.NewDecoder(bytes.NewBuffer(record), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for len(path) > 0 {
		if !enter(d, path[0]) {
			return ""
		}
		path = path[1:]
	}
	token, err := d.ReadToken()
	if err != nil || (token.Kind() != '"' && token.Kind() != '0') {
		return ""
	}
	return token.String()
}

// enter reads up to the value of a member.
func enter(d *jsontext.Decoder, name string) bool {
	if token, err := d.ReadToken(); err != nil || token.Kind() != '{' {
		return false
	}
	for {
		key, err := d.ReadToken()
		if err != nil || key.Kind() != '"' {
			return false
		}
		if key.String() == name {
			return true
		}
		if d.SkipValue() != nil {
			return false
		}
	}
}
