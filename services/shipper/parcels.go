package shipper

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// pullFor bounds one wait for a message, so that a lane notices in between that
// its connection is old or idle.
const pullFor = 2 * time.Second

// pullBriefly pulls at most one parcel.
func (l *lane) pullBriefly(take, session context.Context) error {
	ctx, cancel := context.WithTimeout(take, pullFor)
	defer cancel()
	stop := context.AfterFunc(session, cancel)
	defer stop()
	return l.pull(ctx)
}

// pull takes the next message from the bus and appends it to what is pending.
func (l *lane) pull(ctx context.Context) error {
	l.health.Turn(l.name, turning)
	if d := l.route.rest(); d > 0 {
		if d > time.Second {
			l.unsubscribe() // what waits in the process would grow old there
		}
		l.pause(ctx, d)
		return ctx.Err()
	}
	if err := l.subscribe(ctx); err != nil {
		l.log.Debug("cannot subscribe", slog.Any("error", err))
		l.pause(ctx, time.Second)
		return err
	}
	d, err := l.sub.Next(ctx)
	if err != nil {
		if ctx.Err() == nil {
			l.log.Warn("cannot pull", slog.Any("error", err))
			l.pause(ctx, time.Second)
		}
		return err
	}
	// Half done is worse than late: settling a message is not cut short by the end of taking.
	p, err := l.route.unpack(context.WithoutCancel(ctx), d)
	if err != nil {
		l.log.Warn("cannot unpack a message; it comes again", slog.String("source", d.Source()), slog.Any("error", err))
		return d.RetryAfter(5 * time.Second)
	}
	if p != nil {
		l.add(p)
	}
	return nil
}

func (l *lane) subscribe(ctx context.Context) error {
	if l.sub != nil {
		return nil
	}
	var err error
	l.sub, err = l.bus.Subscribe(ctx, l.route.consumer, prefetch)
	return err
}

// unsubscribe gives back what waits in the process.
func (l *lane) unsubscribe() {
	if l.sub != nil {
		l.sub.Stop()
		l.sub = nil
	}
}

func (l *lane) add(p *parcel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, p)
	l.bytes += p.bytes
	l.metrics.inFlight.Add(float64(p.bytes))
}

func (l *lane) holds() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending)
}

func (l *lane) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes >= l.limit
}

// unsent is the next parcel for the connection at hand.
func (l *lane) unsent() *parcel {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sent < len(l.pending) {
		return l.pending[l.sent]
	}
	return nil
}

func (l *lane) markSent(p *parcel) {
	l.mu.Lock()
	l.sent++
	l.mu.Unlock()
	l.metrics.shipped.WithLabelValues(label(p.head.Table)).Add(float64(p.rows))
	l.metrics.bytes.Add(float64(p.bytes))
	signal(l.didSend)
}

// rewind makes everything unsent: a new connection has carried nothing.
func (l *lane) rewind() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = 0
}

func (l *lane) unconfirmed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// take removes the oldest parcels, which were confirmed.
func (l *lane) take(n int) []*parcel {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := l.pending[:n:n]
	l.pending = l.pending[n:]
	l.sent -= n
	for _, p := range done {
		l.bytes -= p.bytes
		l.metrics.inFlight.Sub(float64(p.bytes))
	}
	return done
}

// drop removes a parcel that was not sent.
func (l *lane) drop(p *parcel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A copy: keepAlive and take may hold the old list.
	l.pending = slices.DeleteFunc(slices.Clone(l.pending), func(have *parcel) bool { return have == p })
	l.bytes -= p.bytes
	l.metrics.inFlight.Sub(float64(p.bytes))
}

// keepAlive tells the bus now and then that what the lane holds is still wanted.
func (l *lane) keepAlive() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(l.ackWait / 4)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				l.mu.Lock()
				held := l.pending
				l.mu.Unlock()
				for _, p := range held {
					_ = p.delivery.Progress() // else it comes again, which is allowed
				}
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// release gives back what could not be confirmed in time.
func (l *lane) release() {
	for _, p := range l.take(l.holds()) {
		_ = p.delivery.RetryAfter(time.Millisecond) // else it comes again when AckWait is over
	}
}
