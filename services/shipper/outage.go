package shipper

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/backoff"
	"github.com/tapline/tapline/pkg/telemetry"
)

const remindEvery = 10 * time.Minute

// reconnect is when a connection that could not be opened, or was lost, is tried again.
var reconnect = backoff.Doubling{Min: 250 * time.Millisecond, Max: 30 * time.Second, Jitter: 0.5}

// outage is the state of the sink that all workers share, so that it is logged once and not by each
// worker for each failure. It is safe for concurrent use.
type outage struct {
	log    *slog.Logger
	health *telemetry.Health
	up     prometheus.Gauge
	alarms *alarm.Board // set before anything fails

	mu     sync.Mutex
	since  time.Time // zero while the sink works
	logged time.Time
}

// recordFailure records that a connection could not be opened or was lost.
func (o *outage) recordFailure(ctx context.Context, err error) {
	o.alarms.Raise(ctx, alarm.Sink, err.Error())
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.since.IsZero() {
		o.since = now
		o.up.Set(0)
		o.health.Degraded("sink", err.Error())
	} else if now.Sub(o.logged) < remindEvery {
		return
	}
	o.logged = now
	o.log.Warn("the sink does not take rows; they wait in the stream",
		slog.Any("error", err), slog.Duration("for", now.Sub(o.since).Round(time.Second)))
}

// recordSuccess records that the sink has confirmed something.
func (o *outage) recordSuccess(ctx context.Context) {
	o.alarms.Clear(ctx, alarm.Sink)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return
	}
	o.log.Info("the sink takes rows again", slog.Duration("after", time.Since(o.since).Round(time.Millisecond)))
	o.since = time.Time{}
	o.up.Set(1)
	o.health.OK("sink")
}
