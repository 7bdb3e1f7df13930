package shipper

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// pullFor bounds one wait for a message, so that a worker notices in between that its connection is
// old or idle.
const pullFor = 2 * time.Second

// pullBriefly pulls at most one batch.
func (w *worker) pullBriefly(take, session context.Context) error {
	ctx, cancel := context.WithTimeout(take, pullFor)
	defer cancel()
	stop := context.AfterFunc(session, cancel)
	defer stop()
	return w.pull(ctx)
}

// pull takes the next message from the bus and appends it to what is pending.
func (w *worker) pull(ctx context.Context) error {
	w.shipper.health.Turn(w.name, turning)
	if d := w.route.delay(); d > 0 {
		if d > time.Second {
			w.unsubscribe() // what waits in the process would grow old there
		}
		w.sleep(ctx, d)
		return ctx.Err()
	}
	if err := w.subscribe(ctx); err != nil {
		w.shipper.log.Debug("cannot subscribe", slog.Any("error", err))
		w.sleep(ctx, time.Second)
		return err
	}
	d, err := w.sub.Next(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.shipper.log.Warn("fetch from stream failed", slog.Any("error", err))
			w.sleep(ctx, time.Second)
		}
		return err
	}
	// Half done is worse than late: the end of taking does not cut this short.
	p, err := w.route.unpack(context.WithoutCancel(ctx), d)
	if err != nil {
		w.shipper.log.Warn("cannot decode a message; it will be retried", slog.String("source", d.Source()), slog.Any("error", err))
		return d.RetryAfter(5 * time.Second)
	}
	if p != nil {
		w.add(p)
	}
	return nil
}

func (w *worker) subscribe(ctx context.Context) error {
	if w.sub != nil {
		return nil
	}
	var err error
	w.sub, err = w.shipper.bus.Subscribe(ctx, w.route.consumer, prefetch)
	return err
}

// unsubscribe gives back what waits in the process.
func (w *worker) unsubscribe() {
	if w.sub != nil {
		w.sub.Stop()
		w.sub = nil
	}
}

func (w *worker) add(p *inflight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, p)
	w.bytes += p.bytes
	w.shipper.metrics.inFlight.Add(float64(p.bytes))
}

func (w *worker) inHand() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending)
}

func (w *worker) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes >= w.limit
}

// unsent is the next batch for the connection at hand.
func (w *worker) unsent() *inflight {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent < len(w.pending) {
		return w.pending[w.sent]
	}
	return nil
}

func (w *worker) markSent(p *inflight) {
	w.mu.Lock()
	w.sent++
	w.mu.Unlock()
	w.shipper.metrics.shipped.WithLabelValues(label(p.head.Table)).Add(float64(p.rows))
	w.shipper.metrics.bytes.Add(float64(p.bytes))
	signal(w.didSend)
}

// rewind makes everything unsent: a new connection has carried nothing.
func (w *worker) rewind() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = 0
}

func (w *worker) unconfirmed() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

// take removes the oldest batches, which were confirmed.
func (w *worker) take(n int) []*inflight {
	w.mu.Lock()
	defer w.mu.Unlock()
	done := w.pending[:n:n]
	w.pending = w.pending[n:]
	w.sent -= n
	for _, p := range done {
		w.bytes -= p.bytes
		w.shipper.metrics.inFlight.Sub(float64(p.bytes))
	}
	return done
}

// drop removes a batch that was not sent.
func (w *worker) drop(p *inflight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// A copy: keepAlive and take may hold the old list.
	w.pending = slices.DeleteFunc(slices.Clone(w.pending), func(have *inflight) bool { return have == p })
	w.bytes -= p.bytes
	w.shipper.metrics.inFlight.Sub(float64(p.bytes))
}

// keepAlive periodically extends the ack wait of what the worker holds.
func (w *worker) keepAlive() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(w.ackWait / 4)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				w.mu.Lock()
				held := w.pending
				w.mu.Unlock()
				for _, p := range held {
					_ = p.delivery.Progress() // else it is redelivered, which is allowed
				}
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// release gives back what could not be confirmed in time.
func (w *worker) release() {
	for _, p := range w.take(w.inHand()) {
		_ = p.delivery.RetryAfter(time.Millisecond) // else it is redelivered when AckWait is over
	}
}
