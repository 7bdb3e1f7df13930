package plan_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/plan"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// Tables of plans are text, one thing a line. Times are durations after midnight, windows are
// "8h..9h", feeds are their initials, such as "cb,md". What a line does not say is left out.
//
//	start 0h | head 9h | backfill 2h..4h | first 1h | lag 10m | generation 1
//	job sweep 35 8h..9h cb,md overlap=5m
//	aside live 0 8h..9h cb offered=true failures=3 since=9h retry=10h reason
//	backlog 8h..9h cb once=true reason
//	sweep 35 9h skip=10h..11h
//	extra 35 8h..9h cb
//	off cb 8h..9h reason | off cb 8h.. reason
var midnight = time.Date(2026, 3, 11, 0, 0, 0, 0, time.UTC)

var initials = map[string]string{"clicksBlocked": "cb", "clicksPermitted": "cp", "messagesBlocked": "mb", "messagesDelivered": "md"}

func at(text string) time.Time {
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(err)
	}
	return midnight.Add(d)
}

func stampAt(text string) *timestamppb.Timestamp {
	if text == "" {
		return nil
	}
	return timestamppb.New(at(text))
}

func win(text string) window.Window {
	from, to, _ := strings.Cut(text, "..")
	return window.New(at(from), at(to))
}

func feedNames(text string) (names []string) {
	for _, f := range feed.SIEM() {
		if slices.Contains(strings.Split(text, ","), initials[string(f)]) {
			names = append(names, string(f))
		}
	}
	return names
}

func setOf(text string) (set feed.Set) {
	for _, f := range feedNames(text) {
		set = append(set, feed.Feed(f))
	}
	return set
}

func number(text string) uint32 {
	n, err := strconv.ParseUint(cmp.Or(text, "0"), 10, 32)
	if err != nil {
		panic(err)
	}
	return uint32(n)
}

// fields are the words of a line, its options, and the words behind these.
func fields(line string, n int) (words []string, options map[string]string, reason string) {
	all := strings.Fields(line)
	words, all = all[:n], all[n:]
	options = make(map[string]string)
	for len(all) > 0 {
		name, value, ok := strings.Cut(all[0], "=")
		if !ok {
			break
		}
		options[name], all = value, all[1:]
	}
	return words, options, strings.Join(all, " ")
}

func readJob(words []string, options map[string]string) *taplinev1.Job {
	lane := taplinev1.Lane(slices.Index(job.Lanes(), words[0]) + 1)
	j := &taplinev1.Job{
		Tenant: "main", Lane: lane, Pass: number(words[1]), Window: win(words[2]).Proto(), Feeds: feedNames(words[3]),
		Aside: options["offered"] != "", Failures: number(options["failures"]), PlannedAt: stampAt(cmp.Or(options["planned"], words[2][strings.Index(words[2], "..")+2:])),
	}
	if d := options["overlap"]; d != "" {
		j.Overlap = uint32(at(d).Sub(midnight) / time.Second)
	}
	id, err := job.Of(j)
	if err != nil {
		panic(err)
	}
	j.Id = id.String()
	return j
}

// readPlan reads the text of a plan.
func readPlan(text string) *taplinev1.PlanState {
	s := &taplinev1.PlanState{}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		kind, line, _ := strings.Cut(line, " ")
		switch kind {
		case "start":
			s.Start = stampAt(line)
		case "head":
			s.LiveHead = stampAt(line)
		case "backfill":
			s.BackfillNext, s.BackfillEnd = timestamppb.New(win(line).Start), timestamppb.New(win(line).End)
		case "first":
			s.FirstRead = stampAt(line)
		case "lag":
			s.LagMs, s.LagAt = at(line).Sub(midnight).Milliseconds(), s.GetLiveHead()
		case "generation":
			s.Generation = uint64(number(line))
		case "job":
			words, options, _ := fields(line, 4)
			s.Outstanding = append(s.Outstanding, readJob(words, options))
		case "aside":
			words, options, reason := fields(line, 4)
			s.Asides = append(s.Asides, &taplinev1.Aside{
				Job: readJob(words, options), Failures: number(options["failures"]), Since: stampAt(options["since"]), RetryAt: stampAt(options["retry"]), Reason: reason,
			})
		case "backlog":
			words, options, reason := fields(line, 2)
			s.Backlogs = append(s.Backlogs, &taplinev1.Backlog{Window: win(words[0]).Proto(), Feeds: feedNames(words[1]), Reason: reason, OnceMore: options["once"] != ""})
		case "sweep":
			words, options, _ := fields(line, 2)
			sweep := &taplinev1.SweepState{Pass: number(words[0]), Next: stampAt(words[1])}
			for skip := range strings.SplitSeq(options["skip"], ",") {
				if skip != "" {
					sweep.Skips = append(sweep.Skips, win(skip).Proto())
				}
			}
			s.Sweeps = append(s.Sweeps, sweep)
		case "extra":
			words, _, _ := fields(line, 3)
			s.Extras = append(s.Extras, &taplinev1.Extra{Pass: number(words[0]), Window: win(words[1]).Proto(), Feeds: feedNames(words[2])})
		case "off":
			words, _, reason := fields(line, 2)
			from, to, _ := strings.Cut(words[1], "..")
			s.Offs = append(s.Offs, &taplinev1.Off{Feed: feedNames(words[0])[0], Start: stampAt(from), End: stampAt(to), Reason: reason})
		default:
			panic(line)
		}
	}
	return s
}

func after(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	text := t.AsTime().Sub(midnight).String()
	if text == "0s" {
		return "0h"
	}
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func spanText(w *taplinev1.Window) string { return after(w.GetStart()) + ".." + after(w.GetEnd()) }

func feedText(names []string) string {
	var short []string
	for _, f := range names {
		short = append(short, initials[f])
	}
	return strings.Join(short, ",")
}

func jobText(j *taplinev1.Job) string {
	text := fmt.Sprintf("%s %d %s %s", job.LaneName(j.GetLane()), j.GetPass(), spanText(j.GetWindow()), feedText(j.GetFeeds()))
	if j.GetOverlap() > 0 {
		text += " overlap=" + (time.Duration(j.GetOverlap()) * time.Second).String()
	}
	if j.GetAside() {
		text += " offered=true"
	}
	if j.GetFailures() > 0 {
		text += fmt.Sprintf(" failures=%d", j.GetFailures())
	}
	return text
}

// planText is the text of a plan, but for the sweeps when they are of no interest.
func planText(s *taplinev1.PlanState, sweeps bool) (lines []string) {
	add := func(format string, args ...any) {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
	add("start %s", after(s.GetStart()))
	add("head %s", after(s.GetLiveHead()))
	if s.GetBackfillNext().AsTime().Before(s.GetBackfillEnd().AsTime()) {
		add("backfill %s..%s", after(s.GetBackfillNext()), after(s.GetBackfillEnd()))
	}
	if s.GetFirstRead() != nil {
		add("first %s", after(s.GetFirstRead()))
	}
	if s.GetLagMs() > 0 {
		add("lag %s", time.Duration(s.GetLagMs())*time.Millisecond)
	}
	for _, j := range s.GetOutstanding() {
		add("job %s", jobText(j))
	}
	for _, a := range s.GetAsides() {
		tried := ""
		if a.GetFailures() != a.GetJob().GetFailures() {
			tried = fmt.Sprintf(" tried=%d", a.GetFailures())
		}
		add("aside %s%s since=%s retry=%s %s", jobText(a.GetJob()), tried, after(a.GetSince()), after(a.GetRetryAt()), a.GetReason())
	}
	for _, b := range s.GetBacklogs() {
		once := ""
		if b.GetOnceMore() {
			once = "once=true "
		}
		add("backlog %s %s %s%s", spanText(b.GetWindow()), feedText(b.GetFeeds()), once, b.GetReason())
	}
	for _, x := range s.GetExtras() {
		add("extra %d %s %s", x.GetPass(), spanText(x.GetWindow()), feedText(x.GetFeeds()))
	}
	for _, o := range s.GetOffs() {
		add("off %s %s..%s %s", initials[o.GetFeed()], after(o.GetStart()), after(o.GetEnd()), o.GetReason())
	}
	for _, sweep := range s.GetSweeps() {
		if sweeps {
			skips := ""
			for _, w := range sweep.GetSkips() {
				skips += " skip=" + spanText(w)
			}
			add("sweep %d %s%s", sweep.GetPass(), after(sweep.GetNext()), skips)
		}
	}
	return lines
}

// outputText is what a step says beside the plan.
func outputText(out plan.Output) (lines []string) {
	add := func(kind string, r plan.Range) {
		lines = append(lines, fmt.Sprintf("%s %s %s %s", kind, spanText(r.Proto()), feedText(r.Feeds), r.Reason))
	}
	for _, r := range out.Lost {
		add("lost", r)
	}
	for _, r := range out.Sealed {
		add("sealed", r)
	}
	if out.Dropped != nil {
		add("dropped", *out.Dropped)
	}
	return lines
}

// want compares lines with a text, whatever its indentation.
func want(t *testing.T, lines []string, text string) {
	t.Helper()
	var wanted []string
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			wanted = append(wanted, line)
		}
	}
	if !slices.Equal(lines, wanted) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(lines, "\n\t"), strings.Join(wanted, "\n\t"))
	}
}
