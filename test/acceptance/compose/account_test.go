//go:build compose

package compose_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/tapsim"
)

// account compares what was made with what arrived, by natural keys and not by Tapline's own idea
// of identity. It remembers over restarts of the stand-ins, which keep everything in memory.
type account struct {
	s      *stack
	from   time.Time            // creation of the first record that counts
	until  time.Time            // the truth is known up to here
	truth  map[string]time.Time // when each record became visible
	rows   map[string]bool      // by record
	ids    map[string]bool      // @tapline_id of each row, with its table
	seen   time.Time            // what the sink has received before was read
	tables map[string]feed.Feed
}

// newAccount begins an account when the stand-ins run.
func newAccount(s *stack) *account {
	s.t.Helper()
	a := &account{s: s, truth: map[string]time.Time{}, rows: map[string]bool{}, ids: map[string]bool{}, tables: map[string]feed.Feed{}}
	for _, f := range feed.All() {
		a.tables[f.Table()] = f
	}
	var st tapsim.Status
	decode(s.t, s.ask("tapsim", "8081/_sim/status"), &st)
	a.from, a.until = st.Epoch, st.Epoch
	return a
}

// read takes in what is new on both sides, and returns the moment up to which it knows.
func (a *account) read() time.Time {
	a.s.t.Helper()
	now := time.Now().UTC()
	// A record that was made shortly before the last look may have become visible since.
	from := a.until.Add(-time.Minute)
	q := url.Values{"from": {from.Format(time.RFC3339Nano)}, "to": {now.Format(time.RFC3339Nano)}}
	each(a.s.t, a.s.ask("tapsim", "8081/_sim/truth?"+q.Encode()), func(line []byte) {
		var t tapsim.Truth
		decode(a.s.t, line, &t)
		a.truth[string(t.Feed)+" "+t.Key] = t.Visible
	})
	a.until = now
	a.arrivals()
	return now
}

// arrivals takes in what the sink has received.
func (a *account) arrivals() {
	a.s.t.Helper()
	q := url.Values{"from": {a.seen.UTC().Format(time.RFC3339Nano)}}
	path := "6580/_sink/events"
	if !a.seen.IsZero() {
		path += "?" + q.Encode()
	}
	each(a.s.t, a.s.ask("devosink", path), func(line []byte) {
		var e struct {
			Tag       string          `json:"tag"`
			Eventdate time.Time       `json:"eventdate"`
			Partial   bool            `json:"partial"`
			Message   json.RawMessage `json:"message"`
		}
		decode(a.s.t, line, &e)
		// Connections store what they received in any order.
		a.seen = e.Eventdate.Add(-5 * time.Second)
		f := a.tables[e.Tag]
		if e.Partial {
			return
		}
		var row struct {
			ID string `json:"@tapline_id"`
		}
		decode(a.s.t, e.Message, &row)
		a.ids[e.Tag+" "+row.ID] = true
		if !f.IsSIEM() {
			return
		}
		key, err := tapsim.NaturalKey(f, e.Message)
		if err != nil && bytes.Contains(e.Message, []byte("hostile")) { // Proofpoint never made it
			return
		}
		if err != nil {
			a.s.t.Fatal(err)
		}
		a.rows[string(f)+" "+key] = true
	})
}

// drain stops the fetchers, waits until nothing is on its way, and reads the sink, which will
// forget everything when it is restarted.
func (a *account) drain() {
	a.s.t.Helper()
	a.s.compose("stop", "fetcher")
	poll(a.s.t, "nothing to be on its way", func() bool {
		out, err := a.s.tapctl("verify")
		return err == nil && strings.Contains(out, " 0 on their way")
	})
	a.read()
	a.seen = time.Time{}
}

// missing lists what was visible at a moment and has not arrived.
func (a *account) missing(at time.Time) (keys []string) {
	for key, visible := range a.truth {
		if !visible.After(at) && !a.rows[key] {
			keys = append(keys, key)
		}
	}
	return keys
}

// settle waits until everything that is visible now has arrived, and says what it counted.
func (a *account) settle(when string) {
	a.s.t.Helper()
	at := a.read()
	if len(a.truth) == 0 {
		a.s.t.Fatal("the simulator made nothing; the test would prove nothing")
	}
	var left []string
	defer func() {
		if len(left) > 0 {
			a.s.t.Logf("%s: %d of %d records are not at the sink, among them %q", when, len(left), len(a.truth), left[:min(5, len(left))])
			for _, args := range [][]string{{"status"}, {"verify"}} {
				out, _ := a.s.tapctl(args...)
				a.s.t.Logf("tapctl %s: %s", args[0], out)
			}
		}
	}()
	poll(a.s.t, "everything visible "+when+" at the sink", func() bool {
		a.arrivals()
		left = a.missing(at)
		return len(left) == 0
	})
	var counts struct{ Dropped, Duplicates int64 }
	decode(a.s.t, a.s.ask("devosink", "6580/_sink/counts"), &counts)
	if counts.Dropped > 0 {
		a.s.t.Errorf("the sink had no room for %d rows; the test would prove nothing", counts.Dropped)
	}
	a.s.t.Logf("%s: %d records visible, %d missing, %d rows twice; settled %s after", when, len(a.truth), len(left), counts.Duplicates, time.Since(at).Round(time.Second))
}

// each visits the lines.
func each(t *testing.T, data []byte, visit func([]byte)) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		visit(lines.Bytes())
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}
