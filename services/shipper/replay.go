package shipper

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/replay"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	// behindEnd is the pause after a message behind the end of an order: some before it are not
	// done yet, and are redelivered from other processes.
	behindEnd = 500 * time.Millisecond
	// skipEvery and skipMost bound how long messages wait of which nothing is sent, and how many.
	skipEvery = 500 * time.Millisecond
	skipMost  = 100
	// lookEvery is how long a look at the progress of the other workers is valid.
	lookEvery = time.Second
)

// replays works on the orders to send rows again.
func (s *Shipper) replays(orders *bus.Bucket) *replay.Runner {
	return replay.NewRunner(replay.Deps{
		Config: s.cfg.Replay, Bus: s.bus, Bucket: orders, Tenant: s.cfg.Tenant.Name, Stage: Flow.Stage,
		Log: s.log, Metrics: s.registry, Work: s.replay,
	})
}

// resending is one order in work. Its worker is like the others, and has its own connection.
type resending struct {
	shipper *Shipper
	run     *replay.Run
	copies  bool // to another sink than everything else
	mark    []byte

	// For the goroutine that pulls.
	deliveries *ledger.Deliveries
	quiet      time.Time // until when nothing is pulled
	reached    uint64    // up to where the other workers have finished, at looked
	looked     time.Time

	mu      sync.Mutex
	skipped []skip
}

// skip is a message of which nothing is sent.
type skip struct {
	delivery *bus.Delivery
	tally    replay.Tally
}

// replay sends what an order wants until ctx ends.
func (s *Shipper) replay(ctx context.Context, r *replay.Run) error {
	out, copies, err := s.sinkOf(r.Order())
	if err != nil {
		return err
	}
	defer func() {
		if err := out.close(); err != nil {
			s.log.Warn("cannot close the sink of a replay", slog.Any("error", err))
		}
	}()
	sub, err := s.bus.Subscribe(ctx, r.Consumer(), prefetch)
	if err != nil {
		return err
	}
	sub.Stop()
	if err := r.Begin(ctx); err != nil {
		return fmt.Errorf("shipper: %w", err)
	}
	w := &resending{shipper: s, run: r, copies: copies, deliveries: s.ledger.Deliveries()}
	if s.cfg.Identity.TaplineID {
		w.mark = fmt.Appendf(nil, `"@tapline_replay_id":%q}`, r.Order().GetId())
	}
	l := newWorker(s, &route{
		consumer: r.Consumer(), open: out.open, unpack: w.unpack, ack: w.ack, delay: w.delay, recordFailure: w.recordFailure, recordSuccess: w.recordSuccess,
	}, "replay "+r.Order().GetId(), sub.AckWait())
	var wg sync.WaitGroup
	wg.Go(func() { w.flushing(ctx) })
	l.run(ctx)
	wg.Wait()
	w.flush(ctx)
	return nil
}

// sinkOf is where the rows of an order go, and whether that is another place than everything else
// goes to.
func (s *Shipper) sinkOf(o *taplinev1.ReplayOrder) (out sink, copies bool, err error) {
	if o.GetSink() == "" || (o.GetSink() == s.cfg.Sink && o.GetSink() != SinkFile) {
		return sink{open: s.sink.open, close: func() error { return nil }}, false, nil
	}
	c := s.cfg
	c.Sink, c.Canary.On = o.GetSink(), false // which looks at the sink of everything else
	// A file of its own, whole: what everything else goes to is left as it is.
	ext := filepath.Ext(c.File.Path)
	c.File.Path = strings.TrimSuffix(c.File.Path, ext) + ".replay-" + o.GetId() + ext
	c.File.MaxBytes = 0
	if err = c.Validate(); err == nil {
		out, err = newSink(c, s.stdout)
	}
	if err != nil {
		return out, true, config.Invalid("--sink", o.GetSink(), "is not configured in this shipper: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return out, true, nil
}

// unpack takes out of a message what the order wants.
func (w *resending) unpack(ctx context.Context, d *bus.Delivery) (*inflight, error) {
	if w.run.Beyond(d.Sequence()) {
		w.quiet = time.Now().Add(behindEnd)
		return nil, d.Ack()
	}
	if w.run.Counted(d.Sequence()) {
		return nil, d.Ack()
	}
	p := newInflight(d)
	p.partial = w.copies
	if err := w.shipper.decode(d, p.events); err != nil { // it is in DEAD
		w.skip(ctx, d, replay.Tally{Dead: 1})
		return nil, nil //nolint:nilerr // it is counted
	}
	filter, total := w.run.Filter(), uint64(len(p.events.Events))
	if !filter.Table(p.events.Table) || !filter.Batch(p.events.Feed, p.events.JobID) {
		w.skip(ctx, d, replay.Tally{})
		return nil, nil
	}
	if !w.run.Order().GetAll() {
		needless, err := w.needless(ctx, d, p.events)
		if err != nil {
			return nil, err
		}
		if needless {
			w.skip(ctx, d, replay.Tally{Delivered: total})
			return nil, nil
		}
	}
	w.choose(p)
	if p.rows == 0 {
		w.skip(ctx, d, replay.Tally{Dead: uint64(p.dead)})
		return nil, nil
	}
	w.run.Spend(p.rows)
	return p, nil
}

// needless reports whether a batch is delivered, or on its way there anyway because the other
// workers have not finished it. The ledger is looked at after that: what they have finished is in
// it.
func (w *resending) needless(ctx context.Context, d *bus.Delivery, e *batch.Events) (bool, error) {
	if !w.copies {
		if time.Since(w.looked) > lookEvery {
			backlog, err := w.shipper.bus.Backlog(ctx, bus.ConsumerShipper)
			if err != nil {
				return false, err
			}
			w.reached, w.looked = backlog.Done, time.Now()
			w.deliveries.Forget()
		}
		if d.Sequence() > w.reached {
			return true, nil
		}
	}
	return w.deliveries.Has(ctx, e)
}

// choose keeps the rows that are wanted and can be sent, and marks them.
func (w *resending) choose(p *inflight) {
	kept, size := p.events.Events[:0], 0
	for i := range p.events.Events {
		e := &p.events.Events[i]
		switch {
		case !w.run.Filter().Row(string(e.ID), e.JSON):
			p.partial = true
		case w.shipper.unfit(e) != nil: // it is in DEAD, or will be
			p.dead++
		default:
			kept, size = append(kept, *e), size+len(e.JSON)+1+len(w.mark)
		}
	}
	buf := make([]byte, 0, size)
	for i := range kept {
		start := len(buf)
		buf = appendMarked(buf, kept[i].JSON, w.mark)
		kept[i].JSON = buf[start:len(buf):len(buf)]
	}
	p.events.Events, p.bytes = kept, int64(len(buf))
	p.summarize()
}

// appendMarked appends a row with one more member before its last brace.
func appendMarked(dst, row, mark []byte) []byte {
	end := len(row) - 1
	if len(mark) == 0 || end < 1 || row[end] != '}' {
		return append(dst, row...)
	}
	dst = append(dst, row[:end]...)
	if len(bytes.TrimSpace(row[1:end])) > 0 {
		dst = append(dst, ',')
	}
	return append(dst, mark...)
}

// delay is how long nothing may be pulled, for the order's rate or because its end is reached.
func (w *resending) delay() time.Duration { return max(w.run.Delay(), time.Until(w.quiet)) }

func (w *resending) recordFailure(_ context.Context, err error) {
	w.run.Trouble("the sink does not take rows: " + err.Error())
}

func (w *resending) recordSuccess(context.Context) { w.run.Trouble("") }

// ack acknowledges what the sink has confirmed, once the ledger and the order record it.
func (w *resending) ack(ctx context.Context, batches []*inflight) {
	if len(batches) == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if err := w.shipper.ledger.RecordDelivery(ctx, w.shipper.records(w.run.Order(), batches)...); err != nil {
		w.shipper.log.Warn("cannot record what a replay has sent; it will be retried", slog.Any("error", err))
		return
	}
	counted := make([]skip, 0, len(batches))
	for _, p := range batches {
		counted = append(counted, skip{p.delivery, replay.Tally{
			Sequence: p.delivery.Sequence(), Rows: uint64(p.rows), Bytes: uint64(p.bytes), Dead: uint64(p.dead),
		}})
	}
	w.finish(ctx, counted)
}

// skip acks a message of which nothing is sent, together with others.
func (w *resending) skip(ctx context.Context, d *bus.Delivery, t replay.Tally) {
	t.Sequence = d.Sequence()
	w.mu.Lock()
	w.skipped = append(w.skipped, skip{d, t})
	full := len(w.skipped) >= skipMost
	w.mu.Unlock()
	if full {
		w.flush(ctx)
	}
}

// flushing periodically acks what is skipped, until ctx ends.
func (w *resending) flushing(ctx context.Context) {
	ticker := time.NewTicker(skipEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.flush(ctx)
		}
	}
}

func (w *resending) flush(ctx context.Context) {
	w.mu.Lock()
	skipped := w.skipped
	w.skipped = nil
	w.mu.Unlock()
	if len(skipped) > 0 {
		w.finish(context.WithoutCancel(ctx), skipped)
	}
}

// finish records the progress of the order, then acknowledges.
func (w *resending) finish(ctx context.Context, counted []skip) {
	tallies := make([]replay.Tally, len(counted))
	for i := range counted {
		tallies[i] = counted[i].tally
	}
	if err := w.run.Count(ctx, tallies...); err != nil {
		w.shipper.log.Warn("cannot record the progress of a replay; some of it will be retried", slog.Any("error", err))
		return
	}
	for _, s := range counted {
		if err := s.delivery.Ack(); err != nil {
			w.shipper.log.Debug("cannot ack", slog.Any("error", err))
		}
	}
}
