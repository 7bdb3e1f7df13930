package tapctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/jsonline"
	"github.com/tapline/tapline/pkg/known"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/pkg/window"
	"github.com/tapline/tapline/pkg/wire"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

// retriable reports whether there is a way to try once more what a letter is about.
func retriable(l *taplinev1.DeadLetter) bool {
	return len(l.GetRetry().GetTargets()) == 1 || lostWindow(l) != nil || escapable(l) != nil
}

// retryLetter does once more what a letter is about, in one of three ways.
func (t *tool) retryLetter(ctx context.Context, c Config, b *bus.Bus, d deadLetter) error {
	if d.GetTenant() != c.Tenant.Name {
		return config.Invalid("SEQUENCE", strconv.FormatUint(d.stored.Sequence, 10), "is of tenant "+d.GetTenant()+": set TENANT")
	}
	if at := strings.Split(d.stored.Subject, "."); len(at) < 3 || at[2] != d.GetStage() { // the server looks at subjects only
		return config.Invalid("SEQUENCE", strconv.FormatUint(d.stored.Sequence, 10), "calls itself a letter of the "+d.GetStage()+" and stands on "+d.stored.Subject+": its stage may not write it")
	}
	if len(d.GetRetry().GetTargets()) == 1 {
		return t.askAgain(ctx, c, b, d)
	}
	if j := lostWindow(d.DeadLetter); j != nil {
		return t.readAgain(ctx, c, b, d, j)
	}
	if record := escapable(d.DeadLetter); record != nil {
		return t.sendOn(ctx, b, d, record)
	}
	return config.Invalid("SEQUENCE", strconv.FormatUint(d.stored.Sequence, 10),
		"only an id, a window of SIEM records, or a SIEM record with a raw control character can be tried once more; this is "+d.GetStage()+": "+d.GetReason())
}

// askAgain publishes the job about an id once more, under an id of its own, which is the same
// however often that is done: a process that ends before it drops the letter orders no second call.
func (t *tool) askAgain(ctx context.Context, c Config, b *bus.Bus, d deadLetter) error {
	bucket, err := b.Bucket(ctx, bus.BucketKnown)
	if err != nil {
		return err
	}
	j := d.GetRetry()
	call, target := feed.Call(j.GetCall()), j.GetTargets()[0]
	if err := known.Open(bucket, c.Tenant.Name, known.Config{}, time.Now).Forget(ctx, call, target.GetId()); err != nil {
		return err
	}
	step.At("dead.forgotten")
	now := time.Now().UTC()
	at := d.GetDiedAt().AsTime().Truncate(time.Second)
	if at.After(now) || now.Sub(at) > window.Lookback { // the ledger has no page of that time any more
		at = now.Truncate(24 * time.Hour)
	}
	if !call.IsForensics() {
		j.Lane = taplinev1.Lane_LANE_RETRY
	}
	j.Window, j.Pass, j.PlannedAt = window.New(at, at.Add(time.Hour)).Proto(), uint32(d.stored.Sequence), timestamppb.New(now)
	id, err := job.Of(j)
	if err != nil {
		return fmt.Errorf("dead letter %d: %w", d.stored.Sequence, err)
	}
	j.Id = id.String()
	if err := b.PublishJob(ctx, j); err != nil && !errors.Is(err, bus.ErrOutstanding) {
		return err
	}
	step.At("dead.ordered")
	if err := remove(ctx, b, d); err != nil {
		return err
	}
	t.say("%s %s is asked for again\n", call, target.GetId())
	return nil
}

// lostWindow is the job about a window of SIEM records that a fetcher gave up; nil if a letter is
// about something else.
func lostWindow(l *taplinev1.DeadLetter) *taplinev1.Job {
	j := &taplinev1.Job{}
	if l.GetStage() != "fetcher" || l.GetPart() > 0 || wire.Unmarshal(l.GetPayload(), j) != nil || j.GetCall() != "" {
		return nil
	}
	id, err := job.Of(j)
	if err != nil || id.String() != j.GetId() {
		return nil
	}
	return j
}

// escapable is the text of a SIEM record of which only the raw control characters keep it from
// being JSON; nil if that does not help. The bytes in DEAD stay as they came; what is sent on is
// escaped.
func escapable(l *taplinev1.DeadLetter) []byte {
	f := feed.Feed(l.GetFeed())
	if l.GetStage() != "fetcher" || l.GetPart() > 0 || !f.IsSIEM() {
		return nil
	}
	text := jsonline.AppendEscaped(nil, l.GetPayload())
	if bytes.Equal(text, l.GetPayload()) {
		return nil
	}
	if _, err := named(f, text); err != nil {
		return nil
	}
	return text
}

// named gives a record its identity, as a fetcher does.
func named(f feed.Feed, text []byte) (batch.Record, error) {
	h := identity.NewHasher()
	id, err := h.SIEM(f, text)
	if err != nil {
		return batch.Record{}, err
	}
	return batch.Record{ID: id.ID, Hash: id.Hash, TimeMS: id.TimeMS, JSON: text}, nil
}

// sendOn stores a record in RAW, as the only one of a job of its own, from where it takes the way
// of all records. The job's name comes from its content, so a repetition stores it once.
func (t *tool) sendOn(ctx context.Context, b *bus.Bus, d deadLetter, text []byte) error {
	f := feed.Feed(d.GetFeed())
	record, err := named(f, text)
	if err != nil {
		return fmt.Errorf("dead letter %d: %w", d.stored.Sequence, err)
	}
	at := d.GetDiedAt().AsTime()
	w := window.New(at.Truncate(time.Hour), at.Truncate(time.Hour).Add(time.Hour))
	if source, err := job.Parse(d.GetSource()); err == nil {
		w = source.Window
	}
	id := job.ID{Tenant: d.GetTenant(), Set: feed.Set{f}, Window: w, Lane: taplinev1.Lane_LANE_RETRY, Pass: uint32(record.ID ^ record.Hash)}
	result := &taplinev1.JobResult{
		JobId: id.String(), Tenant: id.Tenant, Window: w.Proto(), Lane: id.Lane, Pass: id.Pass, PullId: strconv.FormatInt(at.UnixMilli(), 10),
		FetchedAt: timestamppb.New(at), Batches: 1, ReadEnd: timestamppb.New(w.Start), // it proves nothing of the window read
		Feeds: []*taplinev1.FeedResult{{Feed: string(f), Received: 1, Published: 1, FirstHash: record.Hash, LastHash: record.Hash}},
	}
	sequence, err := store(ctx, b, result, &record)
	if err != nil {
		return err
	}
	step.At("dead.stored")
	pages, err := b.Bucket(ctx, bus.BucketLedger)
	if err != nil {
		return err
	}
	entry := ledger.Fetched(result, sequence)
	entry.NotedAt = timestamppb.Now() // and no call was made
	if err := ledger.New(pages).RecordJob(ctx, entry); err != nil {
		return err
	}
	step.At("dead.noted")
	if err := remove(ctx, b, d); err != nil {
		return err
	}
	t.say("the record is sent on, escaped, as %s: see tapctl trace\n", identity.AppendTaplineID(nil, record.ID, record.Hash))
	return nil
}

// store puts one record and its marker into RAW, unless that was done before, and returns the
// sequence of the marker.
func store(ctx context.Context, b *bus.Bus, result *taplinev1.JobResult, record *batch.Record) (uint64, error) {
	w, err := window.FromProto(result.GetWindow())
	if err != nil {
		return 0, fmt.Errorf("job %s: %w", result.GetJobId(), err)
	}
	marker, err := proto.Marshal(result)
	if err != nil {
		return 0, fmt.Errorf("encode marker of job %s: %w", result.GetJobId(), err)
	}
	data := batch.AppendRawHeader(nil, &batch.Raw{
		Tenant: result.GetTenant(), Feed: result.GetFeeds()[0].GetFeed(), JobID: result.GetJobId(), Window: w, PullID: result.GetPullId(), FetchedAt: result.GetFetchedAt().AsTime(),
	})
	message := bus.RawMessage{Feed: result.GetFeeds()[0].GetFeed(), Data: batch.Pack(nil, batch.AppendRecord(data, record))}
	var one iter.Seq2[bus.RawMessage, error] = func(yield func(bus.RawMessage, error) bool) { yield(message, nil) }
	sequence, err := b.StoreJob(ctx, bus.JobOutput{Tenant: result.GetTenant(), JobID: result.GetJobId(), Batches: one, Marker: marker})
	if errors.Is(err, bus.ErrAlreadyStored) {
		sequence, _, err = b.Marker(ctx, result.GetTenant(), result.GetJobId())
	}
	return sequence, err
}
