package fetcher_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
)

func (b *bench) unknown(t *testing.T, job *taplinev1.Job) {
	t.Helper()
	bucket, err := b.bus.Bucket(t.Context(), bus.BucketLedger)
	if err != nil {
		t.Fatal(err)
	}
	known, err := ledger.New(bucket).Outcomes(t.Context(), job.GetId())
	if err != nil || len(known) > 0 {
		t.Errorf("%s: %v %v, want nothing known", job.GetId(), known, err)
	}
}

func (b *bench) alarms(t *testing.T) []*taplinev1.Alarm {
	t.Helper()
	state, err := b.bus.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	raised, err := alarm.Read(t.Context(), state, "main", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return raised
}

// sweepIn is a sweep that is due after a while.
func (b *bench) sweepIn(wait time.Duration) *taplinev1.Job {
	end := b.sim.Now().Add(wait - 10*time.Minute).Truncate(time.Second)
	return b.sweep(window.New(end.Add(-time.Minute), end))
}

// sweep is a job that reads a window once more when it is ten minutes old.
func (b *bench) sweep(w window.Window) *taplinev1.Job {
	j := b.job(w, 10)
	j.Lane, j.Id = taplinev1.Lane_LANE_SWEEP, strings.Replace(j.GetId(), "/backfill/", "/sweep/", 1)
	return j
}

// TestWhatIsNotDueIsNotCalled: a scheduler whose clock is ahead plans too early. That costs no
// calls, and a sweep is one of the age it says.
func TestWhatIsNotDueIsNotCalled(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.start(t)
	end := b.sim.Now().Add(time.Hour).Truncate(time.Second)
	future := b.job(window.New(end.Add(-30*time.Minute), end), 0)
	now := b.sim.Now().Truncate(time.Second)
	fresh := b.job(window.New(now.Add(-10*time.Minute), now), 0) // it has ended, and neither half is behind the head margin
	fresh.MarginMs = uint32(time.Hour.Milliseconds())
	sweep, soon, past := b.sweepIn(5*time.Minute), b.sweepIn(4*time.Second), b.job(b.window, 0)
	b.plan(t, past) // its answer tells the time
	b.record(t, past)
	for _, job := range []*taplinev1.Job{future, sweep, fresh, soon} { // one after the other, in one lane
		b.plan(t, job)
	}
	due := soon.GetWindow().GetEnd().AsTime().Add(10 * time.Minute)
	// The Date header is up to a second behind.
	if at := b.record(t, soon).GetReadAt().AsTime(); at.Before(due.Add(-2 * time.Second)) {
		t.Errorf("a sweep that is due at %s was made at %s", due, at)
	}
	if raised := b.alarms(t); len(raised) != 1 || raised[0].GetName() != string(alarm.ClockSkew) {
		t.Errorf("alarms %v", raised)
	}
	b.unknown(t, future)
	b.unknown(t, sweep)
	b.unknown(t, fresh)
	if calls := b.sim.Status().Quota[feed.PoolSIEM].Used; calls != 2 {
		t.Errorf("%d calls, want 2", calls)
	}
}

// TestAWindowThatHasBegunIsCut: its first half need not wait for the end of the second.
func TestAWindowThatHasBegunIsCut(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.start(t)
	now := b.sim.Now().Truncate(time.Second)
	job := b.job(window.New(now.Add(-10*time.Minute), now.Add(40*time.Minute)), 0)
	b.plan(t, job)
	if r := b.record(t, job); r.GetState() != taplinev1.WindowState_WINDOW_STATE_SPLIT {
		t.Errorf("%v", r)
	}
	if calls := b.sim.Status().Quota[feed.PoolSIEM].Used; calls != 0 {
		t.Errorf("%d calls", calls)
	}
}

// measuredTwoHours fails unless the clock of a call is known to have been two hours ahead. How long
// a busy machine takes from one line to the next does not count.
func (b *bench) measuredTwoHours(t *testing.T, r *taplinev1.JobRecord) {
	t.Helper()
	skew, off := time.Duration(r.GetSkewMs())*time.Millisecond, r.GetReadAt().AsTime().Sub(b.sim.Now())
	if skew.Round(time.Hour) != 2*time.Hour || off.Round(time.Hour) != 0 {
		t.Errorf("read at %s with a clock that is %s ahead, at %s", r.GetReadAt().AsTime(), skew, b.sim.Now())
	}
}

// TestAClockThatJumps: the answer shows that a sweep was called too early. It counts for nothing.
// The jump itself counts when a second answer shows it.
func TestAClockThatJumps(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.start(t)
	first, sweep := b.job(b.window, 0), b.sweepIn(5*time.Minute)
	b.plan(t, first)
	b.record(t, first)
	b.ahead.Store(int64(2 * time.Hour))
	calls := func() int { return b.sim.Status().Quota[feed.PoolSIEM].Used }
	b.plan(t, sweep)
	poll(t, func() bool { return calls() == 2 }) // it tells the time
	r, more := &taplinev1.JobRecord{}, 0
	for ; more < 2 && r.GetSkewMs() == 0; more++ { // the answer for the sweep may be looked at after the next step of the clock
		b.later.Add(int64(31 * time.Second))
		next := b.job(window.New(b.window.Start.Add(-time.Hour), b.window.Start.Add(-time.Duration(more)*time.Minute)), 0)
		b.plan(t, next)
		r = b.record(t, next)
	}
	if n := calls(); n != 2+more {
		t.Errorf("%d calls, want %d", n, 2+more)
	}
	b.unknown(t, sweep)
	b.measuredTwoHours(t, r)
}

// dateless gives answers without a Date header.
type dateless struct{ http.ResponseWriter }

func (d dateless) WriteHeader(status int) {
	d.Header()["Date"] = nil
	d.ResponseWriter.WriteHeader(status)
}

func (d dateless) Write(p []byte) (int, error) {
	d.Header()["Date"] = nil
	return d.ResponseWriter.Write(p)
}

// withhold takes the Date header out of the answers to calls for such paths.
func (b *bench) withhold(t *testing.T, prefix string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, prefix) {
			w = dateless{w}
		}
		b.sim.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
}

// TestAnswersThatDoNotTellTheTime: the local clock, which is behind, is no reason to refuse them;
// each would be called for again and again.
func TestAnswersThatDoNotTellTheTime(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.withhold(t, "/")
	b.ahead.Store(int64(-3 * time.Hour))
	b.start(t)
	first, sweep := b.job(b.window, 0), b.sweepIn(-time.Minute)
	for _, job := range []*taplinev1.Job{first, sweep} {
		b.plan(t, job)
		if r := b.record(t, job); r.GetState() != taplinev1.WindowState_WINDOW_STATE_FETCHED || r.GetSkewMs() != 0 {
			t.Errorf("%v", r)
		}
	}
	if calls := b.sim.Status().Quota[feed.PoolSIEM].Used; calls != 2 {
		t.Errorf("%d calls, want 2", calls)
	}
}

// TestAClockThatWasMeasuredBefore: an answer that does not tell the time does not say that the
// local clock is right. The scheduler would plan ahead.
func TestAClockThatWasMeasuredBefore(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.ahead.Store(int64(2 * time.Hour))
	b.start(t)
	for i := range 3 {
		if i == 2 {
			if err := b.sim.Inject(tapsim.Fault{Kind: tapsim.FaultNoDate}); err != nil {
				t.Fatal(err)
			}
		}
		b.later.Store(int64(i * int(31*time.Second)))
		job := b.job(window.New(b.window.Start.Add(-time.Duration(i)*time.Minute), b.window.End.Add(-time.Duration(i)*time.Minute)), 0)
		b.plan(t, job)
		if r := b.record(t, job); i > 0 {
			b.measuredTwoHours(t, r)
		}
	}
}

// TestADateThatLies: ten days ahead, two days behind, or absent, on one answer or on all. Windows
// are read as if nothing were.
func TestADateThatLies(t *testing.T) {
	t.Parallel()
	for _, fault := range []tapsim.Fault{
		{Kind: tapsim.FaultDate, Delay: 240 * time.Hour, Count: 1},
		{Kind: tapsim.FaultDate, Delay: 240 * time.Hour},
		{Kind: tapsim.FaultDate, Delay: -48 * time.Hour, Count: 1},
		{Kind: tapsim.FaultDate, Delay: -48 * time.Hour},
		{Kind: tapsim.FaultNoDate},
	} {
		b := newBench(t, nil)
		if err := b.sim.Inject(fault); err != nil {
			t.Fatal(err)
		}
		b.start(t)
		for i := range 4 {
			b.later.Store(int64(i * int(31*time.Second)))
			now := b.now()
			job := b.job(window.New(now.Add(-time.Duration(i+2)*time.Minute), now.Add(-time.Minute)), 0)
			b.plan(t, job)
			r := b.record(t, job)
			if r.GetState() != taplinev1.WindowState_WINDOW_STATE_FETCHED || r.GetReadAt().AsTime().After(b.now()) || b.now().Sub(r.GetReadAt().AsTime()) > time.Minute {
				t.Errorf("%+v: read at %s, at %s: %v", fault, r.GetReadAt().AsTime(), b.now(), r)
			}
		}
		if calls := b.sim.Status().Quota[feed.PoolSIEM].Used; calls != 4 {
			t.Errorf("%+v: %d calls for four windows", fault, calls)
		}
	}
}

// TestAnErrorPageTellsNoTime: a cache answers the check of the credential with an old page.
func TestAnErrorPageTellsNoTime(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	if err := b.sim.Inject(tapsim.Fault{Kind: tapsim.FaultDate, Delay: -72 * time.Hour, Path: "/v2/threat/summary/"}); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	job := b.job(b.window, 0)
	b.plan(t, job)
	if r := b.record(t, job); r.GetState() != taplinev1.WindowState_WINDOW_STATE_FETCHED || max(r.GetSkewMs(), -r.GetSkewMs()) > time.Minute.Milliseconds() {
		t.Errorf("%v", r)
	}
}
