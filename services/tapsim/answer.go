package tapsim

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/feed"
)

// answer is one response of a SIEM endpoint, written while it is made.
type answer struct {
	sim      *Sim
	w        http.ResponseWriter
	r        *http.Request
	query    *query
	endpoint feed.Endpoint
	now      time.Time
	shuffle  uint64
	fault    *Fault

	out  io.Writer
	buf  []byte
	sent int
	cut  bool // the body ends here, as if it were whole
}

const flushAt = 64 << 10

var gzips = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return z
}}

func (a *answer) send() {
	if a.fault.is(FaultEarlyEnd) {
		a.query.to = a.query.to.Add(-a.fault.Delay)
	}
	switch {
	case !a.query.json || a.fault.is(FaultSyslog):
		a.syslog()
		return
	case a.sim.cfg.Empty204 && a.fault == nil && a.empty():
		a.w.WriteHeader(http.StatusNoContent)
		return
	}
	h := a.w.Header()
	h.Set("Content-Type", "application/json")
	if a.shuffle%5 == 0 { // seen on the live service now and then
		h.Set("Content-Type", "text/plain;charset=utf-8")
	}
	h.Set("Vary", "Accept-Encoding, User-Agent")
	a.out = a.w
	if strings.Contains(a.r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		z, _ := gzips.Get().(*gzip.Writer)
		z.Reset(a.w)
		a.out = z
		defer gzips.Put(z)
		defer z.Close()
	}
	a.envelope()
	if a.fault != nil && a.sent == 0 { // too short to have met its fault on the way
		a.strike()
	}
	a.flush()
}

// envelope writes the whole object.
func (a *answer) envelope() {
	a.buf = append(a.buf, '{')
	member := func(name string) {
		if a.buf[len(a.buf)-1] != '{' {
			a.buf = append(a.buf, ", "...)
		}
		a.buf = append(a.buf, `"`+name+`" : `...)
	}
	hit := a.fault
	if !hit.is(FaultNoEnd) {
		member("queryEndTime")
		a.buf = append(a.buf, `"`+a.query.to.UTC().Format(a.sim.cfg.endLayout())+`"`...)
	}
	if hit.is(FaultError) {
		member("error")
		a.buf = strconv.AppendQuote(a.buf, cmp.Or(hit.Text, "backend partially unavailable"))
	}
	for i, f := range a.endpoint.Feeds {
		name, meant := string(f), hit.array(string(f), i == len(a.endpoint.Feeds)-1)
		if hit.is(FaultNoArrays) || (hit.is(FaultNoArray) && meant) {
			continue
		}
		if hit.is(FaultRenamed) && meant {
			name = strings.ToLower(name)
		}
		member(name)
		a.buf = append(a.buf, '[')
		if !hit.is(FaultError) {
			empty := a.records(f)
			if meant {
				a.hostile(hit, empty)
			}
		}
		a.buf = append(a.buf, ']')
	}
	a.buf = append(a.buf, "}\n"...)
}

// empty reports whether nothing is to be served.
func (a *answer) empty() bool {
	found := false
	for _, f := range a.endpoint.Feeds {
		a.each(f, func(origin) { found = true }, func([]byte) { found = true })
	}
	return !found
}

// records writes one array, and reports whether it is empty.
func (a *answer) records(f feed.Feed) (empty bool) {
	first := true
	sep := func() {
		if !first {
			a.buf = append(a.buf, ',')
		}
		first = false
	}
	a.each(f, func(o origin) {
		sep()
		a.buf = a.sim.gen.append(a.buf, o, a.shuffle)
		if len(a.buf) >= flushAt {
			if a.fault != nil {
				a.strike()
			}
			a.flush()
		}
	}, func(raw []byte) {
		sep()
		a.buf = append(a.buf, raw...)
	})
	return first
}

// each visits what the query selects and is visible now.
func (a *answer) each(f feed.Feed, made func(origin), given func([]byte)) {
	g := a.sim.gen
	to := a.query.to
	if a.sim.cfg.InclusiveEnd {
		to = to.Add(time.Nanosecond)
	}
	for o := range a.sim.origins(a.query.from, to) {
		if a.cut || a.r.Context().Err() != nil {
			return
		}
		if g.feed(o) == f && !g.visible(o).After(a.now) && slices.Contains(a.query.statuses, g.status(o)) &&
			slices.Contains(a.query.types, g.threatType(o)) {
			at := g.revision(o)
			o.revised = !at.IsZero() && !at.After(a.now)
			made(o)
		}
	}
	for _, e := range a.sim.added() {
		if e.Feed == f && !e.Created.Before(a.query.from) && e.Created.Before(to) && !e.Visible.After(a.now) {
			given(e.raw)
		}
	}
}

// strike plays the faults that hit the body, once.
func (a *answer) strike() {
	hit := a.fault
	a.fault = nil
	switch hit.Kind {
	case FaultDrip:
		rest := slices.Clone(a.buf[len(a.buf)*2/3:])
		a.buf = a.buf[:len(a.buf)*2/3]
		a.flush()
		a.buf = append(a.buf, rest...)
		if z, ok := a.out.(*gzip.Writer); ok {
			_ = z.Flush()
		}
		_ = http.NewResponseController(a.w).Flush()
		backoff.Sleep(a.r.Context(), hit.Delay)
	case FaultTruncated:
		a.buf = a.buf[:len(a.buf)*2/3]
		a.flush()
		if z, ok := a.out.(*gzip.Writer); ok {
			_ = z.Flush()
		}
		_ = http.NewResponseController(a.w).Flush()
		panic(http.ErrAbortHandler)
	case FaultCutJSON:
		a.buf = a.buf[:len(a.buf)*2/3]
		a.flush()
		a.cut = true
	}
}

func (a *answer) flush() {
	if !a.cut {
		n, _ := a.out.Write(a.buf)
		a.sent += n
	}
	a.buf = a.buf[:0]
}

// syslog writes the format that is the default when JSON is not asked for: RFC 5424, without ids,
// and 204 when nothing matched.
func (a *answer) syslog() {
	var out bytes.Buffer
	names := map[feed.Feed]string{
		feed.MessagesBlocked: "MSGBLK", feed.MessagesDelivered: "MSGDLV", feed.ClicksBlocked: "CLKBLK", feed.ClicksPermitted: "CLKPER",
	}
	for _, f := range a.endpoint.Feeds {
		a.each(f, func(o origin) {
			at := a.sim.gen.happened(o).Format("2006-01-02T15:04:05Z")
			out.WriteString("<38>1 " + at + " - ProofpointTAP - " + names[f] + ` [tapmsg@21139 GUID="`)
			out.Write(a.sim.gen.appendGUID(nil, o))
			out.WriteString(`" recipient="`)
			out.Write(a.sim.gen.appendRecipient(nil, o))
			out.WriteString("\"]\n")
		}, func([]byte) {})
	}
	if out.Len() == 0 {
		a.w.WriteHeader(http.StatusNoContent)
		return
	}
	a.w.Header().Set("Content-Type", "text/plain")
	_, _ = out.WriteTo(a.w)
}
