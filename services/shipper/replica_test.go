package shipper_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/services/devosink"
)

// TestAnOutageBurnsNoDeliveries: while the sink is away nothing is pulled and nothing is refused;
// what is in hand is kept for many times the period after which the bus would redeliver it.
func TestAnOutageBurnsNoDeliveries(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; make test runs it")
	}
	t.Parallel()
	sink, environ := endpoint(t, devosink.Full)
	b := bustest.Connect(t, bustest.Server(t))
	limits := bustest.Limits
	limits.AckWait = 2 * time.Second
	if err := b.Setup(t.Context(), limits, nil); err != nil {
		t.Fatal(err)
	}
	const lanes, batches, rows = 2, 200, 30
	if err := sink.Inject(devosink.Fault{Kind: devosink.FaultStall, Bytes: 1}); err != nil {
		t.Fatal(err)
	}
	fillWith(t, b, load{0, batches, rows, long})
	r := begin(t, b, nil, append(environ, "DEVO_STALL_TIMEOUT=1s", "SHIPPER_MAX_INFLIGHT_BYTES=2097152"))
	inWork := func() int {
		left, err := b.Backlog(t.Context(), bus.ConsumerShipper)
		if err != nil {
			t.Fatal(err)
		}
		return left.InWork
	}
	poll(t, "work in hand", func() bool { return inWork() > lanes })
	if err := sink.Inject(devosink.Fault{Kind: devosink.FaultRefuse}); err != nil {
		t.Fatal(err)
	}
	failures := func() float64 { return r.value(t, "tapline_shipper_connection_failures_total") }
	poll(t, "the outage", func() bool { return failures() >= 2*lanes })
	held := inWork()
	poll(t, "a long outage", func() bool { return failures() >= 6*lanes })
	if now := inWork(); now > held {
		t.Errorf("%d messages in hand at the beginning of an outage, %d at its end", held, now)
	}
	if err := sink.Clear(); err != nil {
		t.Fatal(err)
	}
	settled(t, b)
	// A worker returns the one that waited in the process when its connection broke.
	if n := r.value(t, "tapline_shipper_redeliveries_total"); n > lanes {
		t.Errorf("%v messages came again, of %d", n, batches)
	}
	trial{}.compare(t, sink, wanted(batches*rows, long))
}

// TestReplicasShareTheWork evenly, and each row goes out once.
func TestReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	sink, environ := endpoint(t, devosink.Index)
	b := bustest.Start(t)
	const replicas, batches = 3, 240
	var all []running
	for range replicas {
		// What may be in flight bounds the pace of each, not the luck of the scheduler.
		all = append(all, begin(t, b, nil, append(environ, "SHIPPER_CONNECTIONS=1", "SHIPPER_MAX_INFLIGHT_BYTES=1048576", "DEVO_SETTLE=100ms")))
	}
	text := strings.Repeat("x", 256<<10)
	for i := range batches {
		publish(t, b, &batch.Events{Tenant: "main", Table: table, SourceSequence: uint64(i + 1), Events: []batch.Event{{PullMS: pulled, JSON: []byte(rowWith(i, text))}}})
	}
	settled(t, b)
	var shares []float64
	for _, r := range all {
		shares = append(shares, r.value(t, "tapline_shipper_events_confirmed_total"))
	}
	if slices.Min(shares) < batches/replicas/2 {
		t.Errorf("shares of %v", shares)
	}
	if snap := sink.Snapshot(); snap.Events != batches || snap.Duplicates != 0 {
		t.Errorf("%+v", snap)
	}
	t.Logf("shares of %v", shares)
}

// TestReplicasComeAndGo: replicas are added and taken away while rows flow, and each row goes out
// once.
func TestReplicasComeAndGo(t *testing.T) {
	t.Parallel()
	sink, environ := endpoint(t, devosink.Index)
	b := bustest.Start(t)
	environ = append(environ, "DEVO_SETTLE=200ms") // there is always something in flight
	n := 0
	flow := func() {
		for range 10 {
			fill(t, b, n, 4, 25)
			n += 100
			poll(t, "rows", func() bool { return sink.Snapshot().Events > int64(n-500) })
		}
	}
	work := []running{begin(t, b, nil, environ)}
	flow()
	for range 3 {
		work = append(work, begin(t, b, nil, environ), begin(t, b, nil, environ))
		flow()
		for range 2 {
			work[0].stop()
			work = work[1:]
			flow()
		}
	}
	settled(t, b)
	if snap := sink.Snapshot(); snap.Events != int64(n) || snap.Duplicates != 0 || snap.Partial != 0 {
		t.Errorf("%d rows: %+v", n, snap)
	}
}
