package tapline

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

// settleFor bounds the wait for what was visible when the time was over, from the last of it that
// arrived.
const settleFor = 2 * time.Minute

// Account compares what a simulated Proofpoint has made with what a simulated
// Devo has got, by natural keys and not by Tapline's own idea of identity.
type Account struct {
	Generated  int `json:"generated"`  // records created from the start of collection to the end of the demo
	Visible    int `json:"visible"`    // those of them that could be read by then
	Delivered  int `json:"delivered"`  // those of the visible that are at the sink
	Missing    int `json:"missing"`    // visible and, after all patience, not at the sink
	Duplicates int `json:"duplicates"` // rows at the sink beyond the first of each record
	Dead       int `json:"dead"`       // records in DEAD
	// Threats and campaigns that the visible records name, and those of them without a row.
	Named   int `json:"named"`
	Unnamed int `json:"unnamed"`
	People  int `json:"people"` // rows of people
}

// print writes the account and turns missing records into an error.
func (a Account) print(out io.Writer, asJSON bool) error {
	if asJSON {
		line, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("print the account: %w", err)
		}
		_, _ = fmt.Fprintf(out, "%s\n", line)
	} else {
		_, _ = fmt.Fprintf(out, "\nAccount: %d records generated, %d visible, %d delivered, %d missing, %d duplicates, %d dead\n",
			a.Generated, a.Visible, a.Delivered, a.Missing, a.Duplicates, a.Dead)
		_, _ = fmt.Fprintf(out, "They name %d threats and campaigns, of which %d have no row; %d rows of people\n", a.Named, a.Unnamed, a.People)
	}
	if a.Missing > 0 || a.Unnamed > 0 {
		return fmt.Errorf("%w: %d of %d, and %d of %d threats and campaigns", errMissing, a.Missing, a.Visible, a.Unnamed, a.Named)
	}
	return nil
}

// account counts what arrives at the sink. It is safe for concurrent use.
type account struct {
	seed maphash.Seed

	mu         sync.Mutex
	arrivals   map[uint64]struct{}
	duplicates int
	people     int
	buf        []byte
}

func newAccount() *account {
	return &account{seed: maphash.MakeSeed(), arrivals: make(map[uint64]struct{})}
}

// arrived takes one row.
func (a *account) arrived(e devosink.Event) {
	if e.Frame.Partial { // a cut row; the whole one follows
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch e.Tag {
	case feed.PeopleVAP.Table(), feed.PeopleTopClicks.Table():
		a.people++
		return
	case feed.Threats.Table(), feed.Campaigns.Table():
		a.buf = derivedKey(a.buf[:0], e.Tag, identity.Text(e.Message, "id"))
		a.arrivals[maphash.Bytes(a.seed, a.buf)] = struct{}{} // there may be a row for each revision
		return
	}
	a.buf = append(append(a.buf[:0], lastToken(e.Tag)...), ' ')
	a.buf = tapsim.FastKey(a.buf, e.Message)
	key := maphash.Bytes(a.seed, a.buf)
	if _, ok := a.arrivals[key]; ok {
		a.duplicates++
	}
	a.arrivals[key] = struct{}{}
}

// derivedKey is the key of a threat or campaign.
func derivedKey(dst []byte, table, id string) []byte {
	return append(append(append(dst, table...), " id:"...), id...)
}

// lastToken of a table is the feed in lower case.
func lastToken(table string) string {
	for i := len(table) - 1; i >= 0; i-- {
		if table[i] == '.' {
			return table[i+1:]
		}
	}
	return table
}

// settle compares with the truth of everything created before now; what became visible
// later does not count.
func (a *account) settle(sim *tapsim.Sim, now time.Time) Account {
	var out Account
	var buf []byte
	for t := range sim.Truth(sim.Epoch(), now) {
		out.Generated++
		if t.Visible.After(now) {
			continue
		}
		out.Visible++
		buf = append(append(buf[:0], lastToken(t.Feed.Table())...), ' ')
		buf = append(buf, t.Key...)
		a.mu.Lock()
		if _, ok := a.arrivals[maphash.Bytes(a.seed, buf)]; ok {
			out.Delivered++
		}
		a.mu.Unlock()
	}
	out.Missing = out.Visible - out.Delivered
	a.mu.Lock()
	defer a.mu.Unlock()
	for t := range sim.Derived(now) {
		out.Named++
		buf = append(append(buf[:0], t.Feed.Table()...), ' ')
		if _, ok := a.arrivals[maphash.Bytes(a.seed, append(buf, t.Key...))]; !ok {
			out.Unnamed++
		}
	}
	out.Duplicates, out.People = a.duplicates, a.people
	return out
}

// watch shows progress until the time is over, then waits until what was visible
// at that moment has arrived.
func (s *stand) watch(ctx context.Context, o DemoOptions, screen *screen) Account {
	screen.follow(ctx, o.For)
	over := s.sim.Now()
	deadline := time.Now().Add(settleFor)
	result := s.account.settle(s.sim, over)
	for result.Missing+result.Unnamed > 0 && time.Now().Before(deadline) && ctx.Err() == nil {
		screen.settling(result)
		screen.follow(ctx, time.Second)
		before := result
		if result = s.account.settle(s.sim, over); result.Missing+result.Unnamed < before.Missing+before.Unnamed {
			deadline = time.Now().Add(settleFor) // a slow machine loses nothing
		}
	}
	result.Dead = int(screen.sum("tapline_fetcher_records_total", labels{"fate": "dead"}) + screen.sum("tapline_enricher_records_dead_total", nil) +
		screen.sum("tapline_shipper_events_dead_total", nil))
	result.Missing = max(result.Missing-result.Dead, 0)
	return result
}
