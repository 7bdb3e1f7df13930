package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Row is the sum of one feed in one job.
type Row struct {
	Job     job.ID
	Feed    feed.Feed
	State   taplinev1.WindowState
	Reason  string
	Status  int32
	Bytes   int64 // of the response, which all feeds of the job share
	Calls   uint32
	Fetched time.Time // zero unless the state is fetched
	ReadEnd time.Time // up to where it is read, if not up to the end of the window
	First   uint64    // sequence of the job's first RAW batch
	Marker  uint64    // sequence of the job's marker in RAW

	Received, Duplicate, Published, Revision, Dead int64
	Events, Extra, MadeDead                        int64 // at the enricher; extra rows are those beyond one for each record
	Deferred, Known                                int64 // ids of a job that were left to other jobs, or needed no call
	Confirmed, SentDead                            int64 // at the shipper
	Remade, Redelivered                            int64 // rows reprocessed; of those, confirmed
	Resent                                         int64 // rows that replays sent once more, to any sink
	Lost                                           int64 // rows or records that left a stream undelivered
	Made                                           bool  // all batches of the job went through the enricher
	Delivered                                      time.Time
}

// Read is the part of the window that the state is about: the answer may prove less than the window
// read.
func (r *Row) Read() window.Window {
	w := r.Job.Window
	if !r.ReadEnd.IsZero() && r.ReadEnd.Before(w.End) {
		w.End = r.ReadEnd
	}
	return w
}

// Pending is how many rows of published records are neither at the sink, nor in DEAD, nor lost. The
// shipper may record its rows before the enricher does: nothing is less than nothing on its way,
// which would hide what others have on theirs.
func (r *Row) Pending() int64 {
	return max(r.Published+r.Extra-r.MadeDead-r.Confirmed-r.SentDead-r.Lost, 0)
}

// StateName is the state as it is printed.
func (r *Row) StateName() string {
	return strings.ToLower(strings.TrimPrefix(r.State.String(), "WINDOW_STATE_"))
}

// Range is a span of time that the scheduler gave up or found complete.
type Range struct {
	window.Window
	State  taplinev1.WindowState
	Feeds  []feed.Feed
	Reason string
	At     time.Time

	Undelivered bool // it was read, and reading it once more brings nothing new
}

// Report is a section of the ledger with the records of all stages joined.
type Report struct {
	Rows   []Row // in order of window, then feed
	Ranges []Range

	windows    []*taplinev1.JobRecord
	made, sent []*taplinev1.BatchRecord

	remade, resent []*taplinev1.BatchRecord
	lookups        []*taplinev1.LookupRecord
	lost           []*taplinev1.BatchRecord
	problems       []Violation
}

// Violation is something in the ledger that cannot be.
type Violation struct {
	Rule   string `json:"rule"`   // received, made, sent, resent, page
	Where  string `json:"where"`  // the job and feed, the batch, or the key of a page
	Detail string `json:"detail"` // the numbers
}

// String is one line for a log.
func (v Violation) String() string { return v.Rule + ": " + v.Where + ": " + v.Detail }

func newReport() *Report { return &Report{} }

// Join makes a report of pages.
func Join(pages ...*taplinev1.LedgerPage) (*Report, error) {
	b := newReport()
	for _, page := range pages {
		if err := b.add(page); err != nil {
			return nil, err
		}
	}
	b.finish()
	return b, nil
}

// add takes a page, or nothing of it.
func (b *Report) add(page *taplinev1.LedgerPage) error {
	for _, r := range page.GetRanges() {
		if _, err := window.FromProto(r.GetWindow()); err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
	}
	b.windows = append(b.windows, page.GetWindows()...)
	b.made = append(b.made, page.GetMade()...)
	b.sent = append(b.sent, page.GetSent()...)
	b.lookups = append(b.lookups, page.GetWants()...)
	b.remade = append(b.remade, page.GetRemade()...)
	b.resent = append(b.resent, page.GetResent()...)
	b.lost = append(b.lost, page.GetLost()...)
	for _, r := range page.GetRanges() {
		w, _ := window.FromProto(r.GetWindow()) // see above
		rng := Range{Window: w, State: r.GetState(), Reason: r.GetReason(), At: r.GetAt().AsTime()}
		for _, f := range r.GetFeeds() {
			rng.Feeds = append(rng.Feeds, feed.Feed(f))
		}
		b.Ranges = append(b.Ranges, rng)
	}
	return nil
}

func byBatch(a, b *taplinev1.BatchRecord) int {
	if a.GetRawSequence() != b.GetRawSequence() {
		if a.GetRawSequence() < b.GetRawSequence() {
			return -1
		}
		return 1
	}
	switch {
	case a.GetTable() < b.GetTable():
		return -1
	case a.GetTable() > b.GetTable():
		return 1
	}
	return int(a.GetPart()) - int(b.GetPart())
}

// finish joins what the stages recorded.
func (b *Report) finish() {
	slices.SortFunc(b.made, byBatch)
	slices.SortFunc(b.sent, byBatch)
	slices.SortStableFunc(b.remade, byBatch)
	slices.SortStableFunc(b.resent, byBatch)
	slices.SortFunc(b.lost, byBatch)
	b.checkSent()
	b.checkResent()
	for _, w := range b.windows {
		id, err := job.Parse(w.GetJobId())
		if err != nil {
			b.violate("received", w.GetJobId(), "not the id of a job")
			continue
		}
		b.join(id, w)
	}
	slices.SortStableFunc(b.Rows, func(x, y Row) int {
		if c := x.Job.Window.Start.Compare(y.Job.Window.Start); c != 0 {
			return c
		}
		if c := x.Job.Window.End.Compare(y.Job.Window.End); c != 0 {
			return c
		}
		return int(x.Job.Pass) - int(y.Job.Pass)
	})
	slices.SortStableFunc(b.Ranges, func(x, y Range) int { return x.Start.Compare(y.Start) })
}

// join makes the rows of one job.
func (b *Report) join(id job.ID, w *taplinev1.JobRecord) {
	base := Row{Job: id, State: w.GetState(), Reason: w.GetReason(), Status: w.GetStatus(), Bytes: w.GetBytes(), Calls: w.GetAttempts()}
	if w.GetState() != taplinev1.WindowState_WINDOW_STATE_FETCHED {
		for _, f := range id.Set {
			base.Feed = f
			b.Rows = append(b.Rows, base)
		}
		return
	}
	base.Fetched = w.GetFetchedAt().AsTime()
	if w.GetReadEnd() != nil {
		base.ReadEnd = w.GetReadEnd().AsTime()
	}
	base.First, base.Marker = w.GetMarkerSequence()-uint64(w.GetBatches()), w.GetMarkerSequence()
	made := between(b.made, base.First, base.Marker)
	base.Made = distinct(made) == int(w.GetBatches())
	for _, r := range w.GetFeeds() {
		row := base
		row.Feed, row.Received, row.Duplicate = feed.Feed(r.GetFeed()), r.GetReceived(), r.GetDuplicate()
		row.Published, row.Revision, row.Dead = r.GetPublished(), r.GetRevision(), r.GetDead()
		row.Deferred, row.Known = r.GetDeferred(), r.GetKnown()
		for _, m := range made {
			if m.GetFeed() == r.GetFeed() {
				row.Events += m.GetEvents()
				row.Extra += m.GetExtra()
				row.MadeDead += m.GetDead()
			}
		}
		for _, s := range between(b.sent, base.First, base.Marker) {
			if s.GetFeed() == r.GetFeed() {
				row.Confirmed += s.GetEvents()
				row.SentDead += s.GetDead()
				if at := time.UnixMilli(s.GetAtMs()).UTC(); at.After(row.Delivered) {
					row.Delivered = at
				}
			}
		}
		b.addRepeats(&row)
		b.lose(&row)
		b.check(&row)
		b.Rows = append(b.Rows, row)
	}
}

func (b *Report) check(r *Row) {
	where := r.Job.String() + " " + string(r.Feed)
	if r.Received != r.Duplicate+r.Published+r.Dead || r.Revision > r.Published {
		b.violate("received", where, "received %d is not duplicate %d + published %d + dead %d (revisions among the published: %d)",
			r.Received, r.Duplicate, r.Published, r.Dead, r.Revision)
	}
	if made := r.Events - r.Extra + r.MadeDead; made > r.Published || (r.Made && made != r.Published) {
		b.violate("made", where, "published %d is not rows made %d - extra %d + dead %d", r.Published, r.Events, r.Extra, r.MadeDead)
	}
}

// checkSent compares what was confirmed with what was made.
func (b *Report) checkSent() {
	for _, s := range b.sent {
		i, ok := slices.BinarySearchFunc(b.made, s, byBatch)
		if !ok { // confirmed before the enricher's note: it follows
			continue
		}
		if m := b.made[i]; m.GetEvents() != s.GetEvents()+s.GetDead() {
			b.violate("sent", fmt.Sprintf("RAW %d %s", s.GetRawSequence(), s.GetTable()),
				"rows made %d are not confirmed %d + dead %d", m.GetEvents(), s.GetEvents(), s.GetDead())
		}
	}
}

func (b *Report) violate(rule, where, format string, args ...any) {
	b.problems = append(b.problems, Violation{rule, where, fmt.Sprintf(format, args...)})
}

// Lookups adds up the lookups that the batches asked for.
func (b *Report) Lookups() *taplinev1.LookupRecord {
	sum := &taplinev1.LookupRecord{}
	for _, w := range b.lookups {
		sum.Named += w.GetNamed()
		sum.Known += w.GetKnown()
		sum.Ordered += w.GetOrdered()
		sum.Amended += w.GetAmended()
		sum.Dead += w.GetDead()
	}
	return sum
}

// Violations lists what cannot be.
func (b *Report) Violations() []Violation { return b.problems }

// between selects the batches with a RAW sequence in [first, end).
func between(sorted []*taplinev1.BatchRecord, first, end uint64) []*taplinev1.BatchRecord {
	at := func(sequence uint64) int {
		i, _ := slices.BinarySearchFunc(sorted, sequence, func(b *taplinev1.BatchRecord, s uint64) int {
			if b.GetRawSequence() < s {
				return -1
			}
			return 1
		})
		return i
	}
	return sorted[at(first):max(at(first), at(end))]
}

func distinct(sorted []*taplinev1.BatchRecord) (n int) {
	for i, b := range sorted {
		if i == 0 || b.GetRawSequence() != sorted[i-1].GetRawSequence() {
			n++
		}
	}
	return n
}

// addRepeats adds up what was reprocessed or resent.
func (b *Report) addRepeats(row *Row) {
	for _, m := range between(b.remade, row.First, row.Marker) {
		if m.GetFeed() == string(row.Feed) {
			row.Remade += m.GetEvents()
		}
	}
	for _, s := range between(b.resent, row.First, row.Marker) {
		switch {
		case s.GetFeed() != string(row.Feed):
		case s.GetRemade():
			row.Redelivered += s.GetEvents()
		default:
			row.Resent += s.GetEvents()
		}
	}
}

// checkResent compares what was confirmed of reprocessed rows with what was reprocessed.
func (b *Report) checkResent() {
	for _, s := range b.resent {
		if !s.GetRemade() {
			continue
		}
		made := between(b.remade, s.GetRawSequence(), s.GetRawSequence()+1)
		if i := findAgain(made, s); i >= 0 && made[i].GetEvents() != s.GetEvents()+s.GetDead() {
			b.violate("resent", fmt.Sprintf("EVENTS %d of replay %s", s.GetEventSequence(), s.GetReplayId()),
				"rows made again %d are not confirmed %d + dead %d", made[i].GetEvents(), s.GetEvents(), s.GetDead())
		}
	}
}

// Repeats finds what of one RAW batch was reprocessed and resent.
func (b *Report) Repeats(sequence uint64) (remade, resent []*taplinev1.BatchRecord) {
	return between(b.remade, sequence, sequence+1), between(b.resent, sequence, sequence+1)
}

// Batch finds what became of one RAW batch: made and, when the sink confirmed
// it, sent; one for each table.
func (b *Report) Batch(sequence uint64) (made, sent []*taplinev1.BatchRecord) {
	return between(b.made, sequence, sequence+1), between(b.sent, sequence, sequence+1)
}

// Covered lists the spans of a feed that are in one of the states: fetched for
// what was read, lost, sealed.
func (b *Report) Covered(f feed.Feed, states ...taplinev1.WindowState) []window.Window {
	var spans []window.Window
	for i := range b.Rows {
		r := &b.Rows[i]
		if r.Feed == f && slices.Contains(states, r.State) && r.State != taplinev1.WindowState_WINDOW_STATE_LOST {
			spans = append(spans, r.Read())
		}
	}
	for _, r := range b.Ranges {
		if slices.Contains(r.Feeds, f) && slices.Contains(states, r.State) && r.State != taplinev1.WindowState_WINDOW_STATE_LOST {
			spans = append(spans, r.Window)
		}
	}
	if slices.Contains(states, taplinev1.WindowState_WINDOW_STATE_LOST) {
		for _, r := range b.Lost(f) {
			spans = append(spans, r.Window)
		}
	}
	return spans
}

// Sealed reports whether all of a window of a feed is sealed.
func (b *Report) Sealed(f feed.Feed, w window.Window) bool {
	return len(w.Missing(b.Covered(f, taplinev1.WindowState_WINDOW_STATE_SEALED))) == 0
}
