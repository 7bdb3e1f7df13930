package bus_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/config"
)

func TestSetupAgainChangesWhatMayChange(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t, bus.Seed{Bucket: bus.BucketState, Key: "a", Value: []byte("first")})
	if err := b.PublishJob(t.Context(), job()); err != nil {
		t.Fatal(err)
	}
	more := bustest.Limits
	more.RawMaxBytes *= 2
	if err := b.Setup(t.Context(), more, []bus.Seed{{Bucket: bus.BucketState, Key: "b", Value: []byte("late")}}); err != nil {
		t.Fatal(err)
	}
	raw, err := b.Usage(t.Context(), bus.StreamRaw)
	if err != nil || raw.MaxBytes != more.RawMaxBytes {
		t.Errorf("RAW %+v, %v", raw, err)
	}
	if jobs, err := b.Usage(t.Context(), bus.StreamJobs); err != nil || jobs.Messages != 1 {
		t.Errorf("JOBS %+v, %v", jobs, err)
	}
	state, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := state.Get(t.Context(), "a"); err != nil || string(e.Value) != "first" {
		t.Errorf("first seed: %q, %v", e.Value, err)
	}
	if _, err := state.Get(t.Context(), "b"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a seed was planted after the first start: %v", err)
	}
}

func TestSetupRefusesWhatCannotBeChanged(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: bus.StreamJobs, Subjects: []string{"job.>"}, Retention: jetstream.LimitsPolicy, Storage: jetstream.MemoryStorage,
	}); err != nil {
		t.Fatal(err)
	}
	err = bustest.Connect(t, server).Setup(t.Context(), bustest.Limits, nil)
	if !errors.Is(err, bus.ErrImmutable) || !strings.Contains(err.Error(), "stream JOBS has") || !strings.Contains(err.Error(), "delete the stream and run tapctl setup again") {
		t.Errorf("%v", err)
	}
}

func TestNothingWorksBeforeSetup(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t, bustest.Server(t))
	if _, err := b.Subscribe(t.Context(), bus.ConsumerShipper, 1); !errors.Is(err, bus.ErrNotSetUp) {
		t.Errorf("subscribe: %v", err)
	}
	if _, err := b.Bucket(t.Context(), bus.BucketQuota); !errors.Is(err, bus.ErrNotSetUp) {
		t.Errorf("bucket: %v", err)
	}
}

// TestSetupDuringARestore: what is missing is the restore's to make.
func TestSetupDuringARestore(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	for range 2 { // a restore that is done again finds its own mark
		if err := b.Fence(t.Context(), bustest.Limits); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Remove(t.Context(), bus.StreamRaw); err != nil {
		t.Fatal(err)
	}
	if err := b.Setup(t.Context(), bustest.Limits, nil); !errors.Is(err, bus.ErrRestoring) {
		t.Errorf("setup in between: %v", err)
	}
	if _, err := b.Usage(t.Context(), bus.StreamRaw); !errors.Is(err, bus.ErrNotSetUp) {
		t.Errorf("a stream that the restore has not made: %v", err)
	}
	for range 2 {
		if err := b.Unfence(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Error(err)
	}
}

func TestTwoProcessesDoNotShareADirectory(t *testing.T) {
	t.Parallel()
	o := embedded.Options{Dir: bustest.Dir(t), NoSync: true, Log: slog.New(slog.DiscardHandler)}
	first, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = embedded.Start(o)
	if problem, ok := errors.AsType[*config.ProblemError](err); !ok || problem.Variable != "DATA_DIR" || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second server: %v", err)
	}
	first.Stop()
	again, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	again.Stop()
}

// TestStateOfAConnection: a server on a port goes away and comes back.
func TestStateOfAConnection(t *testing.T) {
	t.Parallel()
	o := embedded.Options{Dir: bustest.Dir(t), NoSync: true, Listen: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}
	server, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	o.Listen = strings.TrimPrefix(server.URL(), "nats://")
	b, err := bus.Connect(t.Context(), bus.Config{URL: server.URL()}, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	states := make(chan bool, 10)
	b.OnState(func(connected bool) { states <- connected })
	if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if <-states {
		t.Error("the connection was not lost")
	}
	if server, err = embedded.Start(o); err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	if !<-states {
		t.Error("the connection did not come back")
	}
	if err := b.PublishJob(t.Context(), job()); err != nil {
		t.Errorf("after the reconnection: %v", err)
	}
}

// TestSetupTriesTheServer: one that takes no batch with a marker is refused before anything is
// made, by its version and what it cannot do; a fit one keeps nothing of the trial.
func TestSetupTriesTheServer(t *testing.T) {
	t.Parallel()
	server, err := embedded.Start(embedded.Options{Dir: bustest.Dir(t), NoSync: true, Log: slog.New(slog.DiscardHandler), MaxBatch: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	b := bustest.Connect(t, server)
	err = b.Setup(t.Context(), bustest.Limits, nil)
	if !errors.Is(err, bus.ErrUnfit) || !strings.Contains(err.Error(), "nats-server 2.") || !strings.Contains(err.Error(), "store an atomic batch") {
		t.Errorf("a server without batches: %v", err)
	}
	fit := bustest.Server(t)
	if err := bustest.Connect(t, fit).Setup(t.Context(), bustest.Limits, nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*embedded.Server{server, fit} {
		nc, err := nats.Connect("", nats.InProcessServer(s))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		for name := range js.StreamNames(t.Context()).Name() {
			if strings.HasPrefix(name, "TRIAL") || s == server {
				t.Errorf("setup left %s", name)
			}
		}
	}
}

// TestNothingEmptiesABucket: a value that takes the place of all others is refused, also in a
// bucket that an older version made.
func TestNothingEmptiesABucket(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	nc, err := nats.Connect("", nats.InProcessServer(server))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: bus.BucketState, History: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "$KV.STATE.main.siem", []byte("planned")); err != nil {
		t.Fatal(err)
	}
	b := bustest.Connect(t, server)
	for range 2 {
		if err := b.Setup(t.Context(), bustest.Limits, nil); err != nil {
			t.Fatal(err)
		}
	}
	msg := nats.NewMsg("$KV.STATE.alarm.main.x.shipper")
	msg.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupAll)
	if _, err := js.PublishMsg(t.Context(), msg); err == nil || !strings.Contains(err.Error(), "rollup not permitted") {
		t.Errorf("rollup: %v", err)
	}
	bucket, err := b.Bucket(t.Context(), bus.BucketState)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := bucket.Get(t.Context(), "main.siem"); err != nil || string(e.Value) != "planned" {
		t.Errorf("what was there: %q, %v", e.Value, err)
	}
}
