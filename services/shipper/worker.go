package shipper

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/step"
	"github.com/tapline/tapline/services/shipper/internal/devo"
	"github.com/tapline/tapline/services/shipper/internal/devohttp"
)

const (
	// prefetch bounds the messages that wait in the process for each worker, where nothing keeps
	// them alive. They are large; more would gain nothing.
	prefetch = 1
	// minLifetime is how long an idle connection must have lasted for its end to be no failure: the
	// peer may close it with nothing in flight.
	minLifetime = 5 * time.Second
	// turning is how long a worker may be busy with what it does itself. While it waits for the
	// sink it promises nothing: an outage, a pause that the endpoint asks for and a slow connection
	// have no end that we know.
	turning = time.Minute
)

// worker is one connection after the other, and the batches between the bus and the sink.
// pending[:sent] were sent on the connection at hand.
type worker struct {
	shipper *Shipper
	route   *route
	name    string
	ackWait time.Duration
	limit   int64 // bytes in hand

	sub      *bus.Subscription // nil while the sink is away; for the goroutine of run
	failures int               // in a row; for the goroutine of run and, during a session, its confirmer
	opened   time.Time         // the connection at hand, zero if it could not be; for the goroutine of run
	worked   bool              // whether it confirmed anything; as failures
	doubts   atomic.Int32      // messages in a row that were refused, and nothing shows that they are to blame

	mu       sync.Mutex
	pending  []*inflight
	sent     int
	bytes    int64
	didSend  chan struct{} // gets a value when a batch was sent
	didClear chan struct{} // gets a value when batches were acked
}

func newWorker(s *Shipper, r *route, name string, ackWait time.Duration) *worker {
	return &worker{
		shipper: s, route: r, ackWait: ackWait, name: Flow.Stage + " " + name, limit: s.cfg.MaxInFlight / int64(s.cfg.Connections),
		didSend: make(chan struct{}, 1), didClear: make(chan struct{}, 1),
	}
}

// run opens connection after connection until ctx ends, then drains.
func (w *worker) run(ctx context.Context) {
	defer w.shipper.health.Turn(w.name, 0)
	stop := w.keepAlive()
	defer stop()
	defer w.unsubscribe()
	defer w.release()
	// Work in hand may continue for a while after ctx has ended.
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	stopTimer := context.AfterFunc(ctx, func() { time.AfterFunc(w.shipper.cfg.Drain, abort) })
	defer stopTimer()
	for ctx.Err() == nil || (w.inHand() > 0 && work.Err() == nil) {
		w.shipper.health.Turn(w.name, turning)
		err := w.session(ctx, work)
		switch {
		case errors.Is(err, devo.ErrRotated), errors.Is(err, errOld), errors.Is(err, errDrained), work.Err() != nil, ctx.Err() != nil && w.inHand() == 0:
		case errors.Is(err, errIdle), w.inHand() == 0 && w.lasted():
			w.await(ctx)
		default:
			w.failures++
			w.shipper.metrics.failures.Inc()
			w.route.recordFailure(work, err)
			w.unsubscribe() // what waits in the process would grow old there
			w.sleep(work, reconnect.After(w.failures))
		}
	}
}

// session works on one connection until it is finished, and says why it is.
func (w *worker) session(take, work context.Context) error {
	open := take
	if w.inHand() > 0 {
		open = work
	}
	w.opened, w.worked = time.Time{}, false
	opened := w.shipper.health.Wait(w.name, turning)
	c, err := w.route.open(open)
	opened()
	if err != nil {
		return err
	}
	defer c.Close()
	w.opened = time.Now()
	w.shipper.metrics.connections.Inc()
	w.rewind()
	ctx, end := context.WithCancelCause(work)
	defer end(nil)
	stop := context.AfterFunc(ctx, c.Close) // frees a Send that waits for the peer
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { end(c.Wait(ctx)) })
	wg.Go(func() { end(w.confirmer(ctx, c)) })
	end(w.sender(take, ctx, c))
	wg.Wait()
	return context.Cause(ctx)
}

// lasted reports whether the last connection did something, or stood for a while.
func (w *worker) lasted() bool {
	return w.worked || (!w.opened.IsZero() && time.Since(w.opened) > minLifetime)
}

// send writes a batch to the connection, after which its rows are only in the message.
// [errGivenBack]: the message is no longer this worker's.
func (w *worker) send(ctx context.Context, c conn, p *inflight) error {
	if p.released {
		if err := w.route.reload(p); err != nil {
			return err
		}
	}
	p.sent, p.rows, p.dead = time.Now(), p.fit, p.unfit
	taken := w.shipper.health.Wait(w.name, turning)
	err := c.Send(p.events)
	taken()
	if refused, ok := errors.AsType[*devohttp.RefusedError](err); ok {
		err = w.refusal(ctx, p, refused)
	}
	if err != nil {
		return err
	}
	w.shipper.doubted.forget(w.doubtOf(p))
	step.At("shipper.sent")
	if w.route.reload != nil {
		p.discard()
	}
	return nil
}

// sender sends what is pending, then pulls and sends until taking ends and all
// is confirmed.
func (w *worker) sender(take, ctx context.Context, c conn) error {
	idle := time.Now()
	for ctx.Err() == nil {
		if p := w.unsent(); p != nil {
			switch err := w.send(ctx, c, p); {
			case errors.Is(err, errGivenBack):
			case err != nil:
				return err
			default:
				w.markSent(p)
			}
			idle = time.Now()
			continue
		}
		empty := w.inHand() == 0
		switch {
		case take.Err() != nil && empty:
			return errDrained
		case empty && time.Since(idle) > w.shipper.cfg.Devo.Idle:
			return errIdle
		case empty && old(c):
			return errOld
		case take.Err() != nil, w.full(), old(c): // an old connection takes no more, and ends when it has delivered
			cleared := w.shipper.health.Wait(w.name, turning)
			wait(ctx, w.didClear)
			cleared()
			continue
		}
		if err := w.pullBriefly(take, ctx); errors.Is(err, bus.ErrClosed) {
			return err
		}
	}
	return nil
}

// old reports whether the connection should be replaced when nothing is in flight.
func old(c conn) bool {
	aged, ok := c.(interface{ Old() bool })
	return ok && aged.Old()
}

// confirmer acks what the sink confirms, until the session ends.
func (w *worker) confirmer(ctx context.Context, c conn) error {
	for {
		// A batch may be confirmed before the sender has counted it.
		for w.unconfirmed() <= 0 && ctx.Err() == nil {
			wait(ctx, w.didSend)
		}
		if w.unconfirmed() <= 0 {
			return nil
		}
		n, err := c.Confirm(ctx)
		step.At("shipper.confirmed")
		w.route.ack(ctx, w.take(n))
		if n > 0 {
			w.failures, w.worked = 0, true
			w.doubts.Store(0)
			w.route.recordSuccess(ctx)
			signal(w.didClear)
		}
		if err != nil {
			return err
		}
	}
}

// await pulls one batch while there is no connection, so that an idle sink is left alone.
func (w *worker) await(ctx context.Context) {
	for w.inHand() == 0 && ctx.Err() == nil {
		if errors.Is(w.pullBriefly(ctx, ctx), bus.ErrClosed) {
			return
		}
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func wait(ctx context.Context, c <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-c:
	}
}

// sleep is for less than turning.
func (w *worker) sleep(ctx context.Context, d time.Duration) {
	w.shipper.health.Turn(w.name, turning)
	backoff.Sleep(ctx, d)
	w.shipper.health.Turn(w.name, turning)
}
