package fetcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/known"
	"github.com/tapline/tapline/pkg/quota"
	"github.com/tapline/tapline/pkg/step"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/pace"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

// answered is an id that has an answer, or never will.
type answered struct {
	targets []*taplinev1.Target // of the id: all that the answer is about
	hash    uint64              // of what is published; 0 if nothing is
}

// whenBusy is how long such a job waits; a dead owner's claim ends by itself.
const whenBusy = 5 * time.Second

// lookUp asks for the targets of a job. Those that have an answer are stored together; a
// target of several that has none becomes a job of its own, and a single one is
// asked for again until it has failed too often.
func (f *Fetcher) lookUp(ctx context.Context, w *work) error {
	if wait := f.breakers.Wait(w.key(w.endpoint.Path)); wait > 0 {
		return bus.RetryAfter(errCoolingDown, min(wait, longestWait))
	}
	questions := questionsOf(w.job.GetTargets())
	c := f.collect(w)
	defer f.discard(c)
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(f.cfg.Expand.Calls)
	for _, q := range questions {
		group.Go(func() error {
			f.ask(asking, w, c, q)
			if q.err != nil && !own(q.err) && !errors.Is(q.err, errBusy) {
				return q.err // the others need not try
			}
			return nil
		})
	}
	_ = group.Wait() // every question has its own error
	if c.broken != nil {
		return c.broken
	}
	if err := f.hopeless(ctx, w, questions); err != nil {
		return err
	}
	got := &reading{}
	for _, q := range questions {
		if q.err == nil && !q.known {
			got.status, got.bytes = q.response.Status, got.bytes+q.response.Bytes
			continue
		}
		if err := f.without(ctx, w, c, q); err != nil {
			return err
		}
	}
	return f.store(ctx, w, c, got)
}

// hopeless ends a job of which nothing can be stored because of something that is not the
// targets' own: the job waits as it is.
func (f *Fetcher) hopeless(ctx context.Context, w *work, questions []*question) error {
	var cause error
	for _, q := range questions {
		if q.err == nil || own(q.err) {
			return nil
		}
		if cause == nil || errors.Is(cause, errBusy) || errors.Is(cause, context.Canceled) {
			cause = q.err
		}
	}
	for _, q := range questions {
		if errors.Is(q.err, errBusy) {
			continue
		}
		if _, err := f.known.Release(ctx, w.id.Call, q.target.GetId(), false); err != nil {
			return err
		}
	}
	switch {
	case cause == nil: // there are no targets at all
		return nil
	case errors.Is(cause, errBusy):
		return bus.RetryAfter(cause, whenBusy)
	}
	if exhausted, ok := errors.AsType[*quota.ExhaustedError](cause); ok {
		return bus.RetryAfter(cause, min(exhausted.Wait, longestWait))
	}
	if api, ok := errors.AsType[*proofpoint.APIError](cause); ok {
		if err, general := f.general(ctx, w, w.endpoint, api); general {
			return err
		}
		return f.coolDown(w, w.endpoint, api, 0)
	}
	return cause
}

// take packs one answer, unless the same was published before. It may be called by several
// goroutines.
func (c *collector) take(q *question, answer []byte) error {
	c.taking.Lock()
	defer c.taking.Unlock()
	fc := c.feeds[0]
	fc.result.Received++
	rec := batch.Record{ID: identity.Named(string(c.id.Call), q.target.GetId()), TimeMS: c.head.FetchedAt.UnixMilli(), JSON: answer}
	content := func() (uint64, error) { return c.hasher.Content(answer, "generated") } // which differs in every answer
	rec.Hash = q.about(answer, content)
	var err error
	if rec.Target, err = proto.Marshal(q.target); err != nil {
		return fmt.Errorf("encode target %s: %w", q.target.GetId(), err)
	}
	// The last is what was asked, which may know a campaign that no record does. It stays even when
	// there are too many.
	c.answers = append(c.answers, answered{append(slices.Clone(q.same), q.target), rec.Hash})
	same := rec.Hash == q.hash
	if !same && q.hash != 0 { // an earlier version made another hash of it
		same = q.hash == q.about(answer, func() (uint64, error) { return c.hasher.Former(content) })
	}
	if same {
		fc.result.Duplicate++
		return nil
	}
	if q.hash != 0 {
		rec.Revision = true
		fc.result.Revision++
	}
	c.broken = c.pack(fc, &rec)
	return c.broken
}

// about is the hash of the row that an answer makes. The row says the campaign of the question, so
// it is content, too.
func (q *question) about(answer []byte, content func() (uint64, error)) uint64 {
	hash, err := content()
	if err != nil { // valid, and yet more than is understood: it is what it is
		hash = identity.Named(string(answer))
	}
	if q.target.GetCampaign() != "" {
		hash = identity.Mix(hash, identity.Named(q.target.GetCampaign()))
	}
	return hash
}

// without decides about a target that has no answer.
func (f *Fetcher) without(ctx context.Context, w *work, c *collector, q *question) error {
	result := &c.feeds[0].result
	if q.known {
		result.Known++
		return nil
	}
	failures := 0
	if !errors.Is(q.err, errBusy) && !errors.Is(q.err, errBadJob) {
		var err error
		if failures, err = f.known.Release(ctx, w.id.Call, q.target.GetId(), own(q.err)); err != nil {
			return err
		}
	}
	if own(q.err) && f.scarce(w.endpoint.Pool) { // another id is hardly answered better, and costs as much
		f.spare(w, q.err)
	}
	if w.id.Target == "" && feed.Askable(q.target.GetId()) {
		result.Deferred++
		return f.alone(ctx, w, q)
	}
	if own(q.err) && (failures >= f.attempts(w, q.err) || errors.Is(q.err, errBadJob)) {
		f.log.Error("an id goes to DEAD", slog.String("job", w.job.GetId()), slog.Any("error", q.err))
		result.Received++
		result.Dead++
		if err := c.addDead(f.newDeadLetter(w, q, failures)); err != nil {
			return err
		}
		c.answers = append(c.answers, answered{[]*taplinev1.Target{q.target}, 0}) // it is not ordered again for a while
		return nil
	}
	return bus.RetryAfter(q.err, f.delay(w, q.err, failures))
}

// spare has the endpoint cool down after an answer for one id. Many threats have no forensics: that
// is no trouble, until too many in a row have none.
func (f *Fetcher) spare(w *work, err error) {
	if kindOf(err) != proofpoint.NotFound {
		f.tripLane(w, w.endpoint, err, 0)
		return
	}
	curve := pace.CurveOf(w.key(w.endpoint.Path).Lane, f.cfg.Quota.Limits()[w.endpoint.Pool])
	f.breakers.Failed(w.key(w.endpoint.Path), pace.Failure{Curve: curve, Odd: true, Quiet: true, Words: err.Error()})
}

// whenFewCalls is how long an id waits that is answered oddly, and whose pool has few calls: it is
// asked for once more.
const whenFewCalls = 4 * time.Hour

// fewCalls reports whether a failure is an answer that one more of few calls should confirm, and no
// more than one.
func (f *Fetcher) fewCalls(w *work, err error) bool {
	return own(err) && odd(err) && f.scarce(w.endpoint.Pool)
}

func (f *Fetcher) scarce(pool feed.Pool) bool {
	return pace.CurveOf("", f.cfg.Quota.Limits()[pool]).Scarce
}

// attempts is how often an id is asked for.
func (f *Fetcher) attempts(w *work, err error) int {
	if f.fewCalls(w, err) {
		return min(f.cfg.Expand.Attempts, 2)
	}
	return f.cfg.Expand.Attempts
}

// delay doubles with each failure.
func (f *Fetcher) delay(w *work, err error, failures int) time.Duration {
	if f.fewCalls(w, err) {
		return f.scale(whenFewCalls)
	}
	return backoff.Doubling{Min: f.cfg.Expand.Delay, Max: time.Hour}.After(failures)
}

// alone makes a job of its own for one of several targets.
func (f *Fetcher) alone(ctx context.Context, w *work, q *question) error {
	id := w.id
	id.Lane, id.Target = taplinev1.Lane_LANE_RETRY, q.target.GetId()
	err := f.bus.PublishJob(ctx, &taplinev1.Job{
		Id: id.String(), Tenant: id.Tenant, Feeds: w.job.GetFeeds(), Window: w.job.GetWindow(), Lane: id.Lane, Pass: id.Pass,
		PlannedAt: timestamppb.New(f.now()), Call: string(id.Call), Targets: []*taplinev1.Target{q.target},
	})
	step.At("fetcher.alone")
	if errors.Is(err, bus.ErrOutstanding) {
		return nil
	}
	return err
}

// newDeadLetter is the dead letter of an id. It keeps the job for another try.
func (f *Fetcher) newDeadLetter(w *work, q *question, failures int) *taplinev1.DeadLetter {
	retry := proto.CloneOf(w.job)
	retry.Targets = []*taplinev1.Target{q.target}
	letter := &taplinev1.DeadLetter{
		Tenant: f.cfg.Tenant.Name, Stage: Flow.Stage, Feed: string(w.id.Call.Feed()), Table: w.id.Call.Feed().Table(),
		Reason: q.err.Error(), Payload: []byte(q.target.GetId()), Source: w.job.GetId(), Attempts: uint64(failures), DiedAt: timestamppb.New(f.now()),
	}
	if feed.Askable(q.target.GetId()) {
		letter.Retry = retry
	} else { // one letter for one id, whatever job names it
		letter.Source = known.DeadLetterID(letter.GetTenant(), w.id.Call)
	}
	return letter
}

// recordAnswers records what was answered, once it is stored.
func (f *Fetcher) recordAnswers(ctx context.Context, w *work, answers []answered) error {
	var group errgroup.Group
	group.SetLimit(f.cfg.Expand.Calls)
	for _, a := range answers {
		group.Go(func() error {
			id := a.targets[0].GetId()
			if !feed.Askable(id) {
				return f.known.RecordDeadLetter(ctx, w.id.Call, id)
			}
			return f.known.Complete(ctx, w.id.Call, id, a.hash, a.targets...)
		})
	}
	return group.Wait()
}
