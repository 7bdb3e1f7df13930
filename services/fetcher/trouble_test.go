package fetcher_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
)

// in is the job of a window in another lane.
func (b *bench) in(lane taplinev1.Lane, name string, w window.Window) *taplinev1.Job {
	j := b.job(w, 0)
	j.Lane, j.Id = lane, strings.Replace(j.GetId(), "/backfill/", "/"+name+"/", 1)
	return j
}

func (b *bench) asked(path string, status int) int { return b.sim.Status().Requests[path][status] }

// TestTroubleOfPeopleIsTheirsAlone: 403 for one list stops neither windows nor threats. Their
// success does not end its alarm; its own does.
func TestTroubleOfPeopleIsTheirsAlone(t *testing.T) {
	t.Parallel()
	b := hasty(t)
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultStatus, Status: 403, Path: feed.CallVAP.Path()})
	b.start(t)
	people := b.order(feed.CallVAP, taplinev1.Lane_LANE_LIST, 1, "14")
	b.plan(t, people)
	poll(t, func() bool { return b.raised(t, alarm.Forbidden) != "" })
	threat := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 7, b.threats(t, 1)...)
	others := []*taplinev1.Job{b.job(b.window, 0), threat, b.order(feed.CallTopClickers, taplinev1.Lane_LANE_LIST, 1, "14")}
	for _, job := range others {
		b.plan(t, job)
		b.record(t, job)
	}
	if told := b.raised(t, alarm.Forbidden); !strings.Contains(told, feed.CallVAP.Path()) {
		t.Errorf("the alarm says %q", told)
	}
	if n := b.asked(feed.CallVAP.Path(), 403); n > 2 {
		t.Errorf("%d calls for what is forbidden", n)
	}
	b.sim.Clear()
	b.record(t, people)
	poll(t, func() bool { return b.raised(t, alarm.Forbidden) == "" })
}

// TestFailingBackfillLeavesLiveAlone: an hour of the past is answered with 504, and live windows
// are read. The alarm is about the former until its endpoint serves that lane.
func TestFailingBackfillLeavesLiveAlone(t *testing.T) {
	t.Parallel()
	b := hasty(t)
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultStatus, Status: 504, Instant: b.window.Start.Add(time.Second)})
	b.start(t)
	old := b.job(window.New(b.window.Start, b.window.Start.Add(50*time.Second)), 0) // it cannot be cut in time
	old.Feeds, old.Id = old.GetFeeds()[:1], strings.Replace(old.GetId(), "/all/", "/clicksBlocked/", 1)
	b.plan(t, old)
	path := feed.SIEMClicksBlocked.Path
	for i := range 3 {
		poll(t, func() bool { return b.asked(path, 504) > i })
		live := b.in(taplinev1.Lane_LANE_LIVE, "live", window.New(b.window.End.Add(time.Duration(i)*time.Minute), b.window.End.Add(time.Duration(i+1)*time.Minute)))
		b.plan(t, live)
		if r := b.record(t, live); r.GetCalls() != 1 {
			t.Errorf("%v", r)
		}
	}
	poll(t, func() bool { return strings.Contains(b.raised(t, alarm.Proofpoint), path+" (backfill)") })
	b.sim.Clear()
	next := b.job(window.New(b.window.Start.Add(time.Minute), b.window.Start.Add(2*time.Minute)), 0)
	next.Feeds, next.Id = next.GetFeeds()[:1], strings.Replace(next.GetId(), "/all/", "/clicksBlocked/", 1)
	b.plan(t, next)
	if r := b.record(t, next); r.GetState() != fetched {
		t.Errorf("%v", r)
	}
	poll(t, func() bool { return b.raised(t, alarm.Proofpoint) == "" })
}

// TestAListThatFails: no answer ends it, it costs a few calls of the pool's few, and another list
// of the pool continues.
func TestAListThatFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []tapsim.Fault{{Kind: tapsim.FaultBadRequest}, {Kind: tapsim.FaultStatus, Status: 404}, {Kind: tapsim.FaultEmpty}} {
		b := newBench(t, nil)
		fault.Path = feed.CallVAP.Path()
		b.inject(t, fault)
		b.start(t)
		people := b.order(feed.CallVAP, taplinev1.Lane_LANE_LIST, 1, "14")
		other := b.order(feed.CallTopClickers, taplinev1.Lane_LANE_LIST, 1, "14")
		b.plan(t, people)
		b.plan(t, other)
		b.record(t, other)
		b.unknown(t, people)
		used := b.sim.Status().Quota[feed.PoolPeopleVAP]
		if len(b.deadLetters(t)) > 0 || used.Used > 1 {
			t.Errorf("%v: %+v, letters %v", fault, used, b.deadLetters(t))
		}
	}
}

// TestOneAnswerCostsFetchersTogether: each list of a pool is asked for by another fetcher, and the
// third knows of the failures of the others.
func TestOneAnswerCostsFetchersTogether(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	path := feed.CallVAP.Path()
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultStatus, Status: 500, Path: path})
	for i, days := range []string{"14", "30"} {
		stop := b.start(t)
		b.plan(t, b.order(feed.CallVAP, taplinev1.Lane_LANE_LIST, 1, days))
		poll(t, func() bool { return b.asked(path, 500) == i+1 })
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	b.start(t, "FETCHER_WORKERS=1")
	b.plan(t, b.order(feed.CallVAP, taplinev1.Lane_LANE_LIST, 1, "90"))
	next := b.order(feed.CallTopClickers, taplinev1.Lane_LANE_LIST, 1, "14")
	b.plan(t, next)
	b.record(t, next) // so the one before had its turn
	if n := b.asked(path, 500); n != 2 {
		t.Errorf("%d calls of 50 for one answer", n)
	}
}

// TestAReportThatIsNotThere is asked for twice, hours apart, and goes to DEAD with its job.
func TestAReportThatIsNotThere(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.haste = 5000 // four hours are three seconds
	path := feed.CallThreatForensics.Path()
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultStatus, Status: http.StatusNotFound, Path: path})
	b.start(t, quick...)
	job := b.order(feed.CallThreatForensics, taplinev1.Lane_LANE_FORENSICS_1, 7, b.threats(t, 1)...)
	began := time.Now()
	b.plan(t, job)
	if f := b.record(t, job).GetFeeds()[0]; f.GetDead() != 1 {
		t.Errorf("%v", f)
	}
	letters := b.deadLetters(t)
	if n := b.asked(path, http.StatusNotFound); n != 2 || len(letters) != 1 || letters[0].GetRetry() == nil || letters[0].GetAttempts() != 2 {
		t.Errorf("%d calls, letters %v", n, letters)
	}
	if time.Since(began) < 4*time.Hour/b.haste {
		t.Errorf("the second call came after %s", time.Since(began))
	}
}

// TestAPathThatKnowsNoID: that many ids in a row are not found is not their fault. None goes to
// DEAD, and when the path answers again all are answered.
func TestAPathThatKnowsNoID(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	b := hasty(t)
	path := feed.CallThreat.Path()
	b.start(t, "EXPAND_RATE=1000", "EXPAND_RETRY_DELAY=50ms")
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultStatus, Status: http.StatusNotFound, Path: path + "/"})
	ids := b.threats(t, 8)
	job := b.order(feed.CallThreat, taplinev1.Lane_LANE_EXPAND, 7, ids...)
	b.plan(t, job)
	poll(t, func() bool { return b.asked(path+"/", http.StatusNotFound) > 20 })
	b.sim.Clear()
	poll(t, func() bool { return b.asked(path+"/", http.StatusOK) >= len(ids) })
	if letters := b.deadLetters(t); len(letters) > 0 {
		t.Errorf("%v", letters)
	}
}

// TestEveryPoolIsAsked before a call is made.
func TestEveryPoolIsAsked(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil, closed(t)...)
	id := b.threats(t, 1)
	for _, job := range []*taplinev1.Job{
		b.job(b.window, 0),
		b.order(feed.CallCampaignIDs, taplinev1.Lane_LANE_LIST, 1),
		b.order(feed.CallVAP, taplinev1.Lane_LANE_LIST, 1, "14"),
		b.order(feed.CallTopClickers, taplinev1.Lane_LANE_LIST, 1, "14"),
		b.order(feed.CallThreatForensics, taplinev1.Lane_LANE_FORENSICS_1, 7, id...),
		b.order(feed.CallCampaignForensics, taplinev1.Lane_LANE_FORENSICS_1, 7, id...),
	} {
		b.plan(t, job)
	}
	b.start(t)
	for _, consumer := range []bus.Consumer{bus.ConsumerFetcherBackfill, bus.ConsumerFetcherList} {
		poll(t, func() bool {
			backlog, err := b.bus.Backlog(t.Context(), consumer)
			return err == nil && backlog.InWork > 0 && backlog.Waiting == 0
		})
	}
	for pool, q := range b.sim.Status().Quota {
		if q.Used > 0 && pool != feed.PoolNone {
			t.Errorf("%d calls of the closed pool %s", q.Used, pool)
		}
	}
}
