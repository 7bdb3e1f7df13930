package fetcher_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
)

const (
	fetched  = taplinev1.WindowState_WINDOW_STATE_FETCHED
	split    = taplinev1.WindowState_WINDOW_STATE_SPLIT
	unproven = taplinev1.WindowState_WINDOW_STATE_UNPROVEN
	lost     = taplinev1.WindowState_WINDOW_STATE_LOST
)

// hasty is a bench on which waits after failures are short.
func hasty(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, nil)
	b.haste = 100
	return b
}

func (b *bench) inject(t *testing.T, faults ...tapsim.Fault) {
	t.Helper()
	for _, f := range faults {
		if err := b.sim.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
}

// calls counts what reached the SIEM endpoints, whatever was answered.
func (b *bench) calls() (n int) {
	for path, byStatus := range b.sim.Status().Requests {
		if !strings.HasPrefix(path, "/v2/siem") {
			continue
		}
		for _, count := range byStatus {
			n += count
		}
	}
	return n
}

// truth counts the records of a span of time.
func (b *bench) truth(from, to time.Time) (n int64) {
	for range b.sim.Truth(from, to) {
		n++
	}
	return n
}

func received(r *taplinev1.JobRecord) (n int64) {
	for _, f := range r.GetFeeds() {
		n += f.GetReceived()
	}
	return n
}

func (b *bench) raised(t *testing.T, name alarm.Name) string {
	t.Helper()
	for _, a := range b.alarms(t) {
		if a.GetName() == string(name) {
			return a.GetDetail()
		}
	}
	return ""
}

// TestWhatAnAnswerProves: what a window's account says when Proofpoint answers oddly, on one path
// or on all, for once or for good. A window is read on evidence, asked for another way without it,
// and no answer ends it.
func TestWhatAnAnswerProves(t *testing.T) {
	t.Parallel()
	const all = "/v2/siem/all"
	html := tapsim.Fault{Kind: tapsim.FaultBadRequest, Text: "<html><body>Bad Request</body></html>"}
	for name, c := range map[string]struct {
		faults []tapsim.Fault
		state  taplinev1.WindowState
		words  string // in the reason
		most   int    // calls
	}{
		"an empty 400 once":                  {faults: []tapsim.Fault{{Kind: tapsim.FaultBadRequest, Count: 1}}, state: fetched, most: 5},
		"an empty 400 on one path":           {faults: []tapsim.Fault{{Kind: tapsim.FaultBadRequest, Path: all}}, state: fetched, most: 5},
		"an empty 400 for good":              {faults: []tapsim.Fault{{Kind: tapsim.FaultBadRequest}}, state: unproven, words: "400", most: 3},
		"HTML with 400 for good":             {faults: []tapsim.Fault{html}, state: unproven, words: "Bad Request", most: 3},
		"a sentence nobody listed, for good": {faults: []tapsim.Fault{{Kind: tapsim.FaultBadRequest, Text: "No."}}, state: unproven, words: "No.", most: 3},
		"too far past, and it is not": {
			faults: []tapsim.Fault{{Kind: tapsim.FaultBadRequest, Text: "The requested start time is too far into the past."}}, state: unproven, words: "too far", most: 3,
		},
		"404 on one path":                {faults: []tapsim.Fault{{Kind: tapsim.FaultStatus, Status: 404, Path: all}}, state: fetched, most: 5},
		"404 for good":                   {faults: []tapsim.Fault{{Kind: tapsim.FaultStatus, Status: 404}}, state: unproven, words: "404", most: 3},
		"204 without a body":             {faults: []tapsim.Fault{{Kind: tapsim.FaultNoContent}}, state: fetched, most: 1},
		"200 without a body":             {faults: []tapsim.Fault{{Kind: tapsim.FaultEmpty}}, state: unproven, words: "odd-answer", most: 3},
		"syslog":                         {faults: []tapsim.Fault{{Kind: tapsim.FaultSyslog}}, state: unproven, words: "odd-answer", most: 3},
		"HTML with 200":                  {faults: []tapsim.Fault{{Kind: tapsim.FaultHTML}}, state: unproven, words: "html", most: 3},
		"no arrays":                      {faults: []tapsim.Fault{{Kind: tapsim.FaultNoArrays}}, state: unproven, words: "missing", most: 3},
		"no arrays on one path":          {faults: []tapsim.Fault{{Kind: tapsim.FaultNoArrays, Path: all}}, state: fetched, most: 5},
		"one array missing on one path":  {faults: []tapsim.Fault{{Kind: tapsim.FaultNoArray, Array: "messagesDelivered", Path: all}}, state: fetched, most: 5},
		"an array spelled otherwise":     {faults: []tapsim.Fault{{Kind: tapsim.FaultRenamed, Array: "messagesDelivered"}}, state: unproven, words: "messagesDelivered", most: 3},
		"a member that says error":       {faults: []tapsim.Fault{{Kind: tapsim.FaultError, Text: "backend partially unavailable"}}, state: unproven, words: "backend partially", most: 3},
		"a member that says error, once": {faults: []tapsim.Fault{{Kind: tapsim.FaultError, Text: "backend partially unavailable", Count: 1}}, state: fetched, most: 5},
		"too long":                       {faults: []tapsim.Fault{{Kind: tapsim.FaultMaxSpan, Delay: 10 * time.Minute, Text: "The requested interval is too long."}}, state: split, words: "too-long", most: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := hasty(t)
			b.inject(t, c.faults...)
			job := b.job(b.window, 0)
			b.plan(t, job)
			b.start(t)
			r := b.record(t, job)
			if r.GetState() != c.state || !strings.Contains(r.GetReason(), c.words) || int(r.GetCalls()) > c.most {
				t.Errorf("%v", r)
			}
			poll(t, func() bool { return b.calls() == int(r.GetCalls()) }) // a call is counted when it has ended
			want := b.truth(b.window.Start, b.window.End)
			if c.faults[0].Kind == tapsim.FaultNoContent {
				want = 0
			}
			if c.state == fetched && received(r) != want {
				t.Errorf("%d records of %d", received(r), want)
			}
			if c.state == unproven && (r.GetFailures() < 3 || len(b.deadLetters(t)) > 0) {
				t.Errorf("%d failures, letters %v", r.GetFailures(), b.deadLetters(t))
			}
		})
	}
}

// TestAnAnswerThatEndsEarly proves the beginning of its window. What came is stored, and the
// account says up to where it is read.
func TestAnAnswerThatEndsEarly(t *testing.T) {
	t.Parallel()
	b := hasty(t)
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultEarlyEnd, Delay: 10 * time.Minute})
	job := b.job(b.window, 0)
	b.plan(t, job)
	b.start(t)
	r, end := b.record(t, job), b.window.End.Add(-10*time.Minute)
	if r.GetState() != fetched || !r.GetReadEnd().AsTime().Equal(end) || received(r) != b.truth(b.window.Start, end) {
		t.Errorf("%v, want to be read up to %s", r, end)
	}
	if told := b.raised(t, alarm.Answer); !strings.Contains(told, "early-query-end") {
		t.Errorf("the alarm says %q", told)
	}
	short := b.job(window.New(b.window.Start, b.window.Start.Add(5*time.Minute)), 0) // nothing of it is proven
	b.plan(t, short)
	if r := b.record(t, short); r.GetState() != unproven {
		t.Errorf("%v", r)
	}
}

// TestWhatIsLearned: what answers never had, by two ways of asking, is how this API speaks. What
// was there before and is missing now is not.
func TestWhatIsLearned(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault  tapsim.Fault
		before bool // a good answer
		state  taplinev1.WindowState
		lacks  string
	}{
		"no such array ever":             {tapsim.Fault{Kind: tapsim.FaultNoArray, Array: "messagesDelivered"}, false, fetched, "messagesDelivered"},
		"an array that was there":        {tapsim.Fault{Kind: tapsim.FaultNoArray, Array: "messagesDelivered"}, true, unproven, ""},
		"no queryEndTime ever":           {tapsim.Fault{Kind: tapsim.FaultNoEnd}, false, fetched, "queryEndTime"},
		"a queryEndTime that was there":  {tapsim.Fault{Kind: tapsim.FaultNoEnd}, true, unproven, ""},
		"an error is never learned":      {tapsim.Fault{Kind: tapsim.FaultError, Text: "down"}, false, unproven, ""},
		"no array at all is not learned": {tapsim.Fault{Kind: tapsim.FaultNoArrays}, false, unproven, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := hasty(t)
			b.start(t)
			if c.before {
				first := b.job(b.window, 0)
				b.plan(t, first)
				b.record(t, first)
			}
			b.inject(t, c.fault)
			var r *taplinev1.JobRecord
			for i := range 3 { // the first may be set aside while it is learned
				job := b.job(window.New(b.window.Start.Add(-time.Duration(i+1)*10*time.Minute), b.window.Start.Add(-time.Duration(i)*10*time.Minute)), 0)
				b.plan(t, job)
				r = b.record(t, job)
			}
			state, err := b.bus.Bucket(t.Context(), bus.BucketState)
			if err != nil {
				t.Fatal(err)
			}
			shapes := &taplinev1.Shapes{}
			if e, err := state.Get(t.Context(), "shape.main"); err == nil {
				if err := proto.Unmarshal(e.Value, shapes); err != nil {
					t.Fatal(err)
				}
			}
			var lacks []string
			for _, l := range shapes.GetLearned() {
				lacks = append(lacks, l.GetLacks())
			}
			if r.GetState() != c.state || strings.Join(lacks, " ") != c.lacks {
				t.Errorf("learned %q: %v", lacks, r)
			}
		})
	}
}

// TestAWindowThatIsTooShort is asked for with more around it.
func TestAWindowThatIsTooShort(t *testing.T) {
	t.Parallel()
	b := hasty(t)
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultMinSpan, Delay: 5 * time.Minute, Text: "The requested interval is too short."})
	b.start(t)
	most := 4 // of one, two, four and eight minutes
	for i := range 3 {
		job := b.job(window.New(b.window.Start.Add(time.Duration(i)*time.Minute), b.window.Start.Add(time.Duration(i+1)*time.Minute)), 0)
		b.plan(t, job)
		if r := b.record(t, job); r.GetState() != fetched || b.calls() > most+i {
			t.Errorf("%d calls: %v", b.calls(), r)
		}
	}
}

// TestTooLongInOtherWords: windows of more than ten minutes are refused in unknown words. That is
// found out, and then costs no calls.
func TestTooLongInOtherWords(t *testing.T) {
	t.Parallel()
	b := hasty(t)
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultMaxSpan, Delay: 10 * time.Minute, Text: "Please ask for less."})
	b.start(t)
	brief := b.job(window.New(b.window.Start.Add(-10*time.Minute), b.window.Start), 0)
	b.plan(t, brief)
	b.record(t, brief)
	half := window.New(b.window.Start, b.window.Start.Add(20*time.Minute))
	long := b.job(half, 0)
	again := b.job(window.New(b.window.Start.Add(-40*time.Minute), b.window.Start.Add(-30*time.Minute)), 0)
	b.plan(t, long)
	poll(t, func() bool { return b.calls() >= 2 })
	b.plan(t, again) // the endpoint serves others meanwhile
	if r := b.record(t, long); r.GetState() != split {
		t.Fatalf("%v", r)
	}
	part := b.job(window.New(half.Start, half.Start.Add(10*time.Minute)), 0)
	b.plan(t, part)
	b.record(t, part)
	before := b.calls()
	next := b.job(window.New(b.window.Start.Add(20*time.Minute), b.window.End), 0)
	b.plan(t, next)
	if r := b.record(t, next); r.GetState() != split || b.calls() != before {
		t.Errorf("%d calls: %v", b.calls()-before, r)
	}
}

// TestAWindowThatWasSetAside is called once for each offer, and read when Proofpoint answers again.
// A record that is newer than the offer counts.
func TestAWindowThatWasSetAside(t *testing.T) {
	t.Parallel()
	b := hasty(t)
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultBadRequest})
	job := b.job(b.window, 0)
	b.plan(t, job)
	b.start(t)
	b.record(t, job)
	offer := func(failures uint32) {
		j := proto.CloneOf(job)
		j.Aside, j.Failures = true, failures
		b.plan(t, j)
	}
	before := b.calls()
	offer(3)
	poll(t, func() bool { return b.record(t, job).GetFailures() == 4 })
	if n := b.calls() - before; n != 1 {
		t.Errorf("%d calls for one offer", n)
	}
	offer(3) // as if the acknowledgement had been lost
	offer(4)
	poll(t, func() bool { return b.record(t, job).GetFailures() == 5 })
	if n := b.calls() - before; n != 2 {
		t.Errorf("%d calls for two offers", n)
	}
	b.sim.Clear()
	offer(5)
	poll(t, func() bool { return b.record(t, job).GetState() == fetched })
	poll(t, func() bool { return b.raised(t, alarm.Answer) == "" })
}

// TestAJobOfNoPlan is not called.
func TestAJobOfNoPlan(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	stray, good := b.job(b.window, 0), b.job(window.New(b.window.Start, b.window.Start.Add(time.Minute)), 0)
	if err := b.bus.PublishJob(t.Context(), stray); err != nil {
		t.Fatal(err)
	}
	b.plan(t, good)
	b.start(t)
	b.record(t, good)
	poll(t, func() bool {
		backlog, err := b.bus.Backlog(t.Context(), bus.ConsumerFetcherBackfill)
		return err == nil && backlog.Waiting == 0 && backlog.InWork == 0
	})
	if b.calls() != 1 || len(b.deadLetters(t)) > 0 {
		t.Errorf("%d calls, letters %v", b.calls(), b.deadLetters(t))
	}
}

// TestBehindItsClock: Proofpoint does not serve the last three minutes. That costs few calls, and
// the account says it.
func TestBehindItsClock(t *testing.T) {
	t.Parallel()
	b := hasty(t)
	b.start(t)
	first := b.job(b.window, 0) // tells the time
	b.plan(t, first)
	b.record(t, first)
	b.inject(t, tapsim.Fault{Kind: tapsim.FaultHeadLag, Delay: 3 * time.Minute, Text: "The requested interval is still current."})
	for i, calls := range []int{2, 1, 1} {
		now, before := b.now(), b.calls()
		job := b.job(window.New(now.Add(-2*time.Minute), now.Add(-5*time.Second)), 0)
		b.plan(t, job)
		// At first it is refused, at the age of some seconds; later it is not even asked for. The
		// next in the lane comes behind it.
		next := b.job(window.New(b.window.Start.Add(-time.Duration(i+1)*time.Minute), b.window.Start), 0)
		b.plan(t, next)
		b.record(t, next)
		before++
		b.later.Add(int64(5 * time.Minute))
		r := b.record(t, job)
		if n := b.calls() - before; r.GetState() != fetched || n != calls || int(r.GetCalls()) != n {
			t.Errorf("%d calls, want %d: %v", n, calls, r)
		}
		if lag := time.Duration(r.GetLagMs()) * time.Millisecond; lag < time.Minute || lag > 8*time.Minute {
			t.Errorf("the lag is %s", lag)
		}
	}
}

// TestTooOldWindowIsLeftToThePlan: only the scheduler knows whether it was owed, so the fetcher
// neither records nor reports a loss.
func TestTooOldWindowIsLeftToThePlan(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	old := window.New(b.sim.Now().Add(-8*24*time.Hour), b.sim.Now().Add(-8*24*time.Hour+50*time.Second))
	job := b.job(old, 0)
	b.plan(t, job)
	b.start(t)
	if r := b.record(t, job); r.GetState() != taplinev1.WindowState_WINDOW_STATE_UNPROVEN || r.GetFailures() < 3 || r.GetReason() == "" {
		t.Errorf("%v", r)
	}
	if told := b.raised(t, alarm.Lost); told != "" {
		t.Errorf("alarm: %s", told)
	}
}
