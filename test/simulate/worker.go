package simulate

import (
	"bytes"
	"context"
	"encoding/json"
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
	cutAt   = 6 // attempts, as the fetcher's splitAnyway
)

// order is a job on the bus.
type order struct {
	job       *taplinev1.Job
	taken     bool
	notBefore time.Time
	attempts  int
}

// publish puts a job on the bus, unless it is there or done.
func (w *World) publish(j *taplinev1.Job) {
	if w.outcomes[j.GetId()] != nil || slices.ContainsFunc(w.queue, func(o *order) bool { return o.job.GetId() == j.GetId() }) {
		return
	}
	w.queue = append(w.queue, &order{job: j})
}

// worker is one lane of one fetcher.
type worker struct {
	w      *World
	lane   taplinev1.Lane
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
			return o.job.GetLane() == k.lane && !o.taken && !o.notBefore.After(k.w.now)
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

// begin reserves a unit and calls.
func (k *worker) begin(ctx context.Context, o *order) error {
	w := k.w
	if w.outcomes[o.job.GetId()] != nil { // done before; the end came before the ack
		w.remove(o)
		return nil
	}
	id, err := job.Of(o.job)
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	if due := id.Window.End.Add(time.Duration(id.Pass) * time.Minute); due.After(w.now) {
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
		w.outcomes[o.job.GetId()] = &taplinev1.WindowRecord{
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
	switch {
	case k.status == http.StatusOK:
		if err := w.store(o.job, k.body, k.asked); err != nil {
			return err
		}
		w.remove(o)
	case k.status == http.StatusTooManyRequests:
		o.notBefore = w.now.Add(time.Minute)
		if _, err := w.book.Refused(ctx, feed.PoolSIEM, 0); err != nil {
			return fmt.Errorf("simulate: %w", err)
		}
	case k.status == http.StatusBadRequest && strings.Contains(string(k.body), "still current"):
		o.notBefore = w.now.Add(10 * time.Second)
	case k.status == http.StatusBadRequest && strings.Contains(string(k.body), "too far into the past"):
		w.cut(o, true)
	case k.status == http.StatusBadRequest:
		w.problem("%s: %s", o.job.GetId(), k.body)
		w.cut(o, true)
	case o.attempts >= cutAt || (k.status == 0 && !w.Down):
		w.cut(o, false)
	default:
		o.notBefore = w.now.Add(min(time.Second<<o.attempts, time.Minute))
	}
	return nil
}

// cut has a job planned again in parts, or gives it up when there are none and it is too old.
func (w *World) cut(o *order, old bool) {
	id, err := job.Of(o.job)
	if err != nil {
		w.problem("%v", err)
		return
	}
	_, _, halves := id.Window.Halves()
	state := taplinev1.WindowState_WINDOW_STATE_SPLIT
	if !halves && o.job.GetOverlap() == 0 && (old || len(id.Set) == 1) {
		if !old {
			o.attempts, o.notBefore = 0, w.now.Add(time.Minute)
			return
		}
		state = taplinev1.WindowState_WINDOW_STATE_LOST
		for _, f := range id.Set {
			w.Lost[f] = append(w.Lost[f], id.Window)
		}
	}
	w.outcomes[o.job.GetId()] = &taplinev1.WindowRecord{JobId: o.job.GetId(), State: state, SkewMs: w.Skew.Milliseconds()}
	w.remove(o)
}

func (w *World) remove(o *order) {
	w.queue = slices.DeleteFunc(w.queue, func(x *order) bool { return x == o })
}

// store takes what is new.
func (w *World) store(j *taplinev1.Job, body []byte, asked time.Time) error {
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	outcome := &taplinev1.WindowRecord{
		JobId: j.GetId(), State: taplinev1.WindowState_WINDOW_STATE_FETCHED, SkewMs: w.Skew.Milliseconds(), ReadAt: timestamppb.New(asked),
	}
	for _, name := range j.GetFeeds() {
		var records []json.RawMessage
		if err := json.Unmarshal(answer[name], &records); err != nil {
			return fmt.Errorf("simulate: %s: %w", name, err)
		}
		published := int64(0)
		for _, r := range records {
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
	w.outcomes[j.GetId()] = outcome
	return nil
}

// kill is what remains of a call whose fetcher ends.
func (k *worker) kill(stored bool) {
	if k.order == nil {
		return
	}
	o := k.order
	k.order, o.taken, o.notBefore = nil, false, k.w.now.Add(ackWait)
	if stored && k.status == http.StatusOK {
		if err := k.w.store(o.job, k.body, k.asked); err != nil {
			k.w.problem("%v", err)
		}
	}
}
