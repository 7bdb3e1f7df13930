package proofpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
)

// Evidence is what the answer of a SIEM call says about its own completeness. It judges nothing:
// see [Evidence.Flaw]. The zero value proves nothing.
type Evidence struct {
	Present   []feed.Feed // arrays that were asked for and are there, as array or null
	Missing   []feed.Feed // arrays that were asked for and are not there
	QueryEnd  time.Time   // queryEndTime, the earliest if there are several; zero if absent or not understood
	EndText   string      // queryEndTime as spelled, if it is there and not understood
	ErrorText string      // value of a member that says error; printable, bounded
	Others    []string    // keys of arrays that were not asked for; printable, bounded
	NoContent bool        // status 204 without a body: the window is empty
}

// Bounds of what is kept of an answer's own words.
const (
	maxWords  = 300 // bytes of a sentence or value
	maxKey    = 64  // bytes of a key
	maxOthers = 8
)

// rounding is how far queryEndTime may lie before the end that was asked for: the API rounds to
// seconds.
const rounding = time.Second

// FlawKind says which piece of evidence an answer lacks.
type FlawKind string

// The kinds, the worst first.
const (
	ErrorMember   FlawKind = "error-member"    // a member says error
	MissingArray  FlawKind = "missing-array"   // an array that was asked for is not there
	NoQueryEnd    FlawKind = "no-query-end"    // queryEndTime is absent or not understood
	EarlyQueryEnd FlawKind = "early-query-end" // queryEndTime lies before the end asked for
)

// Flaw says why an answer does not prove that its window was read.
type Flaw struct {
	Kind      FlawKind
	Detail    string      // for people, one line
	Feeds     []feed.Feed // that are missing
	ProvenEnd time.Time   // the window is proven up to this whole second; zero if nothing of it is
}

// Shape is equal for answers that lack the same piece of evidence, whatever their windows.
func (f *Flaw) Shape() string {
	return strings.Join(append([]string{string(f.Kind)}, feed.Names(f.Feeds)...), " ")
}

// String is one line for an alarm.
func (f *Flaw) String() string { return string(f.Kind) + ": " + f.Detail }

// Flaw is the worst flaw of the evidence that the window was read; nil if it is proven.
func (e Evidence) Flaw(w window.Window) *Flaw {
	switch {
	case e.ErrorText != "":
		return &Flaw{Kind: ErrorMember, Detail: fmt.Sprintf("the answer says error: %q", e.ErrorText)}
	case e.NoContent:
		return nil
	case len(e.Missing) > 0 || len(e.Present) == 0:
		return &Flaw{Kind: MissingArray, Detail: e.missing(), Feeds: e.Missing}
	case e.EndText != "":
		return &Flaw{Kind: NoQueryEnd, Detail: fmt.Sprintf("queryEndTime is %q, which is no time", e.EndText)}
	case e.QueryEnd.IsZero():
		return &Flaw{Kind: NoQueryEnd, Detail: "queryEndTime is missing"}
	case !e.QueryEnd.Before(w.End.Add(-rounding)):
		return nil
	}
	flaw := &Flaw{Kind: EarlyQueryEnd, Detail: fmt.Sprintf("queryEndTime is %s, %s before the end asked for",
		e.QueryEnd.Format(time.RFC3339Nano), w.End.Sub(e.QueryEnd))}
	if proven := e.QueryEnd.Truncate(time.Second); proven.After(w.Start) {
		flaw.ProvenEnd = proven
	}
	return flaw
}

func (e Evidence) missing() string {
	text := "missing: " + strings.Join(feed.Names(e.Missing), ", ")
	if len(e.Others) > 0 {
		text += fmt.Sprintf("; not asked for: %q", e.Others)
	}
	return text
}

func (e *Evidence) present(f feed.Feed) {
	if !slices.Contains(e.Present, f) {
		e.Present = append(e.Present, f)
	}
}

// end takes a value of queryEndTime. Of several the worst counts: one that is not understood, or
// the earliest.
func (e *Evidence) end(value []byte) error {
	at, ok := endTime(value)
	switch {
	case !ok && !jsontext.Value(value).IsValid(lenient...):
		return fmt.Errorf("%w: %s %.60q", errMalformed, endKey, value)
	case !ok:
		e.QueryEnd, e.EndText = time.Time{}, words(value, maxWords)
	case e.EndText == "" && (e.QueryEnd.IsZero() || at.Before(e.QueryEnd)):
		e.QueryEnd = at
	}
	return nil
}

// endTime understands RFC 3339 with any fraction and offset, the offset with a colon or without.
func endTime(value []byte) (time.Time, bool) {
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return time.Time{}, false
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700"} {
		if at, err := time.Parse(layout, string(text)); err == nil && !at.IsZero() {
			return at.UTC(), true
		}
	}
	return time.Time{}, false
}

// member takes a member that is neither an array of records nor queryEndTime, whole with its key,
// and looks for anything in it that says error. It has to be valid.
func (e *Evidence) member(key, value []byte) error {
	d := jsontext.NewDecoder(io.MultiReader(strings.NewReader("{"), bytes.NewReader(key), strings.NewReader(":"), bytes.NewReader(value), strings.NewReader("}")), lenient...)
	for {
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && token.Kind() == '"' && says(token.String()) {
			err = e.error(d, token.String())
		}
		if err != nil {
			return fmt.Errorf("%w: member %.60q: %w", errMalformed, key, err)
		}
	}
}

// error takes a key or text that says error; a key does not if its value is that there is none.
func (e *Evidence) error(d *jsontext.Decoder, text string) error {
	if kind, n := d.StackIndex(d.StackDepth()); kind == '{' && n%2 == 1 {
		value, err := d.ReadValue()
		if err != nil || saysNothing(value) {
			return err
		}
		text += ": " + string(value[:min(len(value), maxWords)])
	}
	if e.ErrorText == "" {
		e.ErrorText = words([]byte(text), maxWords)
	}
	return nil
}

// other takes the key of an array that was not asked for.
func (e *Evidence) other(key string) {
	if name := printable([]byte(key[:min(len(key), maxKey)])); len(e.Others) < maxOthers && !slices.Contains(e.Others, name) {
		e.Others = append(e.Others, name)
	}
}

// finish reports which arrays are missing.
func (e *Evidence) finish(asked map[string]feed.Feed) {
	for _, f := range asked {
		if !slices.Contains(e.Present, f) {
			e.Missing = append(e.Missing, f)
		}
	}
	slices.Sort(e.Present)
	slices.Sort(e.Missing)
}

func says(text string) bool { return strings.Contains(strings.ToLower(text), "error") }

// saysNothing reports whether a value means that there is nothing to say.
func saysNothing(value []byte) bool {
	return slices.Contains([]string{"null", "false", "0", `""`, "{}", "[]"}, string(bytes.Join(bytes.Fields(value), nil)))
}

// words makes a piece of an answer fit for one line of an alarm.
func words(value []byte, most int) string {
	return printable(value[:min(len(value), most)])
}
