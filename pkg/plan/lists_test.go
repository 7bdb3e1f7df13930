package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/plan"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// listText is the text of a list after a step.
func listText(s *taplinev1.ListState, out plan.ListOutput) (lines []string) {
	page := "no page"
	if j := s.GetOutstanding(); j != nil {
		page = fmt.Sprintf("page %d of %s", j.GetPass(), spanText(j.GetWindow()))
	}
	lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s, read up to %s from %s, %d pages, due %s", page, after(s.GetHead()), after(s.GetStart()), s.GetPages(), after(s.GetDue()))))
	if s.GetStartTime() != "" || s.GetRead() > 0 || s.GetFailures() > 0 {
		lines = append(lines, fmt.Sprintf("start time %q, %d entries, %d failures", s.GetStartTime(), s.GetRead(), s.GetFailures()))
	}
	if out.Lost != nil {
		lines = append(lines, fmt.Sprintf("lost %s %s", spanText(out.Lost.Proto()), out.Lost.Reason))
	}
	for _, note := range []string{out.Note, out.Earlier} {
		if note != "" {
			lines = append(lines, note)
		}
	}
	return lines
}

type list struct {
	head, start, due, text string
	window                 string // of the page that is outstanding
	page, pages, failures  uint32
	read                   int64
}

func (l list) state() *taplinev1.ListState {
	s := &taplinev1.ListState{
		Head: stampAt(l.head), Start: stampAt(l.start), Due: stampAt(l.due), StartTime: l.text, Pages: l.pages, Failures: l.failures, Read: l.read,
	}
	if l.window != "" {
		s.Outstanding = &taplinev1.Job{Window: win(l.window).Proto(), Pass: max(l.page, 1), PlannedAt: timestamppb.New(win(l.window).End)}
	}
	return s
}

// TestCampaignsInSteps: an hour each time, and more at once when it is behind.
func TestCampaignsInSteps(t *testing.T) {
	t.Parallel()
	lost := &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_LOST, Reason: "gone"}
	unproven := &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_UNPROVEN}
	for name, c := range map[string]struct {
		now     string
		list    list
		outcome *taplinev1.JobRecord
		want    string
	}{
		"the first start": {"100h", list{}, nil, `
		page 1 of 97h..99h59m55s, read up to  from 97h, 0 pages, due
		start time "3h", 0 entries, 0 failures`},
		"of an earlier version": {"100h", list{head: "80h"}, nil, `
		page 1 of 80h..99h59m55s, read up to 80h from 80h, 0 pages, due
		start time "3h", 0 entries, 0 failures`},
		"which came further": {"100h", list{head: "99h", due: "101h"}, nil, `
		no page, read up to 99h from 97h, 0 pages, due 101h
		start time "3h", 0 entries, 0 failures`},
		"it is due": {"100h", list{head: "99h", start: "50h", due: "100h", text: "3h"}, nil, `
		page 1 of 75h59m55s..99h59m55s, read up to 99h from 50h, 0 pages, due 100h
		start time "3h", 0 entries, 0 failures`},
		"it is due in a second": {"100h", list{head: "99h", start: "50h", due: "100h1s", text: "3h"}, nil, `
		no page, read up to 99h from 50h, 0 pages, due 100h0m1s
		start time "3h", 0 entries, 0 failures`},
		"a day and more": {"100h", list{head: "70h", start: "50h", due: "100h", text: "3h"}, nil, `
		page 1 of 69h..93h, read up to 70h from 50h, 0 pages, due 100h
		start time "3h", 0 entries, 0 failures`},
		"no more than a day": {"100h0m5s", list{head: "77h", start: "50h", due: "100h", text: "3h"}, nil, `
		page 1 of 76h..100h, read up to 77h from 50h, 0 pages, due 100h
		start time "3h", 0 entries, 0 failures`},
		"after a failure": {"100h", list{head: "70h", start: "50h", due: "100h", text: "3h", failures: 1}, nil, `
		page 1 of 69h..92h59m, read up to 70h from 50h, 0 pages, due 100h
		start time "3h", 0 entries, 1 failures`},
		"after many failures": {"100h", list{head: "70h", start: "50h", due: "100h", text: "3h", failures: 2000}, nil, `
		page 1 of 69h..71h, read up to 70h from 50h, 0 pages, due 100h
		start time "3h", 0 entries, 2000 failures`},
		"a start of this minute": {"100h", list{start: "99h59m30s", text: "3h"}, nil, `
		no page, read up to  from 99h59m30s, 0 pages, due
		start time "3h", 0 entries, 0 failures`},
		"a start half a minute ago": {"100h", list{start: "99h59m25s", text: "3h"}, nil, `
		page 1 of 99h59m25s..99h59m55s, read up to  from 99h59m25s, 0 pages, due
		start time "3h", 0 entries, 0 failures`},
		"a page under way": {"100h", list{head: "99h", start: "50h", due: "100h", text: "3h", window: "98h..99h"}, nil, `
		page 1 of 98h..99h, read up to 99h from 50h, 0 pages, due 100h
		start time "3h", 0 entries, 0 failures`},
		"a page": {"100h", list{head: "98h", start: "50h", text: "3h", window: "98h..99h30m", read: 5}, readPage(7, 0), `
		no page, read up to 99h30m from 50h, 1 pages, due 100h10m
		start time "3h", 12 entries, 0 failures`},
		"a full page": {"100h", list{head: "98h", start: "50h", text: "3h", window: "98h..99h30m", read: 5}, readPage(200, 0), `
		page 2 of 98h..99h30m, read up to 98h from 50h, 0 pages, due
		start time "3h", 205 entries, 0 failures`},
		"a page nearly full": {"100h", list{head: "98h", start: "50h", text: "3h", window: "98h..99h30m", page: 3}, readPage(199, 0), `
		no page, read up to 99h30m from 50h, 3 pages, due 101h34m
		start time "3h", 199 entries, 0 failures`},
		"many pages": {"100h", list{head: "98h", start: "50h", text: "3h", window: "98h..99h30m", page: 20, failures: 3}, readPage(1, 0), `
		no page, read up to 99h30m from 50h, 20 pages, due 108h10m
		start time "3h", 1 entries, 0 failures`},
		"an hour and less behind": {"100h", list{head: "70h", start: "50h", text: "3h", window: "70h..98h59m55s"}, readPage(1, 0), `
		no page, read up to 98h59m55s from 50h, 1 pages, due 100h10m
		start time "3h", 1 entries, 0 failures`},
		"more than an hour behind": {"100h", list{head: "70h", start: "50h", text: "3h", window: "70h..98h59m54s"}, readPage(1, 0), `
		page 1 of 75h59m55s..99h59m55s, read up to 98h59m54s from 50h, 1 pages, due 100h
		start time "3h", 0 entries, 0 failures`},
		"a page given up": {"100h", list{head: "70h", start: "50h", text: "3h", window: "70h..90h", failures: 1}, lost, `
		no page, read up to 70h from 50h, 0 pages, due 106h
		start time "3h", 0 entries, 2 failures`},
		"a page unproven": {"100h", list{head: "70h", start: "50h", text: "3h", window: "70h..90h"}, unproven, `
		no page, read up to 70h from 50h, 0 pages, due 106h
		start time "3h", 0 entries, 1 failures`},
		"a page of a week ago": {"200h", list{head: "10h", start: "5h", text: "3h", window: "10h..32h"}, lost, `
		no page, read up to 10h from 5h, 0 pages, due 206h
		start time "3h", 0 entries, 1 failures`},
		"and more": {"200h", list{head: "10h", start: "5h", text: "3h", window: "10h..31h59m59s"}, lost, `
		page 1 of 30h59m59s..54h59m59s, read up to 31h59m59s from 5h, 1 pages, due 200h
		start time "3h", 0 entries, 0 failures
		lost 10h..31h59m59s gone`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := plan.ListConfig{Tenant: "main", Call: feed.CallCampaignIDs, Interval: time.Hour, Start: at("97h"), Text: "3h", Margin: 5 * time.Second, Spread: 10 * time.Minute, Limit: 50, Lists: 1}
			s := c.list.state()
			out := plan.StepList(config, s, at(c.now), c.outcome)
			want(t, listText(s, out), c.want)
		})
	}
}

// TestPeopleInSteps: a snapshot is read at its interval, which grows with its pages.
func TestPeopleInSteps(t *testing.T) {
	t.Parallel()
	lost := &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_LOST, Reason: "gone"}
	for name, c := range map[string]struct {
		now     string
		list    list
		limit   int
		outcome *taplinev1.JobRecord
		want    string
	}{
		"the first start": {"100h", list{}, 50, nil, `
		page 1 of 96h..99h59m55s, read up to  from 90h, 0 pages, due`},
		"just after midnight": {"96h30s", list{}, 50, nil, `
		no page, read up to  from 90h, 0 pages, due`},
		"the whole list": {"100h", list{window: "96h..100h"}, 50, readPage(7, 7), `
		no page, read up to 100h from 90h, 1 pages, due 104h10m
		start time "", 7 entries, 0 failures`},
		"without a total": {"100h", list{window: "96h..100h"}, 50, readPage(7, 0), `
		page 2 of 96h..100h, read up to  from 90h, 0 pages, due
		start time "", 7 entries, 0 failures`},
		"one is missing": {"100h", list{window: "96h..100h", read: 2, page: 2}, 50, readPage(4, 7), `
		page 3 of 96h..100h, read up to  from 90h, 0 pages, due
		start time "", 6 entries, 0 failures`},
		"none is missing": {"100h", list{window: "96h..100h", read: 3, page: 2}, 50, readPage(4, 7), `
		no page, read up to 100h from 90h, 2 pages, due 104h10m
		start time "", 7 entries, 0 failures`},
		"an empty page": {"100h", list{window: "96h..100h", read: 3, page: 2}, 50, readPage(0, 7), `
		no page, read up to 100h from 90h, 2 pages, due 104h10m
		start time "", 3 entries, 0 failures`},
		"the last page that is read": {"100h", list{window: "96h..100h", page: 500}, 50, readPage(4, 0), `
		no page, read up to 100h from 90h, 500 pages, due 1560h10m
		start time "", 4 entries, 0 failures
		the list vap-14 has no end: 500 pages were read`},
		"the one before": {"100h", list{window: "96h..100h", page: 499}, 50, readPage(4, 0), `
		page 500 of 96h..100h, read up to  from 90h, 0 pages, due
		start time "", 4 entries, 0 failures`},
		"nine pages": {"100h", list{window: "96h..100h", page: 9}, 50, readPage(0, 0), `
		no page, read up to 100h from 90h, 9 pages, due 124h58m`},
		"without a limit": {"100h", list{window: "96h..100h", page: 9}, 0, readPage(0, 0), `
		no page, read up to 100h from 90h, 9 pages, due 104h10m`},
		"soon after the last turn": {"96h20m", list{window: "96h..96h15m"}, 50, readPage(0, 0), `
		no page, read up to 96h15m from 90h, 1 pages, due 104h10m`},
		"long before the next turn": {"100h9m", list{window: "96h..100h"}, 50, readPage(0, 0), `
		no page, read up to 100h from 90h, 1 pages, due 104h10m`},
		"shortly before the next turn": {"100h11m", list{window: "96h..100h"}, 50, readPage(0, 0), `
		no page, read up to 100h from 90h, 1 pages, due 112h10m`},
		"given up": {"300h", list{window: "96h..100h", due: "90h"}, 50, lost, `
		no page, read up to  from 90h, 0 pages, due 306h
		start time "", 0 entries, 1 failures`},
		"of yesterday, two hours old": {"122h", list{window: "96h..120h"}, 50, nil, `
		page 1 of 96h..120h, read up to  from 90h, 0 pages, due`},
		"of yesterday, and older": {"122h0m1s", list{window: "96h..120h"}, 50, nil, `
		page 1 of 120h..121h59m56s, read up to  from 90h, 0 pages, due
		page 1 of the list vap-14 was asked for in vain since 2026-03-16T00:00:00Z; the list is restarted`},
		"of today, and older": {"119h", list{window: "96h..100h"}, 50, nil, `
		page 1 of 96h..100h, read up to  from 90h, 0 pages, due`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := plan.ListConfig{
				Tenant: "main", Call: feed.CallVAP, Days: "14", Interval: 8 * time.Hour, Snapshot: day, Start: at("90h"), Margin: 5 * time.Second,
				Spread: 10 * time.Minute, Limit: c.limit, Lists: 4,
			}
			s := c.list.state()
			out := plan.StepList(config, s, at(c.now), c.outcome)
			want(t, listText(s, out), c.want)
		})
	}
}
