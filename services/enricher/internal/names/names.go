// Package names finds the threats and campaigns that records name.
//
// Records are foreign text: keys are compared without regard to case, since Proofpoint
// spells threatID and campaignID in more than one way, and what has another
// shape than expected is passed over. Only a text that is not JSON is an error.
package names

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Threat is a threat as one record names it.
type Threat struct {
	ID, Status, Campaign string // empty when the record does not say
}

// Record is what one record names.
type Record struct {
	Threats    []Threat
	Recipients []string
	More       bool // it names more than are listed: see the bounds
}

// Bounds of what one record names. Each name takes many times the memory of its text, and a call.
const (
	MaxThreats    = 256
	maxRecipients = 10_000
	maxMembers    = 20_000
	maxEmails     = 100
	maxStatus     = 64 // bytes; what is longer is no status
)

var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// reader walks over one JSON text.
type reader struct{ d *jsontext.Decoder }

func read(text []byte) reader { return reader{jsontext.NewDecoder(bytes.NewBuffer(text), lenient...)} }

// members visits the members of the object that is next; another value is passed over.
// visit reads the value.
func (r reader) members(visit func(key string) error) error {
	if r.d.PeekKind() != '{' {
		return r.skip()
	}
	if _, err := r.d.ReadToken(); err != nil {
		return wrap(err)
	}
	for {
		token, err := r.d.ReadToken()
		if err != nil {
			return wrap(err)
		}
		if token.Kind() == '}' {
			return nil
		}
		if err := visit(strings.ToLower(token.String())); err != nil {
			return err
		}
	}
}

// elements visits the elements of the array that is next, or the value itself if it is none.
func (r reader) elements(visit func() error) error {
	if r.d.PeekKind() != '[' {
		return visit()
	}
	if _, err := r.d.ReadToken(); err != nil {
		return wrap(err)
	}
	for r.d.PeekKind() != ']' {
		if err := visit(); err != nil {
			return err
		}
	}
	_, err := r.d.ReadToken()
	return wrap(err)
}

// text reads the value that is next if it is a string, and passes over it if not.
func (r reader) text(dst *string) error {
	if r.d.PeekKind() != '"' {
		return r.skip()
	}
	token, err := r.d.ReadToken()
	if err == nil {
		*dst = token.String()
	}
	return wrap(err)
}

func (r reader) skip() error { return wrap(r.d.SkipValue()) }

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("find names: %w", err)
	}
	return nil
}

// In finds what a click or message names.
func In(record []byte) (Record, error) {
	r := read(record)
	var out Record
	var own Threat // of a click
	err := r.members(func(key string) error {
		switch key {
		case "threatsinfomap":
			return r.elements(func() error {
				var t Threat
				err := r.members(func(key string) error { return r.threat(key, &t) })
				out.add(t)
				return err
			})
		case "recipient":
			return r.elements(func() error {
				var one string
				err := r.text(&one)
				if one != "" && len(out.Recipients) < maxRecipients {
					out.Recipients = append(out.Recipients, one)
				}
				return err
			})
		}
		return r.threat(key, &own)
	})
	out.add(own)
	return out, err
}

// add lists a threat that has a name.
func (r *Record) add(t Threat) {
	switch {
	case t.ID == "":
	case len(r.Threats) >= MaxThreats:
		r.More = true
	default:
		if len(t.Status) > maxStatus {
			t.Status = ""
		}
		r.Threats = append(r.Threats, t)
	}
}

func (r reader) threat(key string, t *Threat) error {
	switch key {
	case "threatid":
		return r.text(&t.ID)
	case "threatstatus":
		return r.text(&t.Status)
	case "campaignid":
		return r.text(&t.Campaign)
	}
	return r.skip()
}

// Members lists the ids of the threats of a campaign's detail.
func Members(detail []byte) ([]string, error) {
	r := read(detail)
	var ids []string
	err := r.members(func(key string) error {
		if key != "campaignmembers" {
			return r.skip()
		}
		return r.elements(func() error {
			var id string
			err := r.members(func(key string) error {
				if key == "id" {
					return r.text(&id)
				}
				return r.skip()
			})
			if id != "" && len(ids) < maxMembers {
				ids = append(ids, id)
			}
			return err
		})
	})
	return ids, err
}

// Emails lists the addresses of a person.
func Emails(person []byte) ([]string, error) {
	r := read(person)
	var list []string
	err := r.members(func(key string) error {
		if key != "identity" {
			return r.skip()
		}
		return r.members(func(key string) error {
			if key != "emails" {
				return r.skip()
			}
			return r.elements(func() error {
				var one string
				err := r.text(&one)
				if one != "" && len(list) < maxEmails {
					list = append(list, one)
				}
				return err
			})
		})
	})
	return list, err
}
