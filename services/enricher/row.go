package enricher

import (
	"bytes"

	"github.com/tapline/tapline/pkg/flatten"
	"github.com/tapline/tapline/pkg/jsonline"
)

// appendRow appends the record as one line with the added keys before its last
// brace, marks first. It reports false when the record is not an object.
func (e *Enricher) appendRow(dst, record []byte, pullID string, taplineID []byte, marks ...flatten.Member) ([]byte, bool) {
	record = bytes.TrimSpace(record)
	if len(record) < 2 || record[0] != '{' || record[len(record)-1] != '}' {
		return dst, false
	}
	dst = jsonline.Append(dst, record[:len(record)-1])
	empty := len(bytes.TrimSpace(record[1:len(record)-1])) == 0
	for _, m := range marks {
		dst = append(append(append(separate(dst, empty), m.Name...), ':'), m.Value...)
		empty = false
	}
	if e.cfg.PullID {
		dst = append(separate(dst, empty), `"@devo_pulling_id":"`...)
		dst, empty = append(append(dst, pullID...), '"'), false
	}
	if e.cfg.Identity.TaplineID {
		dst = append(separate(dst, empty), `"@tapline_id":"`...)
		dst = append(append(dst, taplineID...), '"')
	}
	return append(dst, '}'), true
}

func separate(dst []byte, empty bool) []byte {
	if empty {
		return dst
	}
	return append(dst, ',')
}
