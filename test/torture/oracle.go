package torture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/overview"
	"github.com/tapline/tapline/pkg/quota"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
)

// patience bounds the wait for everything to arrive after the world is healed: pauses after
// failures last up to minutes. Only a failing run takes so long.
const patience = 8 * time.Minute

// Result is what a run found.
type Result struct {
	Seed           uint64
	Profile        string
	Actions        int
	Records        int // at the sink
	Rows           int
	Missing        int
	Resent, Reread int
	Replayed       int           // rows that tapctl ordered
	Drain          time.Duration // from healed to complete
	ReadBack       ReadBack      // in a world whose sink may lie
	Exits          int           // of processes, of their own accord
	Blame          map[string]int
	Problems       []string
	Looks, Lies    int    // of the witness
	Told           string // of a damaged stream: what the account says
	Taken          string // what was done with the credentials of a stage
	Without        string // why the disk did not fill up, and power cuts lost only what was in memory
}

// Failed reports whether something is wrong.
func (r *Result) Failed() bool { return len(r.Problems) > 0 }

func (r *Result) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// judge waits until everything visible now is at the sink, then looks at all that must hold.
func (w *world) judge(ctx context.Context, r *Result) {
	start := time.Now()
	r.Without = w.without
	h := harm{}
	if w.profile.Taken != "" {
		h = harms()[w.profile.Taken]
		w.judgeTaken(ctx, r)
	} else {
		w.judgeArrivals(ctx, r)
	}
	r.Drain = time.Since(start).Round(time.Millisecond)
	if !h.forges {
		w.known(r)
	}
	for pool, q := range w.sim.Status().Quota {
		if !h.spends && (q.Refused > 0 || q.Used > q.Limit || q.Peak > q.Limit) {
			r.problem("pool %s: %d calls of %d, %d with those that failed, and %d refused", pool, q.Used, q.Limit, q.Peak, q.Refused)
		}
	}
	r.Rows, r.Records, r.Resent, r.Reread = w.rows.counts()
	w.rows.mu.Lock()
	r.Blame, r.Replayed = w.rows.blame, w.rows.ordered-r.ReadBack.Repaired
	for _, p := range w.rows.problems {
		if !h.forges {
			r.problem("%s", p)
		}
	}
	w.rows.mu.Unlock()
	w.mu.Lock()
	for _, note := range w.notes {
		r.problem("%s", note)
	}
	w.mu.Unlock()
	w.judgeProcesses(r)
}

// judgeArrivals looks for what is missing, and whether the account says so.
func (w *world) judgeArrivals(ctx context.Context, r *Result) {
	if w.profile.Lies {
		w.readBack(ctx, r)
	}
	missing := w.arrived(ctx, w.sim.Now(), patience)
	r.Missing = len(missing)
	told := w.verify(ctx)
	switch {
	case w.damaged && told != nil: // what a bad disk has taken may be missing, but never in silence
		r.Told = told.Error()
	case r.Missing > 0:
		r.problem("%d records are missing, such as %s", r.Missing, strings.Join(missing[:min(5, len(missing))], ", "))
	}
	if told != nil && !w.damaged {
		r.problem("the account: %v", told)
	}
}

// judgeProcesses looks for what no program may do, whatever happens around it.
func (w *world) judgeProcesses(r *Result) {
	for name, p := range w.processes {
		exits := p.ended()
		r.Exits += len(exits)
		if name == broker && len(exits) > 0 {
			r.problem("the broker ended by itself: %v", exits)
		}
		for _, line := range panics(p.log()) {
			r.problem("%s: %s", name, line)
		}
	}
}

// arrived waits until all that is visible at a moment is at the sink, and returns what is not.
func (w *world) arrived(ctx context.Context, at time.Time, patience time.Duration) []string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var siem []string
	for t := range w.sim.Truth(w.sim.Epoch(), at) {
		if !t.Visible.After(at) && w.collects(t.Feed) {
			siem = append(siem, string(t.Feed)+" "+t.Key)
		}
	}
	derived := w.derived(at)
	dead := make(map[string]bool)
	for turn := 0; ; turn++ {
		if turn%20 == 19 && (w.profile.Malformed > 0 || w.long) {
			w.dead(ctx, dead)
		}
		w.rows.mu.Lock()
		siem = slices.DeleteFunc(siem, func(key string) bool { return w.rows.siem[key] != nil })
		derived = slices.DeleteFunc(derived, func(key string) bool { return w.rows.derived[key] })
		w.rows.mu.Unlock()
		siem = slices.DeleteFunc(siem, func(key string) bool { return dead[key] })
		if len(siem)+len(derived) == 0 || !sleep(ctx, 50*time.Millisecond) {
			return append(siem, derived...)
		}
	}
}

func (w *world) collects(f feed.Feed) bool { return slices.Contains(w.profile.Work.feeds(), f) }

// derived names all that is to have a row besides the records: what they name, with a report each
// if there are calls enough, and all on the lists of people.
func (w *world) derived(at time.Time) []string {
	var names []string
	all := w.sim.Derived(at)
	if w.profile.Work == ListWork { // no records name any
		all = w.sim.Listed(at)
	}
	for t := range all {
		if !w.collects(t.Feed) {
			continue
		}
		names = append(names, string(t.Feed)+" "+t.Key)
		if w.profile.Forensics && w.profile.Reports {
			names = append(names, report(t.Feed, t.Key))
		}
	}
	for _, call := range []feed.Call{feed.CallVAP, feed.CallTopClickers} {
		if !w.collects(call.Feed()) {
			continue
		}
		for _, days := range w.profile.People {
			for _, guid := range w.sim.People(call, days, at) {
				names = append(names, person(string(call), days, guid))
			}
		}
	}
	return names
}

// dead adds the records whose bytes are in DEAD. What it does not give now, it gives next time.
func (w *world) dead(ctx context.Context, keys map[string]bool) { _, _ = w.letters(ctx, keys) }

// keyOf names the record in a dead letter.
func keyOf(data []byte) string {
	letter := &taplinev1.DeadLetter{}
	if err := proto.Unmarshal(data, letter); err != nil {
		return ""
	}
	return letter.GetFeed() + " " + string(tapsim.FastKey(nil, letter.GetPayload()))
}

// verify waits until the ledger has everything that was read as confirmed, and does not find
// anything wrong. New windows are still read meanwhile.
func (w *world) verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := w.look(ctx)
		if err == nil || !sleep(ctx, 200*time.Millisecond) {
			return err
		}
	}
}

func (w *world) look(ctx context.Context) error {
	b, err := w.connect(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	var limits quota.Config
	if err := config.Load(&limits, nil); err != nil {
		return err
	}
	r, err := overview.Open(ctx, b, "main", limits, w.sim.Now)
	if err != nil {
		return err
	}
	report, err := r.Verify(ctx)
	if err != nil {
		return err
	}
	if !report.Good() || report.Records == 0 || report.Pending > report.Records/10 {
		return fmt.Errorf("%w: %d records, %d pending, violations %v, gaps %v", errAccount, report.Records, report.Pending, report.Violations, report.Gaps)
	}
	return nil
}

// known finds rows that no record explains.
func (w *world) known(r *Result) {
	truth := make(map[string]bool)
	for t := range w.sim.Truth(w.sim.Epoch(), w.sim.Now()) {
		truth[string(t.Feed)+" "+t.Key] = true
	}
	w.rows.mu.Lock()
	defer w.rows.mu.Unlock()
	for key := range w.rows.siem {
		if !truth[key] {
			r.problem("the sink has %s, which nobody made", key)
			return
		}
	}
}

// panics finds in a log what no program may say: that it panicked, or was denied what its work
// takes.
func panics(path string) []string {
	data, err := os.ReadFile(path)      //nolint:gosec // our own log
	if errors.Is(err, fs.ErrNotExist) { // it never ran
		return nil
	}
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "WARNING: DATA RACE") ||
			strings.Contains(line, "ermissions Violation") || strings.Contains(line, "ermissions violation") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}
