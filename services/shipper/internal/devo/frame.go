package devo

import (
	"time"

	"github.com/tapline/tapline/pkg/batch"
)

// priority is user.info, as Devo's own clients send it.
const priority = "<14>"

// layouts of the date. Devo does not take the time of a row from it, and accepts what its own
// clients send: its collectors the first. A relay or another receiver may want one of the others.
var layouts = map[string]string{"devo": "2006-01-02 15:04:05.000", "rfc3339": "2006-01-02T15:04:05.000Z07:00", "rfc3164": "Jan _2 15:04:05"}

// framer writes rows as lines of syslog:
//
//	<14>DATE HOST TAG: {json}\n
type framer struct {
	host   string
	layout string
	prefix []byte // of the row before
	pull   int64
	table  string
}

func (f *framer) append(dst []byte, table string, e *batch.Event) []byte {
	if e.PullMS != f.pull || table != f.table || f.prefix == nil {
		f.pull, f.table = e.PullMS, table
		f.prefix = append(f.prefix[:0], priority...)
		f.prefix = time.UnixMilli(e.PullMS).UTC().AppendFormat(f.prefix, f.layout)
		f.prefix = append(append(append(f.prefix, ' '), f.host...), ' ')
		f.prefix = append(append(f.prefix, table...), ": "...)
	}
	dst = append(append(dst, f.prefix...), e.JSON...)
	return append(dst, '\n')
}
