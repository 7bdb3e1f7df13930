package fetcher

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
	"github.com/tapline/tapline/services/fetcher/internal/seen"
)

// store makes the outcome of a call durable: DEAD, then RAW with the marker, then
// SEEN and LEDGER.
func (f *Fetcher) store(ctx context.Context, w *work, c *collector, got *reading) error {
	if c.exceeds() && w.divisible() && !f.scant(w.endpoint.Pool) {
		return f.cutExcess(ctx, w)
	}
	results, err := c.finish(ctx)
	if err != nil {
		return err
	}
	result := &taplinev1.JobResult{
		JobId: w.job.GetId(), Tenant: f.cfg.Tenant.Name, Window: w.window.Proto(), Lane: w.job.GetLane(), Pass: w.job.GetPass(),
		PullId: c.head.PullID, FetchedAt: timestamppb.New(c.head.FetchedAt), Status: int32(got.status),
		Bytes: got.bytes, Feeds: results, Batches: uint32(c.spool.Len()), Total: total(c.envelope),
		SkewMs: f.clock.Skew().Milliseconds(), ReadAt: got.readAt(), ReadEnd: got.upTo(), LagMs: max(got.lag, f.lag.Now(f.local())).Milliseconds(), Dead: c.deadLettered,
	}
	marker, err := proto.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode marker of job %s: %w", w.job.GetId(), err)
	}
	var sequence uint64
	err = f.patiently(ctx, w, func() (err error) {
		sequence, err = f.publish(ctx, w, c, marker)
		return err
	})
	if err != nil {
		return f.unstored(ctx, w, err)
	}
	f.health.OK("raw")
	if c.dead.Len() > 0 {
		f.health.OK("dead")
	}
	step.At("fetcher.published")
	f.countOutcomes(w.job, result) // the records are out; what follows may be repeated
	if err := errors.Join(c.sets.Commit(ctx), f.recordAnswers(ctx, w, c.answers)); err != nil {
		return err
	}
	step.At("fetcher.remembered")
	return f.record(ctx, w, result, sequence)
}

// unstored decides what becomes of a job whose outcome was not stored.
func (f *Fetcher) unstored(ctx context.Context, w *work, err error) error {
	switch {
	case errors.Is(err, errCut):
		return nil
	case errors.Is(err, bus.ErrAlreadyStored):
		// Another run was faster; its records count, not these.
		sequence, marker, err := f.bus.Marker(ctx, f.cfg.Tenant.Name, w.job.GetId())
		if err != nil {
			return err
		}
		return f.complete(ctx, w, sequence, marker)
	case errors.Is(err, bus.ErrTooLarge):
		f.spend(ctx, w.endpoint.Pool)
		return f.split(ctx, w, err.Error())
	case errors.Is(err, errDeadFull):
		return f.withoutDead(ctx, w, err)
	case errors.Is(err, bus.ErrFull):
		return bus.RetryAfter(err, longestWait)
	}
	return err
}

// withoutDead has a job wait whose dead letters find no room. It is trouble of this job alone: a
// window is set aside, and the others are read.
func (f *Fetcher) withoutDead(ctx context.Context, w *work, cause error) error {
	f.health.Degraded("dead", cause.Error())
	f.log.Error("DEAD is full, so that an answer with malformed entries cannot be stored", slog.String("job", w.job.GetId()), slog.Any("error", cause))
	if w.id.Call.Kind() != feed.KindWindow {
		return bus.RetryAfter(cause, longestWait)
	}
	f.spend(ctx, w.endpoint.Pool)
	return f.setAside(ctx, w, max(int(w.job.GetFailures()), 2)+1, cause.Error()) // from the third failure on it has a backoff
}

// cutExcess has a window cut whose answer has more malformed entries than go to DEAD: those of its
// parts do, or of theirs. It costs calls of the share of windows that fail; without any left the
// excess is summed up.
func (f *Fetcher) cutExcess(ctx context.Context, w *work) error {
	sequence, marker, err := f.bus.Marker(ctx, f.cfg.Tenant.Name, w.job.GetId())
	if err == nil { // another run was faster
		return f.complete(ctx, w, sequence, marker)
	}
	if !errors.Is(err, bus.ErrNotFound) {
		return err
	}
	f.spend(ctx, w.endpoint.Pool)
	return f.split(ctx, w, fmt.Sprintf("more entries are malformed than are kept of one answer, %d entries or %d bytes", bound.Letters, bound.LetterBytes))
}

// publish stores what a job brought, unless another process had its window cut meanwhile.
func (f *Fetcher) publish(ctx context.Context, w *work, c *collector, marker []byte) (uint64, error) {
	if cut, err := f.cut(ctx, w); cut || err != nil {
		return 0, errors.Join(err, cutError(cut))
	}
	if err := f.storeDead(ctx, c); err != nil {
		return 0, err
	}
	return f.bus.StoreJob(ctx, bus.JobOutput{Tenant: f.cfg.Tenant.Name, JobID: w.job.GetId(), Batches: batches(c), Marker: marker})
}

func cutError(cut bool) error {
	if cut {
		return errCut
	}
	return nil
}

// storeDead publishes the dead letters of a job.
func (f *Fetcher) storeDead(ctx context.Context, c *collector) error {
	var failed error
	err := c.dead.Each(func(_ string, data []byte) bool {
		letter := &taplinev1.DeadLetter{}
		if failed = wire.Unmarshal(data, letter); failed != nil {
			return false
		}
		if failed = f.bus.PublishDead(ctx, letter, deadID(letter)); errors.Is(failed, bus.ErrFull) {
			failed = fmt.Errorf("%w: %w", errDeadFull, failed)
		}
		if failed != nil {
			return false
		}
		step.At("fetcher.dead")
		return true
	})
	return errors.Join(err, failed)
}

// total is the size of a whole list, if the response says it.
func total(envelope []byte) int64 {
	for _, key := range []string{"totalVapUsers", "totalTopClickers"} {
		if n, err := strconv.ParseInt(identity.Text(envelope, key), 10, 64); err == nil {
			return max(n, 0)
		}
	}
	return 0
}

func batches(c *collector) iter.Seq2[bus.RawMessage, error] {
	return func(yield func(bus.RawMessage, error) bool) {
		err := c.spool.Each(func(label string, data []byte) bool {
			data = batch.AppendEnvelope(slices.Clip(data), c.envelope)
			return yield(bus.RawMessage{Feed: label, Data: data}, nil)
		})
		if err != nil {
			yield(bus.RawMessage{}, err)
		}
	}
}

// complete finishes a job whose records are in RAW: a crash may have come
// before SEEN or LEDGER were written.
func (f *Fetcher) complete(ctx context.Context, w *work, sequence uint64, marker []byte) error {
	result := &taplinev1.JobResult{}
	if err := wire.Unmarshal(marker, result); err != nil {
		return bus.Permanent(fmt.Errorf("marker of job %s: %w", w.job.GetId(), err))
	}
	sets := seen.Open(f.seen, f.cfg.Tenant.Name, &f.prefetch, job.LaneName(w.id.Lane))
	var raw batch.Raw
	for i := range uint64(result.GetBatches()) {
		stored, err := f.bus.Message(ctx, bus.StreamRaw, sequence-1-i)
		if errors.Is(err, bus.ErrNotFound) {
			continue // aged out, and then Proofpoint no longer returns its records either
		}
		if err != nil {
			return err
		}
		if err := batch.DecodeRaw(stored.Data, &raw); err != nil {
			return bus.Permanent(fmt.Errorf("batch %d of job %s: %w", sequence-1-i, w.job.GetId(), err))
		}
		if err := f.remember(ctx, w, sets, &raw); err != nil {
			return err
		}
	}
	if err := recall(ctx, sets, w.id, result); err != nil {
		return err
	}
	if err := sets.Commit(ctx); err != nil {
		return err
	}
	step.At("fetcher.completed")
	return f.record(ctx, w, result, sequence)
}

// remember records that the records of a stored batch are published.
func (f *Fetcher) remember(ctx context.Context, w *work, sets *seen.Sets, raw *batch.Raw) error {
	for i := range raw.Records {
		r := &raw.Records[i]
		if len(r.Target) == 0 {
			if _, err := look(ctx, sets, feed.Feed(raw.Feed), w.id, r); err != nil {
				return err
			}
			continue
		}
		target := &taplinev1.Target{}
		if err := wire.Unmarshal(r.Target, target); err != nil {
			return bus.Permanent(fmt.Errorf("target in a batch of job %s: %w", w.job.GetId(), err))
		}
		if err := f.known.Complete(ctx, w.id.Call, target.GetId(), r.Hash, target); err != nil {
			return err
		}
	}
	return nil
}

// record writes the account of a fetched window into the ledger. marker is the sequence of its
// result.
func (f *Fetcher) record(ctx context.Context, w *work, result *taplinev1.JobResult, marker uint64) error {
	record := ledger.Fetched(result, marker)
	record.Attempts = uint32(w.attempts)
	record.Calls, record.NotedAt = uint32(max(f.ladder.Calls(w.job.GetId()), 1)), timestamppb.New(f.now())
	if err := f.ledger.RecordJob(ctx, record); err != nil {
		return err
	}
	f.ladder.Done(w.job.GetId())
	return nil
}

// countLate counts what a sweep found: it became visible since the reading before.
func (f *Fetcher) countLate(job *taplinev1.Job, result *taplinev1.JobResult, r *taplinev1.FeedResult) {
	late := r.GetPublished() - r.GetRevision()
	f.metrics.late.WithLabelValues(r.GetFeed()).Add(float64(late))
	lateness := result.GetReadAt().AsTime().Sub(job.GetWindow().GetEnd().AsTime()).Seconds()
	for range late {
		f.metrics.lateness.WithLabelValues(r.GetFeed()).Observe(lateness)
	}
}

func (f *Fetcher) countOutcomes(job *taplinev1.Job, result *taplinev1.JobResult) {
	var received, published int64
	for _, r := range result.GetFeeds() {
		count := func(outcome string, n int64) { f.metrics.records.WithLabelValues(r.GetFeed(), outcome).Add(float64(n)) }
		count("new", r.GetPublished()-r.GetRevision())
		count("revision", r.GetRevision())
		if job.GetLane() == taplinev1.Lane_LANE_SWEEP {
			f.countLate(job, result, r)
		}
		count("duplicate", r.GetDuplicate())
		count("dead", r.GetDead())
		received += r.GetReceived()
		published += r.GetPublished()
		if r.GetDead() > 0 {
			f.log.Warn("malformed records went to DEAD", slog.String("job", result.GetJobId()),
				slog.String("feed", r.GetFeed()), slog.Int64("records", r.GetDead()))
		}
	}
	f.log.Debug("fetched", slog.String("job", result.GetJobId()), slog.Int64("received", received),
		slog.Int64("published", published), slog.Int64("bytes", result.GetBytes()))
}
