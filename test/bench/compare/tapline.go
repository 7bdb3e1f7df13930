package compare

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/freeport"
)

// taplineDrain has all rows in EVENTS before the shipper starts, with variables that are not as by
// default.
func taplineDrain(extra ...string) func(context.Context, scene) (*attempt, error) {
	return func(ctx context.Context, s scene) (*attempt, error) {
		a, b, err := broker(ctx, s)
		if err != nil {
			return a, err
		}
		e := &events{bus: b, rows: s.rows}
		if err := e.publish(ctx); err != nil {
			return a, err
		}
		return a, e.ship(ctx, s, a, extra...)
	}
}

// taplineThrough publishes, as an enricher does, while the shipper ships. The server has synced a
// batch before the next one comes.
func taplineThrough(ctx context.Context, s scene) (*attempt, error) {
	a, b, err := broker(ctx, s)
	if err != nil {
		return a, err
	}
	e := &events{bus: b, rows: s.rows}
	if err := e.ship(ctx, s, a); err != nil {
		return a, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() { failed = e.publish(ctx) })
	a.closers = append(a.closers, wg.Wait, cancel)
	confirmed := a.confirmed
	a.confirmed = func(ctx context.Context) error {
		wg.Wait()
		return errors.Join(failed, confirmed(ctx))
	}
	return a, nil
}

var errNotUp = errors.New("it does not listen after 30 s")

// broker starts a NATS server with default settings, synced at each write, and makes what Tapline
// needs.
func broker(ctx context.Context, s scene) (*attempt, *bus.Bus, error) {
	a := &attempt{}
	address, err := freeAddress()
	if err != nil {
		return a, nil, err
	}
	err = a.run(ctx, launch{dir: s.dir, args: []string{filepath.Join(s.programs, "natsserver"), s.path("nats"), address}})
	if err != nil {
		return a, nil, err
	}
	var d net.Dialer
	patient, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errNotUp)
	defer cancel()
	err = poll(patient, func() (bool, error) {
		conn, err := d.DialContext(patient, "tcp", address)
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet
		}
		return true, conn.Close()
	})
	if err != nil {
		return a, nil, fmt.Errorf("start the NATS server: %w", err)
	}
	b, err := bus.Connect(ctx, bus.Config{URL: "nats://" + address}, "compare", slog.New(slog.DiscardHandler))
	if err != nil {
		return a, nil, err
	}
	a.closers = append(a.closers, b.Close)
	var limits bus.Limits
	if err := config.Load(&limits, nil); err != nil {
		return a, nil, err
	}
	return a, b, b.Setup(ctx, limits, nil)
}

// events are the rows in EVENTS.
type events struct {
	bus  *bus.Bus
	rows rows
	last atomic.Uint64 // sequence of the last message, once all are stored
}

// Batches are as large as an enricher makes them of what a fetcher stores.
const (
	batchRows  = 500
	batchBytes = 512 << 10
)

// publish stores all rows.
func (e *events) publish(ctx context.Context) error {
	var b batch.Events
	var message, packed []byte
	size, source, last := 0, uint64(0), uint64(0)
	flush := func() (err error) {
		source++
		b.Tenant, b.Table, b.Feed, b.JobID, b.SourceSequence = "main", table, name, "compare", source
		message = batch.AppendEvents(message[:0], &b)
		packed = batch.Pack(packed[:0], message)
		last, err = e.bus.PublishEvents(ctx, packed, bus.EventMeta{Tenant: b.Tenant, Table: b.Table, MsgID: fmt.Sprint(source)})
		b, size = batch.Events{Events: b.Events[:0]}, 0
		return err
	}
	for line, err := range e.rows.lines() {
		if err != nil {
			return err
		}
		row := append([]byte(nil), line[len(header):]...)
		if len(b.Events) == batchRows || size+len(row) > batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		id := row[len(row)-len(`0123456789abcdef0123456789abcdef"}`) : len(row)-len(`"}`)]
		b.Events = append(b.Events, batch.Event{ID: id, PullMS: pulled, TimeMS: pulled, JSON: row})
		size += len(row)
	}
	if err := flush(); err != nil {
		return err
	}
	e.last.Store(last)
	return nil
}

// ship starts a shipper.
func (e *events) ship(ctx context.Context, s scene, a *attempt, extra ...string) error {
	a.confirmed = func(ctx context.Context) error {
		return poll(ctx, func() (bool, error) {
			left, err := e.bus.Backlog(ctx, bus.ConsumerShipper)
			return err == nil && left.Done == e.last.Load(), err
		})
	}
	server := a.processes[0].cmd.Args
	return a.run(ctx, launch{dir: s.dir, args: []string{filepath.Join(s.programs, "shipper")}, env: append([]string{
		"NATS_URL=nats://" + server[len(server)-1], "HTTP_ADDR=127.0.0.1:0", "SINK=devo", "DEVO_ADDRESS=" + s.sink,
		"DEVO_CHAIN_FILE=" + s.certs.Chain, "DEVO_CERT_FILE=" + s.certs.ClientCert, "DEVO_KEY_FILE=" + s.certs.ClientKey, "DEVO_HOSTNAME=" + host,
	}, extra...)})
}

func freeAddress() (string, error) {
	port, err := freeport.Find()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}

// poll checks again and again until it is content, fails, or ctx ends.
func poll(ctx context.Context, check func() (bool, error)) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := check()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
