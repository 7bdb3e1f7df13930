package tapsim

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// The kinds of faults that a hostile neighbor would like: answers that cost memory, disk or time.
// Fault.Size says how much.
const (
	FaultEndless    FaultKind = "endless"     // a body of records that has no end
	FaultBomb       FaultKind = "bomb"        // a few bytes that are decompressed to white space without end
	FaultTrickle    FaultKind = "trickle"     // a byte each Fault.Delay, or second, without end
	FaultHeaders    FaultKind = "headers"     // a header of Fault.Size bytes
	FaultRedirect   FaultKind = "redirect"    // status 302, to the same address
	FaultRetryAfter FaultKind = "retry-after" // status 429 with a Retry-After of Fault.Size seconds

	FaultBrackets   FaultKind = "brackets"    // SIEM: an entry of Fault.Size opening brackets and as many closing ones
	FaultNonObjects FaultKind = "non-objects" // SIEM: Fault.Size numbers, all different
	FaultHours      FaultKind = "hours"       // SIEM: Fault.Size records, each of another hour
	FaultRecords    FaultKind = "records"     // SIEM: Fault.Size records that are nearly empty
	FaultMembers    FaultKind = "members"     // SIEM: a record of Fault.Size recipients
)

// entries are the kinds that add to an array, behind what is in it.
var entries = map[FaultKind]func(a *answer, size int){
	FaultBrackets: func(a *answer, size int) {
		for _, bracket := range []string{"[", "]"} {
			for left := size; left > 0; left -= flushAt {
				a.write(strings.Repeat(bracket, min(left, flushAt)))
			}
		}
	},
	FaultNonObjects: func(a *answer, size int) { a.list(size, strconv.Itoa) },
	FaultHours: func(a *answer, size int) {
		a.list(size, func(i int) string {
			at := a.now.Add(-time.Duration(i) * time.Hour).UTC().Format(time.RFC3339)
			return `{"id":"hostile-` + strconv.Itoa(i) + `","clickTime":"` + at + `","messageTime":"` + at + `"}`
		})
	},
	FaultRecords: func(a *answer, size int) {
		a.list(size, func(i int) string { return `{"id":"hostile-` + strconv.Itoa(i) + `"}` })
	},
	FaultMembers: func(a *answer, size int) {
		a.write(`{"GUID":"hostile","recipient":[`)
		a.list(size, func(int) string { return `""` })
		a.write(`]}`)
	},
}

// sizes are those of faults that say none.
var sizes = map[FaultKind]int{
	FaultHeaders: 1 << 20, FaultRetryAfter: 365 * 24 * 3600,
	FaultBrackets: 100 << 20, FaultNonObjects: 230_000, FaultHours: 30_000, FaultRecords: 1_000_000, FaultMembers: 1_300_000,
}

func (f *Fault) size() int { return cmp.Or(f.Size, sizes[f.Kind]) }

// list writes entries, each made of its number.
func (a *answer) list(size int, entry func(int) string) {
	for i := range size {
		if i > 0 {
			a.write(",")
		}
		a.write(entry(i))
	}
}

func (a *answer) write(text string) {
	if a.r.Context().Err() != nil {
		return
	}
	if a.buf = append(a.buf, text...); len(a.buf) >= flushAt {
		a.flush()
	}
}

// hostile adds what a hostile fault adds to an array that has entries, or none.
func (a *answer) hostile(hit *Fault, empty bool) {
	if add := entries[hit.Kind]; add != nil {
		if !empty {
			a.write(",")
		}
		add(a, hit.size())
	}
}

// hostile plays the hostile faults that are an answer as a whole. It reports whether it was one.
func hostile(w http.ResponseWriter, r *http.Request, hit *Fault) bool {
	h := w.Header()
	switch hit.Kind {
	case FaultHeaders:
		h.Set("X-Filler", strings.Repeat("x", hit.size()))
	case FaultRedirect:
		h.Set("Location", r.URL.String())
		w.WriteHeader(http.StatusFound)
	case FaultRetryAfter:
		h.Set("Retry-After", strconv.Itoa(hit.size()))
		w.WriteHeader(http.StatusTooManyRequests)
	case FaultEndless:
		b := []byte(`{"clicksPermitted":[],"messagesDelivered":[],"messagesBlocked":[],"clicksBlocked":[`)
		endless(r.Context(), func(i int) error {
			_, err := w.Write(filler(b, i))
			b = append(b[:0], ',')
			return err
		})
	case FaultBomb:
		h.Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		blank := []byte(strings.Repeat(" ", 1<<20))
		endless(r.Context(), func(int) error { _, err := z.Write(blank); return err })
	case FaultTrickle:
		trickle(w, r, cmp.Or(hit.Delay, time.Second))
	default:
		return false
	}
	return true
}

// filler appends a record of 16 KiB.
func filler(b []byte, i int) []byte {
	b = append(b, `{"id":"hostile-`+strconv.Itoa(i)+`","filler":"`...)
	b = append(b, digits()...)
	return append(b, `"}`...)
}

// digits do not compress well.
var digits = sync.OnceValue(func() (b []byte) {
	for n := uint64(0); len(b) < 16<<10; n++ {
		b = strconv.AppendUint(b, mix(n), 36)
	}
	return b
})

func endless(ctx context.Context, write func(int) error) {
	for i := 0; ctx.Err() == nil; i++ {
		if write(i) != nil {
			return
		}
	}
}

func trickle(w http.ResponseWriter, r *http.Request, pause time.Duration) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	text := `{"clicksBlocked":[`
	for i := 0; ; i++ {
		next := " "
		if i < len(text) {
			next = text[i : i+1]
		}
		if _, err := w.Write([]byte(next)); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
		}
	}
}
