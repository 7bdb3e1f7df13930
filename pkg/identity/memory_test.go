package identity_test

import (
	"bytes"
	"testing"

	"github.com/tapline/tapline/pkg/alloctest"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
)

// FuzzMemory repeats a piece of a record, as one who wants to use up memory does. All that is
// allocated is at most 1 MiB and 64 times the record.
func FuzzMemory(f *testing.F) {
	for begin, piece := range map[string]string{
		`{"GUID":"a","recipient":[`: `"",`, `{"a":`: `[`, `{"a": `: `{"a":`, `{"actors":[`: `"\u0061",`, `{"`: `\n`, `{"a":"`: "a", `{"a":1`: "0", `{"a":1e`: "9", "": "{",
	} {
		f.Add([]byte(begin), []byte(piece), uint(1<<16), []byte(`"]}`))
	}
	f.Fuzz(func(t *testing.T, begin, piece []byte, times uint, end []byte) {
		if len(piece) > 0 {
			begin = append(begin, bytes.Repeat(piece, int(times%uint(1+(1<<19)/len(piece))))...)
		}
		record := append(begin, end...)
		alloctest.Linear(t, len(record), 64, 1<<20, func() { _, _ = identity.NewHasher().SIEM(feed.MessagesBlocked, record) })
		alloctest.Linear(t, len(record), 64, 1<<20, func() { _, _ = identity.NewHasher().Content(record, "generated") })
		alloctest.Linear(t, len(record), 64, 1<<20, func() { _ = identity.Text(record, "identity", "guid") })
	})
}
