package torture

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

// record is what the sink has of one record.
type record struct {
	id    string // @tapline_id of its first row
	pull  string // and its @devo_pulling_id
	ids   int    // further ones, which must not be
	rows  int
	first arrival
}

// arrival is when and over which connection a row came.
type arrival struct {
	at         time.Time
	connection int64
}

func (a arrival) String() string {
	return fmt.Sprintf("%s over %d", a.at.Format("15:04:05.000"), a.connection)
}

// rows is what the sink has. It is safe for concurrent use.
type rows struct {
	mu      sync.Mutex
	siem    map[string]*record // by feed and natural key
	derived map[string]bool    // threats, campaigns, people and reports that have a row, as [head.derived] names them
	others  map[string]*record // rows that are no SIEM records, by table and @tapline_id
	total   int
	last    time.Time
	// Rows that are duplicates: of the same reading of Proofpoint, or of another one.
	resent, reread int
	resentBytes    int
	ordered        int // that a replay sent, or made again
	// Of a sink that may lie: when a row came first, by name, and the rows of each replay. There,
	// rows of replays are as good as others.
	stored   map[string]time.Time
	replays  map[string]int
	problems []string
	why      func() string // what happens at the moment
	blame    map[string]int
}

func newRows(lies bool) *rows {
	r := &rows{siem: make(map[string]*record), derived: make(map[string]bool), others: make(map[string]*record), blame: make(map[string]int), why: func() string { return "" }}
	if lies {
		r.stored, r.replays = make(map[string]time.Time), make(map[string]int)
	}
	return r
}

var feedOf = func() map[string]feed.Feed {
	byTable := make(map[string]feed.Feed)
	for _, f := range feed.All() {
		byTable[f.Table()] = f
	}
	return byTable
}()

// arrive takes one row.
func (r *rows) arrive(e devosink.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Frame.Partial { // the rest of a broken connection
		return
	}
	r.total++
	r.last = e.Received
	if err := r.take(e); err != nil && len(r.problems) < 20 {
		r.problems = append(r.problems, err.Error())
	}
}

// head is what every row has, and what tells derived rows apart.
type head struct {
	TaplineID string `json:"@tapline_id"`
	Pull      string `json:"@devo_pulling_id"`
	ID        string `json:"id"`
	Found     *int   `json:"forensics_found"`
	List      string `json:"list"` // of people
	Window    int    `json:"window"`
	Identity  struct {
		GUID string `json:"guid"`
	} `json:"identity"`
	Replay    string `json:"@tapline_replay_id"`
	Reprocess string `json:"@tapline_reprocess_id"`
}

// derived names what a row that is no SIEM record is about.
func (h *head) derived(f feed.Feed) string {
	switch {
	case h.List != "":
		return person(h.List, h.Window, h.Identity.GUID)
	case h.Found != nil:
		return report(f, "id:"+h.ID)
	}
	return string(f) + " id:" + h.ID
}

// person names a place on a list of people, report a forensic report.
func person(list string, days int, guid string) string {
	return fmt.Sprintf("%s %d %s", list, days, guid)
}

func report(f feed.Feed, key string) string { return "report " + string(f) + " " + key }

func (r *rows) take(e devosink.Event) error {
	f, ok := feedOf[e.Tag]
	if !ok {
		return fmt.Errorf("%w with tag %q: %.100q", errRow, e.Tag, e.Frame.Raw)
	}
	var h head
	if err := json.Unmarshal(e.Message, &h); err != nil || len(h.TaplineID) != 32 || len(h.Pull) != 13 {
		return fmt.Errorf("%w of %s: %w: %.200q", errRow, f, err, e.Message)
	}
	if r.stored != nil {
		r.keep(e, &h)
	}
	if h.Replay != "" || h.Reprocess != "" {
		r.ordered++
		return r.stand(f, &h, e)
	}
	if !f.IsSIEM() {
		r.derived[h.derived(f)] = true
		r.again(f, &h, e)
		return nil
	}
	key, err := tapsim.NaturalKey(f, e.Message)
	if err != nil {
		return err
	}
	key = string(f) + " " + key
	have := r.siem[key]
	if have == nil {
		r.siem[key] = &record{id: h.TaplineID, pull: h.Pull, rows: 1, first: arrivalOf(e)}
		return nil
	}
	have.rows++
	switch {
	case have.id != h.TaplineID:
		have.ids++
		return fmt.Errorf("%w: %s has the ids %s and %s", errRow, key, have.id, h.TaplineID)
	case have.pull == h.Pull:
		r.sentAgain(key, have, e)
	default:
		r.readAgain(key, have.pull, h.Pull)
	}
	return nil
}

// keep records that a row is there.
func (r *rows) keep(e devosink.Event, h *head) {
	name := nameOf(e.Tag, h.TaplineID)
	if r.stored[name].IsZero() {
		r.stored[name] = e.Received
	}
	if h.Replay != "" {
		r.replays[h.Replay]++
	}
}

// nameOf is how a row is called: by its table and its @tapline_id.
func nameOf(table, id string) string { return table + " " + id }

// stand lets a row of a replay stand for one that a sink, which lies, has not stored.
func (r *rows) stand(f feed.Feed, h *head, e devosink.Event) error {
	if r.stored == nil {
		return nil
	}
	if !f.IsSIEM() {
		r.derived[h.derived(f)] = true
		return nil
	}
	key, err := tapsim.NaturalKey(f, e.Message)
	if err != nil {
		return err
	}
	key = string(f) + " " + key
	if have := r.siem[key]; have == nil {
		r.siem[key] = &record{id: h.TaplineID, pull: h.Pull, rows: 1, first: arrivalOf(e)}
	} else if have.id != h.TaplineID {
		return fmt.Errorf("%w: %s has the ids %s and %s", errRow, key, have.id, h.TaplineID)
	}
	return nil
}

// again counts a row that is no SIEM record. People are repeated unchanged in each snapshot.
func (r *rows) again(f feed.Feed, h *head, e devosink.Event) {
	key := e.Tag + " " + h.TaplineID
	have := r.others[key]
	switch {
	case have == nil:
	case have.pull == h.Pull:
		r.sentAgain(key, have, e)
		return
	case f == feed.Threats || f == feed.Campaigns:
		r.readAgain(key, have.pull, h.Pull)
	}
	r.others[key] = &record{id: h.TaplineID, pull: h.Pull, rows: 1, first: arrivalOf(e)}
}

func arrivalOf(e devosink.Event) arrival { return arrival{e.Received, e.Connection} }

func (r *rows) sentAgain(key string, have *record, e devosink.Event) {
	r.resent++
	r.resentBytes += len(e.Frame.Raw)
	r.blame["resent during "+r.why()]++
	if len(r.blame) < 20 {
		r.blame[fmt.Sprintf("resent: %s came at %s and at %s", key, have.first, arrivalOf(e))]++
	}
}

func (r *rows) readAgain(key, first, second string) {
	r.reread++
	r.blame["read twice during "+r.why()]++
	if len(r.blame) < 50 {
		r.blame["read twice: "+key+" pulled at "+first+" and "+second]++
	}
}

// counts gives the totals.
func (r *rows) counts() (total, records, resent, reread int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total, len(r.siem), r.resent, r.reread
}
