package fetcher

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/known"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// question is one id of a job on its way.
type question struct {
	target   *taplinev1.Target
	same     []*taplinev1.Target // of the same id: records may differ in what they say of it
	hash     uint64              // of the content that was published last
	response proofpoint.Response
	known    bool  // no call is needed
	err      error // why there is no answer
}

// errBusy says that another job asks for the same at the moment.
var errBusy = errors.New("another job asks for it at the moment")

// questionsOf makes one question of all targets with one id. It is about the one that
// knows the campaign, if there is one.
func questionsOf(targets []*taplinev1.Target) []*question {
	byID := make(map[string]*question, len(targets))
	var questions []*question
	for _, t := range targets {
		q := byID[t.GetId()]
		if q == nil {
			q = &question{target: t}
			byID[t.GetId()] = q
			questions = append(questions, q)
		}
		if q.target.GetCampaign() == "" && t.GetCampaign() != "" {
			q.target = t
		}
		q.same = append(q.same, t)
	}
	return questions
}

// claim reserves an id, unless all of its targets are covered.
func (f *Fetcher) claim(ctx context.Context, w *work, q *question) (claim known.Claimed, err error) {
	for _, t := range q.same {
		claim, err = f.known.Claim(ctx, w.id.Call, t, w.job.GetId())
		if err != nil || !claim.Covered {
			return claim, err
		}
	}
	return claim, nil
}

// ask makes the call for one id, if one is needed, and has the answer packed at once: the answers
// of a job may be more than fits into memory.
func (f *Fetcher) ask(ctx context.Context, w *work, c *collector, q *question) {
	if !feed.Askable(q.target.GetId()) {
		q.known, q.err = f.known.DeadLettered(ctx, w.id.Call, q.target.GetId())
		if !q.known && q.err == nil {
			q.err = fmt.Errorf("%w: id %.100q cannot be asked for", errBadJob, q.target.GetId())
		}
		return
	}
	claim, err := f.claim(ctx, w, q)
	switch {
	case err != nil:
		q.err = err
		return
	case claim.Covered:
		q.known = true
		return
	case claim.Busy:
		q.err = errBusy
		return
	}
	q.hash = claim.Hash
	if q.target.GetCampaign() == "" && claim.Campaign != "" { // this record does not know what others do
		q.target = proto.CloneOf(q.target)
		q.target.Campaign = claim.Campaign
	}
	charged, err := f.admit(ctx, w)
	if q.err = err; err != nil {
		return
	}
	f.ladder.Called(w.job.GetId())
	var answer []byte
	answer, q.response, q.err = f.api.One(ctx, proofpoint.Question{Call: w.id.Call, Target: q.target.GetId()})
	f.metrics.bytes.Add(float64(q.response.Bytes))
	f.metrics.duration.Observe(q.response.Duration.Seconds())
	f.charge(ctx, w.endpoint.Pool, charged, q.err)
	if q.err == nil {
		f.doubts.answered(w.id.Call)
		f.served(ctx, w.key(w.endpoint.Path), w.endpoint.Path)
		q.err = c.take(q, answer)
		return
	}
	if api, ok := errors.AsType[*proofpoint.APIError](q.err); ok {
		f.metrics.calls.WithLabelValues(w.endpoint.Path, string(api.Kind)).Inc()
	}
	if own(q.err) && (f.doubts.strange(w.id.Call, q.target.GetId()) || (suspicious(q.err) && !f.answers(ctx))) {
		q.err = &outage{q.err}
	}
}

// outage is a failure that is not one target's: Proofpoint does not answer anything else either, or
// nothing of the kind.
type outage struct{ error }

// Unwrap gives the failure.
func (o *outage) Unwrap() error { return o.error }

// suspicious reports whether a failure may be the target's own or the endpoint's.
func suspicious(err error) bool {
	api, ok := errors.AsType[*proofpoint.APIError](err)
	return ok && (api.Kind == proofpoint.ServerError || api.Kind == proofpoint.Timeout || api.Kind == proofpoint.Truncated)
}

// answers asks Proofpoint for something that it can tell at once.
func (f *Fetcher) answers(ctx context.Context) bool {
	if err := f.quota.Count(ctx, 1); err != nil {
		return false
	}
	r, err := f.api.Check(ctx)
	return err == nil && r.Status < http.StatusInternalServerError
}

// admit counts a call, and waits for its turn or for nothing: a call without a limit is made
// politely, one with a limit only when there is a unit.
func (f *Fetcher) admit(ctx context.Context, w *work) (charged bool, err error) {
	if w.endpoint.Pool != feed.PoolNone {
		return f.reserve(ctx, w, w.endpoint)
	}
	if err := f.polite.Wait(ctx); err != nil {
		return false, fmt.Errorf("wait for a turn: %w", err)
	}
	return false, f.quota.Count(ctx, 1)
}

// own reports whether a failure is the target's own: it says nothing about others.
func own(err error) bool {
	if errors.Is(err, errBadJob) {
		return true
	}
	if _, ok := errors.AsType[*outage](err); ok {
		return false
	}
	api, ok := errors.AsType[*proofpoint.APIError](err)
	if !ok {
		return false
	}
	switch api.Kind {
	case proofpoint.Network, proofpoint.Canceled, proofpoint.BadCredentials, proofpoint.Forbidden, proofpoint.TooManyRequests:
		return false
	default:
		return true
	}
}
