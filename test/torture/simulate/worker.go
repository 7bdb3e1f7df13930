package simulate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/tapsim"
)

const (
	ackWait = 15 * time.Second
	timeout = time.Minute
	// As the fetcher's ladder has them.
	cutAt  = 6 // attempts, whatever the reason
	enough = 3 // failures of a window's own
	tiny   = time.Minute
)

// order is a job on the bus.
type order struct {
	job       *taplinev1.Job
	taken     bool
	notBefore time.Time
	attempts  int
	own       int           // failures that are about the window
	lag       time.Duration // how far behind Proofpoint is, as its answers for this window say
}

// publish puts a job on the bus, unless it is there or done.
func (w *World) publish(j *taplinev1.Job) {
	if w.concluded(j) || slices.ContainsFunc(w.queue, func(o *order) bool { return o.job.GetId() == j.GetId() }) {
		return
	}
	w.queue = append(w.queue, &order{job: j})
}

// concluded reports whether what became of a job is known. That it was in vain is not the last word
// when it is offered again.
func (w *World) concluded(j *taplinev1.Job) bool {
	o := w.outcomes[j.GetId()]
	return o != nil && (o.GetState() != taplinev1.WindowState_WINDOW_STATE_UNPROVEN || o.GetFailures() > j.GetFailures())
}

// worker is one lane of one fetcher.
type worker struct {
	w      *World
	lane   taplinev1.Lane
	aside  bool
	order  *order
	asked  time.Time
	until  time.Time
	status int
	body   []byte
}

func (k *worker) step(ctx context.Context) error {
	if k.order != nil && !k.until.After(k.w.now) {
		if err := k.finish(ctx); err != nil {
			return err
		}
	}
	for k.order == nil {
		i := slices.IndexFunc(k.w.queue, func(o *order) bool {
			return k.takes(o.job) && !o.taken && !o.notBefore.After(k.w.now)
		})
		if i < 0 {
			return nil
		}
		if err := k.begin(ctx, k.w.queue[i]); err != nil {
			return err
		}
	}
	return nil
}

// takes reports whether a job is of the worker's lane; those set aside have one of their own.
func (k *worker) takes(j *taplinev1.Job) bool {
	return j.GetAside() == k.aside && (k.aside || j.GetLane() == k.lane)
}

// begin reserves a unit and calls.
func (k *worker) begin(ctx context.Context, o *order) error {
	w := k.w
	if w.concluded(o.job) { // the end came before the ack
		w.remove(o)
		return nil
	}
	id, err := job.Of(o.job)
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	age := max(time.Duration(id.Pass)*time.Minute, time.Duration(o.job.GetMarginMs())*time.Millisecond)
	if due := id.Window.End.Add(age); due.After(w.now) {
		w.hold(o, id.Window, due)
		return nil
	}
	pool := id.Set.Endpoint().Pool
	before, err := w.book.Look(ctx, pool)
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	err = w.book.Reserve(ctx, pool)
	if exhausted, ok := errors.AsType[*quota.ExhaustedError](err); ok {
		o.notBefore = w.now.Add(min(exhausted.Wait, time.Minute))
		return nil
	}
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	o.taken, k.order = true, o
	o.attempts++
	k.asked = w.now
	k.status, k.body = w.get(ctx, id.Set.Endpoint().Path, id.Window)
	took := w.o.Response + w.Slow
	if took > timeout {
		k.status, took = 0, timeout
	}
	k.until = w.now.Add(took)
	w.Calls = append(w.Calls, Call{w.now, pool, k.lane, id.Window, k.status, w.cadence, before.Left()})
	if k.status == http.StatusTooManyRequests && !w.shared() {
		w.problem("429 for %s, and nobody else calls", o.job.GetId())
	}
	return nil
}

// hold puts off what a scheduler planned too early, as the fetcher does.
func (w *World) hold(o *order, span window.Window, due time.Time) {
	_, _, halves := span.Halves()
	if o.job.GetPass() == 0 && halves && due.Sub(w.now) > 5*time.Minute && w.now.After(span.Start) {
		w.outcomes[o.job.GetId()] = &taplinev1.JobRecord{
			JobId: o.job.GetId(), State: taplinev1.WindowState_WINDOW_STATE_SPLIT, SkewMs: w.Skew.Milliseconds(),
		}
		w.remove(o)
		return
	}
	o.notBefore = w.now.Add(min(due.Sub(w.now), time.Minute))
}

// shared reports whether others called in the last 24 hours.
func (w *World) shared() bool {
	n := len(w.External)
	return n > 0 && w.External[n-1].After(w.now.Add(-quota.Period))
}

// get asks the simulator.
func (w *World) get(ctx context.Context, path string, span window.Window) (int, []byte) {
	if w.Down {
		return http.StatusServiceUnavailable, nil
	}
	query := url.Values{"format": {"JSON"}, "interval": {span.Interval()}, "threatStatus": {"active", "cleared", "falsePositive"}}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, path+"?"+query.Encode(), nil)
	r.SetBasicAuth(w.o.Sim.Principal, w.o.Sim.Secret.Reveal())
	answer := httptest.NewRecorder()
	w.Sim.ServeHTTP(answer, r)
	return answer.Code, answer.Body.Bytes()
}

// finish does with an answer what the fetcher does.
func (k *worker) finish(ctx context.Context) error {
	w, o := k.w, k.order
	k.order, o.taken = nil, false
	said := string(k.body)
	switch {
	case k.status == http.StatusOK || k.status == http.StatusNoContent:
		return k.answered(o)
	case k.status == http.StatusTooManyRequests:
		o.notBefore = w.now.Add(time.Minute)
		if _, err := w.book.Refused(ctx, feed.PoolSIEM, 0); err != nil {
			return fmt.Errorf("simulate: %w", err)
		}
	case k.status == http.StatusBadRequest && strings.Contains(said, "still current"):
		o.lag = w.now.Sub(o.job.GetWindow().GetEnd().AsTime())
		o.notBefore = w.now.Add(max(10*time.Second, o.lag))
	case k.status == http.StatusBadRequest && strings.Contains(said, "too far into the past"):
		w.cut(o, true)
	case k.status == http.StatusBadRequest && strings.Contains(said, "too long"):
		w.cut(o, false)
	case k.status == http.StatusBadRequest || k.status == http.StatusNotFound:
		w.odd(o, fmt.Sprintf("status %d: %s", k.status, said))
	default:
		w.failed(o, k.status == 0)
	}
	return nil
}

// answered takes what an answer proves.
func (k *worker) answered(o *order) error {
	w := k.w
	a, flaw := read(o.job, k.status, k.body)
	if flaw != "" {
		w.odd(o, flaw)
		return nil
	}
	w.remove(o)
	return w.store(o, a, k.asked)
}

// failed is a call that says nothing about its window, unless others are served: it is cut, or set
// aside.
func (w *World) failed(o *order, slow bool) {
	if !w.Down {
		o.own++
	}
	switch {
	case o.attempts >= cutAt || o.own >= enough || (slow && !w.Down):
		w.cut(o, false)
	case o.job.GetAside():
		w.setAside(o, "it fails")
	default:
		o.notBefore = w.now.Add(min(time.Second<<o.attempts, time.Minute))
	}
}

// odd is an answer that proves nothing.
func (w *World) odd(o *order, reason string) {
	o.own++
	id, err := job.Of(o.job)
	if err != nil {
		w.problem("%v", err)
		return
	}
	_, _, halves := id.Window.Halves()
	switch {
	case o.job.GetAside():
		w.setAside(o, reason)
	case halves && id.Window.Span() > tiny && o.own >= enough-1:
		w.conclude(o, &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_SPLIT, Reason: reason})
	case o.own >= enough:
		w.setAside(o, reason)
	default:
		o.notBefore = w.now.Add(min(time.Second<<o.attempts, time.Minute))
	}
}

// setAside has a window offered again later.
func (w *World) setAside(o *order, reason string) {
	w.Vain++
	w.conclude(o, &taplinev1.JobRecord{
		State: taplinev1.WindowState_WINDOW_STATE_UNPROVEN, Reason: reason, Failures: max(o.job.GetFailures()+uint32(o.own), enough), LagMs: o.lag.Milliseconds(),
	})
}

// conclude records the outcome of a job.
func (w *World) conclude(o *order, r *taplinev1.JobRecord) {
	r.JobId, r.SkewMs = o.job.GetId(), w.Skew.Milliseconds()
	w.outcomes[r.GetJobId()] = r
	w.remove(o)
}

// cut has a job planned again in parts. What cannot be cut is set aside, and is lost only when it
// is too old.
func (w *World) cut(o *order, old bool) {
	id, err := job.Of(o.job)
	if err != nil {
		w.problem("%v", err)
		return
	}
	_, _, halves := id.Window.Halves()
	tooOld := old && id.Window.Start.Before(w.now.Add(-window.Lookback))
	switch {
	case halves || o.job.GetOverlap() > 0 || (!old && len(id.Set) > 1):
		w.conclude(o, &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_SPLIT})
	case tooOld:
		for _, f := range id.Set {
			w.lose(f, id.Window)
		}
		w.conclude(o, &taplinev1.JobRecord{State: taplinev1.WindowState_WINDOW_STATE_LOST, Reason: "too old"})
	default:
		o.own = max(o.own, 1)
		w.setAside(o, "it cannot be cut")
	}
}

func (w *World) remove(o *order) {
	w.queue = slices.DeleteFunc(w.queue, func(x *order) bool { return x == o })
}

// store takes what is new.
func (w *World) store(o *order, a *answer, asked time.Time) error {
	outcome := &taplinev1.JobRecord{
		JobId: o.job.GetId(), State: taplinev1.WindowState_WINDOW_STATE_FETCHED, SkewMs: w.Skew.Milliseconds(), ReadAt: timestamppb.New(asked),
		LagMs: o.lag.Milliseconds(),
	}
	if !a.end.IsZero() {
		outcome.ReadEnd = timestamppb.New(a.end)
		if behind := asked.Sub(a.end); behind < 2*time.Hour {
			outcome.LagMs = behind.Milliseconds()
		}
	}
	for _, name := range o.job.GetFeeds() {
		published := int64(0)
		for _, r := range a.records[name] {
			is, err := w.hasher.SIEM(feed.Feed(name), r)
			if err != nil {
				return fmt.Errorf("simulate: %w", err)
			}
			if key := [2]uint64{is.ID, is.Hash}; !w.seen[key] {
				w.seen[key] = true
				published++
				natural, err := tapsim.NaturalKey(feed.Feed(name), r)
				if err != nil {
					return fmt.Errorf("simulate: %w", err)
				}
				natural = name + " " + natural
				if bytes.Contains(r, []byte(tapsim.RevisedCampaign)) {
					w.Revised[natural]++
				}
				w.Deliveries[natural] = append(w.Deliveries[natural], w.now.Add(w.o.Delivery))
			}
		}
		outcome.Feeds = append(outcome.Feeds, &taplinev1.FeedResult{Feed: name, Published: published})
	}
	w.outcomes[o.job.GetId()] = outcome
	return nil
}

// kill is what remains of a call whose fetcher ends.
func (k *worker) kill(stored bool) {
	if k.order == nil {
		return
	}
	o := k.order
	k.order, o.taken, o.notBefore = nil, false, k.w.now.Add(ackWait)
	if a, flaw := read(o.job, k.status, k.body); stored && flaw == "" {
		if err := k.w.store(o, a, k.asked); err != nil {
			k.w.problem("%v", err)
		}
	}
}
