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
	// prefetch bounds the messages that wait in the process for each lane, where
	// nobody keeps them alive. They are large; more would gain nothing.
	prefetch = 1
	// settled is how long a connection that carried nothing must have lasted for its end, with nothing
	// in flight, to be the other side's good right.
	settled = 5 * time.Second
	// turning is how long a lane may be busy with what it does itself. While it waits for the sink it promises nothing:
	// an outage, a pause that the endpoint asks for and a slow connection have no end that we know.
	turning = time.Minute
)

// lane is one connection after the other, and the parcels between the bus and
// the sink. pending[:sent] were sent on the connection at hand.
type lane struct {
	*Shipper
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
	pending  []*parcel
	sent     int
	bytes    int64
	didSend  chan struct{} // gets a value when a parcel was sent
	didClear chan struct{} // gets a value when parcels were settled
}

func newLane(s *Shipper, r *route, name string, ackWait time.Duration) *lane {
	return &lane{
		Shipper: s, route: r, ackWait: ackWait, name: Flow.Stage + " " + name, limit: s.cfg.MaxInFlight / int64(s.cfg.Connections),
		didSend: make(chan struct{}, 1), didClear: make(chan struct{}, 1),
	}
}

// run opens connection after connection until ctx ends, then drains.
func (l *lane) run(ctx context.Context) {
	defer l.health.Turn(l.name, 0)
	stop := l.keepAlive()
	defer stop()
	defer l.unsubscribe()
	defer l.release()
	// Work in hand may go on for a while after ctx has ended.
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	stopTimer := context.AfterFunc(ctx, func() { time.AfterFunc(l.cfg.Drain, abort) })
	defer stopTimer()
	for ctx.Err() == nil || (l.holds() > 0 && work.Err() == nil) {
		l.health.Turn(l.name, turning)
		err := l.session(ctx, work)
		switch {
		case errors.Is(err, devo.ErrRotated), errors.Is(err, errOld), errors.Is(err, errDrained), work.Err() != nil, ctx.Err() != nil && l.holds() == 0:
		case errors.Is(err, errIdle), l.holds() == 0 && l.lasted():
			l.await(ctx)
		default:
			l.failures++
			l.metrics.failures.Inc()
			l.route.failed(work, err)
			l.unsubscribe() // what waits in the process would grow old there
			l.pause(work, reconnect.After(l.failures))
		}
	}
}

// session works on one connection until it is finished, and says why it is.
func (l *lane) session(take, work context.Context) error {
	open := take
	if l.holds() > 0 {
		open = work
	}
	l.opened, l.worked = time.Time{}, false
	opened := l.health.Wait(l.name, turning)
	c, err := l.route.open(open)
	opened()
	if err != nil {
		return err
	}
	defer c.Close()
	l.opened = time.Now()
	l.metrics.connections.Inc()
	l.rewind()
	ctx, end := context.WithCancelCause(work)
	defer end(nil)
	stop := context.AfterFunc(ctx, c.Close) // frees a Send that waits for the other side
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { end(c.Wait(ctx)) })
	wg.Go(func() { end(l.confirmer(ctx, c)) })
	end(l.sender(take, ctx, c))
	wg.Wait()
	return context.Cause(ctx)
}

// lasted reports whether the last connection did something, or stood for a while.
func (l *lane) lasted() bool {
	return l.worked || (!l.opened.IsZero() && time.Since(l.opened) > settled)
}

// send writes a parcel to the connection, after which its rows are only in the message. [errGivenBack]: the message is no
// longer this lane's.
func (l *lane) send(ctx context.Context, c conn, p *parcel) error {
	if p.empty {
		if err := l.route.reload(p); err != nil {
			return err
		}
	}
	p.sent, p.rows, p.dead = time.Now(), p.fit, p.unfit
	taken := l.health.Wait(l.name, turning)
	err := c.Send(p.events)
	taken()
	if refused, ok := errors.AsType[*devohttp.RefusedError](err); ok {
		err = l.refusal(ctx, p, refused)
	}
	if err != nil {
		return err
	}
	l.doubted.forget(l.doubtOf(p))
	step.At("shipper.sent")
	if l.route.reload != nil {
		p.discard()
	}
	return nil
}

// sender sends what is pending, then pulls and sends until taking ends and all
// is confirmed.
func (l *lane) sender(take, ctx context.Context, c conn) error {
	idle := time.Now()
	for ctx.Err() == nil {
		if p := l.unsent(); p != nil {
			switch err := l.send(ctx, c, p); {
			case errors.Is(err, errGivenBack):
			case err != nil:
				return err
			default:
				l.markSent(p)
			}
			idle = time.Now()
			continue
		}
		empty := l.holds() == 0
		switch {
		case take.Err() != nil && empty:
			return errDrained
		case empty && time.Since(idle) > l.cfg.Devo.Idle:
			return errIdle
		case empty && old(c):
			return errOld
		case take.Err() != nil, l.full(), old(c): // an old connection takes no more, and ends when it has delivered
			cleared := l.health.Wait(l.name, turning)
			wait(ctx, l.didClear)
			cleared()
			continue
		}
		if err := l.pullBriefly(take, ctx); errors.Is(err, bus.ErrClosed) {
			return err
		}
	}
	return nil
}

// old reports whether the connection should be replaced when that disturbs nobody.
func old(c conn) bool {
	aged, ok := c.(interface{ Old() bool })
	return ok && aged.Old()
}

// confirmer settles what the sink confirms, until the session ends.
func (l *lane) confirmer(ctx context.Context, c conn) error {
	for {
		// A batch may be confirmed before the sender has counted it.
		for l.unconfirmed() <= 0 && ctx.Err() == nil {
			wait(ctx, l.didSend)
		}
		if l.unconfirmed() <= 0 {
			return nil
		}
		n, err := c.Confirm(ctx)
		step.At("shipper.confirmed")
		l.route.settle(ctx, l.take(n))
		if n > 0 {
			l.failures, l.worked = 0, true
			l.doubts.Store(0)
			l.route.works(ctx)
			signal(l.didClear)
		}
		if err != nil {
			return err
		}
	}
}

// await pulls one parcel while there is no connection, so that an idle sink is
// left alone.
func (l *lane) await(ctx context.Context) {
	for l.holds() == 0 && ctx.Err() == nil {
		if errors.Is(l.pullBriefly(ctx, ctx), bus.ErrClosed) {
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

// pause is for less than turning.
func (l *lane) pause(ctx context.Context, d time.Duration) {
	l.health.Turn(l.name, turning)
	backoff.Sleep(ctx, d)
	l.health.Turn(l.name, turning)
}
