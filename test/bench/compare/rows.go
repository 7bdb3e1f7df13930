package compare

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"time"

	"github.com/tapline/tapline/pkg/jsonline"
	"github.com/tapline/tapline/services/tapsim"
)

const (
	table  = "mail.proofpoint.tapsiem_v2.messagesblocked"
	name   = "messagesBlocked" // of the feed
	host   = "collector-1"
	pulled = 1773216000123
	// header is what a shipper writes before each row.
	header = "<14>2026-03-11 08:00:00.123 " + host + " " + table + ": "
	// longest is more than any line of ours; no system may cut one that is shorter.
	longest = 1 << 20
)

// seed of the hashes by which lines are compared.
var seed = maphash.MakeSeed()

// rows are lines as a shipper sends them, in a file.
type rows struct {
	path  string
	count int
	bytes int64
	want  map[uint64]int // how often each line, by its hash
}

// writeRows makes a file of rows out of the simulator's records.
func writeRows(ctx context.Context, path string, count int) (r rows, err error) {
	file, err := os.Create(path) //nolint:gosec // our own directory
	if err != nil {
		return r, fmt.Errorf("make the rows: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	out := bufio.NewWriterSize(file, 1<<20)
	r = rows{path: path, want: make(map[uint64]int, count)}
	var line []byte
	for record, err := range records(ctx) {
		if err != nil {
			return r, err
		}
		if r.count == count {
			break
		}
		line = jsonline.Append(append(line[:0], header...), record[:len(record)-1])
		line = fmt.Appendf(line, `,"@devo_pulling_id":"%d","@tapline_id":"%032x"}`, pulled, r.count)
		r.count++
		r.bytes += int64(len(line)) + 1
		r.want[maphash.Bytes(seed, line)]++
		if _, err := out.Write(append(line, '\n')); err != nil {
			return r, fmt.Errorf("make the rows: %w", err)
		}
	}
	// Written back now, so that it is not during a measurement.
	if err := errors.Join(out.Flush(), file.Sync()); err != nil {
		return r, fmt.Errorf("make the rows: %w", err)
	}
	return r, nil
}

// records are those of a simulator, minute by minute, always the same.
func records(ctx context.Context) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		c := tapsim.Default()
		now := time.UnixMilli(pulled).UTC()
		c.Rate, c.Age, c.LimitSIEM, c.StubFraction = 200, 6*24*time.Hour, 1<<30, 0
		c.Clock = func() time.Time { return now }
		sim, err := tapsim.New(c)
		if err != nil {
			yield(nil, err)
			return
		}
		for from := sim.Epoch().Truncate(time.Minute).Add(time.Minute); ctx.Err() == nil; from = from.Add(time.Minute) {
			list, err := minute(ctx, sim, from)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, record := range list {
				if !yield(record, nil) {
					return
				}
			}
		}
		yield(nil, context.Cause(ctx))
	}
}

var errSimulator = errors.New("the simulator refuses to answer")

func minute(ctx context.Context, sim http.Handler, from time.Time) ([]json.RawMessage, error) {
	query := url.Values{
		"format":   {"JSON"},
		"interval": {from.Format(time.RFC3339) + "/" + from.Add(time.Minute).Format(time.RFC3339)},
	}
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v2/siem/messages/blocked?"+query.Encode(), http.NoBody)
	req.SetBasicAuth("demo", "demo")
	rec := httptest.NewRecorder()
	sim.ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		return nil, fmt.Errorf("make the rows: %w: %d %s", errSimulator, rec.Code, rec.Body)
	}
	var body struct {
		Records []json.RawMessage `json:"messagesBlocked"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
		return nil, fmt.Errorf("make the rows: %w", err)
	}
	return body.Records, nil
}

// lines reads the file again. A line is good until the next one is asked for.
func (r rows) lines() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		file, err := os.Open(r.path)
		if err != nil {
			yield(nil, err)
			return
		}
		defer file.Close()
		for in := bufio.NewReaderSize(file, longest); ; {
			line, err := in.ReadSlice('\n')
			if errors.Is(err, io.EOF) && len(line) == 0 {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(line[:len(line)-1], nil) {
				return
			}
		}
	}
}

// Difference is how what arrived differs from what was to arrive, in rows.
type Difference struct {
	Missing int
	Altered int // lines that were not sent; each of them is also missing
	Twice   int
}

// compare looks for each row among the hashes of what arrived.
func (r rows) compare(arrived []uint64) (d Difference) {
	have := make(map[uint64]int, len(r.want))
	for _, h := range arrived {
		if have[h]++; r.want[h] == 0 {
			d.Altered++
		}
	}
	for h, n := range r.want {
		d.Missing += max(0, n-have[h])
		d.Twice += max(0, have[h]-n)
	}
	return d
}
