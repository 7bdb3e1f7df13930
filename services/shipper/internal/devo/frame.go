package devo

import (
	"time"

	"github.com/tapline/tapline/pkg/batch"
)

// priority is user.info, as Devo's own clients send it.
const priority = "<14>"

// dateLayout is the form that Devo's own collectors send, in UTC.
const dateLayout = "2006-01-02 15:04:05.000"

// framer writes rows as lines of syslog:
//
//	<14>YYYY-MM-DD HH:MM:SS.mmm HOST TAG: {json}\n
type framer struct {
	host   string
	prefix []byte // of the row before
	pull   int64
	table  string
}

func (f *framer) append(dst []byte, table string, e *batch.Event) []byte {
	if e.PullMS != f.pull || table != f.table || f.prefix == nil {
		f.pull, f.table = e.PullMS, table
		f.prefix = append(f.prefix[:0], priority...)
		f.prefix = time.UnixMilli(e.PullMS).UTC().AppendFormat(f.prefix, dateLayout)
		f.prefix = append(append(append(f.prefix, ' '), f.host...), ' ')
		f.prefix = append(append(f.prefix, table...), ": "...)
	}
	dst = append(append(dst, f.prefix...), e.JSON...)
	return append(dst, '\n')
}
