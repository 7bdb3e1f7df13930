package readback

import (
	"slices"
	"strings"
	"time"
)

// Report is what [Comparison.Run] finds.
type Report struct {
	From   time.Time `json:"from"` // of the moment at which rows were stored in EVENTS
	To     time.Time `json:"to"`
	Tables []Table   `json:"tables"`
	// Compared is how many rows were looked for: without one nothing was compared.
	Compared int64 `json:"compared"`
	Pending  int64 `json:"pending"` // rows not confirmed, or so lately that Devo may not have them
	// Windows are those with rows that are missing or doubled, by table and time, at most
	// [MaxListed].
	Windows []Window `json:"windows"`
	Missing []Row    `json:"missing"` // at most [MaxListed]
	Doubled []Row    `json:"doubled"` // at most [MaxListed]
}

// MaxListed bounds each list of a report. The counts of its tables are exact.
const MaxListed = 1000

// Table is the comparison of one table.
type Table struct {
	Table     string `json:"table"`
	Confirmed int64  `json:"confirmed"` // rows that the sink confirmed
	Found     int64  `json:"found"`     // of these
	Missing   int64  `json:"missing"`   // of these
	Doubled   int64  `json:"doubled"`   // rows that Devo has beyond those that were confirmed
	Nameless  int64  `json:"nameless"`  // rows without @tapline_id, which cannot be compared
}

// Window is a window of one feed with rows that are missing or doubled.
type Window struct {
	Table   string    `json:"table"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Missing int64     `json:"missing"`
	Doubled int64     `json:"doubled"`
}

// Row is a row that is missing or doubled.
type Row struct {
	Table     string `json:"table"`
	TaplineID string `json:"tapline_id"`
	Job       string `json:"job"`
	Event     uint64 `json:"event_sequence"`
	Times     int    `json:"times"` // that Devo has it
}

// Good reports whether rows were compared and none is missing.
func (r *Report) Good() bool {
	return r.Compared > 0 && !slices.ContainsFunc(r.Tables, func(t Table) bool { return t.Missing > 0 })
}

func (r *Report) table(name string) *Table {
	i, ok := slices.BinarySearchFunc(r.Tables, name, func(t Table, name string) int { return strings.Compare(t.Table, name) })
	if !ok {
		r.Tables = slices.Insert(r.Tables, i, Table{Table: name})
	}
	return &r.Tables[i]
}

// window finds the entry of a batch's window, or nil when the list is full.
func (r *Report) window(table string, b *rowBatch) *Window {
	for i := len(r.Windows) - 1; i >= 0; i-- {
		if w := &r.Windows[i]; w.Table == table && w.From.Equal(b.window.Start) && w.To.Equal(b.window.End) {
			return w
		}
	}
	if len(r.Windows) == MaxListed {
		return nil
	}
	r.Windows = append(r.Windows, Window{Table: table, From: b.window.Start, To: b.window.End})
	return &r.Windows[len(r.Windows)-1]
}

// finish adds up, and brings the lists into order.
func (r *Report) finish() {
	for _, t := range r.Tables {
		r.Compared += t.Confirmed
	}
	slices.SortFunc(r.Windows, func(a, b Window) int {
		if c := strings.Compare(a.Table, b.Table); c != 0 {
			return c
		}
		return a.From.Compare(b.From)
	})
	byID := func(a, b Row) int {
		if c := strings.Compare(a.Table, b.Table); c != 0 {
			return c
		}
		return strings.Compare(a.TaplineID, b.TaplineID)
	}
	slices.SortFunc(r.Missing, byID)
	slices.SortFunc(r.Doubled, byID)
}
