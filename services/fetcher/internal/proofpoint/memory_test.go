package proofpoint

import (
	"bytes"
	"io"
	"testing"

	"github.com/tapline/tapline/pkg/alloctest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
)

// What reading a body takes in all, whatever is in it: fixed bytes, for buffers, and a multiple of
// the body.
const (
	memoryFixed  = 2 << 20
	memoryFactor = 64
)

// FuzzMemory repeats a piece of a body, as one who wants to use up memory does.
func FuzzMemory(f *testing.F) {
	const array = `{"clicksBlocked":[`
	for begin, piece := range map[string]string{
		array: "[", array + `{"a":`: "[", array + `{"id":"a","x":`: `{"a":`, array + " ": "{},", array + "  ": "1,", array + `{"GUID":"a","recipient":[`: `"",`,
		array + `{"actors":[`: `"\u0061",`, array + `{"a":"`: "a", "{": `"a":1,`, `{"`: "a", `{"users":[`: `{"a":1},`, `{"x":[`: "[],", `{"error":`: "[", "": " ",
	} {
		f.Add([]byte(begin), []byte(piece), uint(1<<16), []byte(`"]}]}`))
		f.Add([]byte(begin), []byte(piece), uint(1<<16), []byte(``))
	}
	f.Fuzz(func(t *testing.T, begin, piece []byte, times uint, end []byte) {
		if len(piece) > 0 {
			begin = append(begin, bytes.Repeat(piece, int(times%uint(1+(1<<19)/len(piece))))...)
		}
		text := append(begin, end...)
		visit := func(Record) error { return nil }
		alloctest.Linear(t, len(text), memoryFactor, memoryFixed, func() { _, _ = split(bytes.NewReader(text), siemArrays(feed.SIEM()), bound.Record, visit) })
		alloctest.Linear(t, len(text), memoryFactor, memoryFixed, func() {
			_, _ = split(bytes.NewReader(text), (&listing{}).shape(feed.CallVAP), bound.Record, visit)
		})
		alloctest.Linear(t, len(text), memoryFactor, memoryFixed, func() { _ = judge(text) })
		alloctest.Linear(t, len(text), memoryFactor, memoryFixed, func() {
			b := newBody(bytes.NewReader(text), bound.Body, func() {})
			if b.decompress("gzip") == nil {
				_, _ = io.Copy(io.Discard, b)
				b.release()
			}
		})
	})
}
