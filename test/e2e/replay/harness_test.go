package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/pkg/identity"
	"github.com/tapline/tapline/pkg/job"
	"github.com/tapline/tapline/pkg/ledger"
	"github.com/tapline/tapline/pkg/replay"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/tier"
	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/enricher"
	"github.com/tapline/tapline/services/shipper"
	"github.com/tapline/tapline/services/tapctl"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" { //nolint:forbidigo // the test binary is a program here, too
		os.Exit(child()) //nolint:forbidigo // the same
	}
	tier.Parallel(4) // they wait for leases most of the time
	goleak.VerifyTestMain(m)
}

// patience bounds every wait; only a failing test takes so long.
const patience = 5 * time.Minute

// slow is the rate of a replay that must not end before a test ends it or hastens it: 1 200 rows
// take ten minutes.
const slow = "2"

var hour = time.Now().UTC().Truncate(time.Hour).Add(-48 * time.Hour)

// place is a bus, and a directory for files.
type place struct {
	*bus.Bus
	tb     testing.TB
	server *embedded.Server
	url    string // the same over restarts
	dir    string
	store  string
	log    *slog.Logger
	book   *ledger.Ledger // for what a fetcher would record; of the server before a restart
}

func newPlace(tb testing.TB) *place {
	tb.Helper()
	p := &place{tb: tb, dir: tb.TempDir(), store: bustest.Dir(tb), log: slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}
	p.up("127.0.0.1:0")
	p.url = p.server.URL()
	if code, _, stderr := p.tapctl("setup"); code != 0 {
		tb.Fatalf("setup: %s", stderr)
	}
	tb.Cleanup(func() { p.down() })
	buckets := map[string]*bus.Bucket{}
	for _, name := range []string{bus.BucketLedger, bus.BucketState} {
		b, err := p.Bucket(tb.Context(), name)
		if err != nil {
			tb.Fatal(err)
		}
		buckets[name] = b
	}
	p.plan(buckets[bus.BucketState])
	p.book = ledger.New(buckets[bus.BucketLedger])
	return p
}

// up starts the server on what is in its store.
func (p *place) up(listen string) {
	p.tb.Helper()
	server, err := embedded.Start(embedded.Options{Dir: p.store, NoSync: true, Listen: listen, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.tb.Fatal(err)
	}
	p.server = server
	if p.Bus, err = server.Connect("test"); err != nil {
		p.tb.Fatal(err)
	}
}

func (p *place) down() {
	p.Close()
	p.server.Stop()
}

// restart ends the server and starts it again on the same port.
func (p *place) restart() {
	p.tb.Helper()
	p.down()
	p.up(strings.TrimPrefix(p.url, "nats://"))
}

// tapctl runs a command.
func (p *place) tapctl(args ...string) (code int, stdout, stderr string) {
	p.tb.Helper()
	var out, err bytes.Buffer
	ctx := context.WithoutCancel(p.tb.Context())
	code = tapctl.Execute(ctx, tapctl.Process{Args: args, Environ: []string{"NATS_URL=" + p.url}, Stdout: &out, Stderr: &err})
	return code, out.String(), err.String()
}

// view is what tapctl says about a replay.
type view struct {
	ID        string
	State     string
	Owner     string
	Reason    string
	Progress  float64
	Messages  int
	Settled   int
	Rows      int
	Delivered int
	Dead      int
	Missed    int
}

// ask runs a command whose output is one replay.
func (p *place) ask(args ...string) view {
	p.tb.Helper()
	code, stdout, stderr := p.tapctl(append(args, "--output", "json")...)
	if code != 0 {
		p.tb.Fatalf("%v: status %d: %s%s", args, code, stdout, stderr)
	}
	var v view
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		p.tb.Fatalf("%v: %v: %s", args, err, stdout)
	}
	return v
}

// await waits until a replay is as it should be.
func (p *place) await(id, what string, check func(view) bool) (v view) {
	p.tb.Helper()
	poll(p.tb, "replay "+id+" "+what, func() bool {
		v = p.ask("replay", "show", id)
		return check(v)
	})
	return v
}

func (p *place) done(id string) view {
	p.tb.Helper()
	return p.await(id, "to be done", func(v view) bool { return v.State == "done" })
}

// running is a stage that runs; it ends with the test, or by stop.
type running struct {
	stop    func()
	metrics *prometheus.Registry
}

// hasten lifts the rate of a slow replay for the next shipper that works on it.
func (p *place) hasten(id string) {
	p.tb.Helper()
	b, err := p.Bucket(p.tb.Context(), bus.BucketReplay)
	if err != nil {
		p.tb.Fatal(err)
	}
	_, err = replay.NewStore(b, "main").Change(p.tb.Context(), id, func(r *taplinev1.Replay) error {
		r.Order.Rate = 0
		return nil
	})
	if err != nil {
		p.tb.Fatal(err)
	}
}

// start runs a stage with a connection of its own.
func (p *place) start(name string, run func(ctx context.Context, b *bus.Bus, r *running) error) *running {
	p.tb.Helper()
	b, err := bus.Connect(p.tb.Context(), bus.Config{URL: p.url}, name, p.log)
	if err != nil {
		p.tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.tb.Context()))
	r := &running{metrics: prometheus.NewRegistry()}
	done := make(chan error, 1)
	go func() { done <- run(ctx, b, r) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.tb.Errorf("%s: %v", name, err)
		}
		b.Close()
	})
	p.tb.Cleanup(r.stop)
	return r
}

// shipper runs a shipper whose sink is a file, unless the variables say otherwise.
func (p *place) shipper(environ ...string) *running {
	p.tb.Helper()
	var c shipper.Config
	if err := config.Load(&c, append([]string{"SINK=file", "SINK_FILE_PATH=" + p.live()}, environ...)); err != nil {
		p.tb.Fatal(err)
	}
	return p.start("shipper", func(ctx context.Context, b *bus.Bus, r *running) error {
		s, err := shipper.New(c, shipper.Deps{Bus: b, Log: p.log, Metrics: r.metrics, Health: telemetry.NewHealth(), Stdout: io.Discard})
		if err != nil {
			return err
		}
		return s.Run(ctx)
	})
}

// enricher runs an enricher.
func (p *place) enricher() *running {
	p.tb.Helper()
	var c enricher.Config
	if err := config.Load(&c, []string{"TAP_FEEDS=clicksBlocked,messagesBlocked"}); err != nil {
		p.tb.Fatal(err)
	}
	return p.start("enricher", func(ctx context.Context, b *bus.Bus, r *running) error {
		return enricher.New(c, enricher.Deps{Bus: b, Log: p.log, Metrics: r.metrics, Health: telemetry.NewHealth()}).Run(ctx)
	})
}

func (p *place) live() string { return filepath.Join(p.dir, "events.jsonl") }

func (p *place) fileOf(id string) string {
	return filepath.Join(p.dir, "events.replay-"+id+".jsonl")
}

// minute is the job of one minute.
func minute(f feed.Feed, i int) string {
	start := hour.Add(time.Duration(i) * time.Minute)
	return job.ID{Tenant: "main", Set: feed.Set{f}, Window: window.New(start, start.Add(time.Minute)), Lane: taplinev1.Lane_LANE_LIVE}.String()
}

// publish stores the records of the first minutes of a feed in RAW, so many each.
func (p *place) publish(f feed.Feed, minutes, records int) {
	p.tb.Helper()
	for i := range minutes {
		p.window(f, i, records)
	}
}

func (p *place) window(f feed.Feed, i, records int) {
	p.tb.Helper()
	id := minute(f, i)
	at := hour.Add(time.Duration(i) * time.Minute)
	data := batch.AppendRawHeader(nil, &batch.Raw{
		Tenant: "main", Feed: string(f), JobID: id, Window: window.New(at, at.Add(time.Minute)), PullID: fmt.Sprint(at.UnixMilli()), FetchedAt: at,
	})
	for j := range records {
		text := fmt.Sprintf(`{"id":"%s-%d-%d","text":"Grüße"}`, f, i, j)
		data = batch.AppendRecord(data, &batch.Record{ID: identity.Named(text), Hash: identity.Named(text + "hash"), TimeMS: at.UnixMilli(), JSON: []byte(text)})
	}
	result := &taplinev1.JobResult{
		JobId: id, Tenant: "main", Window: window.New(at, at.Add(time.Minute)).Proto(), Lane: taplinev1.Lane_LANE_LIVE, FetchedAt: timestamppb.New(at), Status: 200,
		Batches: 1, Feeds: []*taplinev1.FeedResult{{Feed: string(f), Received: int64(records), Published: int64(records)}},
	}
	marker, err := proto.Marshal(result)
	if err != nil {
		p.tb.Fatal(err)
	}
	w := bus.JobOutput{Tenant: "main", JobID: id, Marker: marker, Batches: func(yield func(bus.RawMessage, error) bool) {
		yield(bus.RawMessage{Feed: string(f), Data: data}, nil)
	}}
	sequence, err := p.StoreJob(p.tb.Context(), w)
	if err != nil {
		p.tb.Fatal(err)
	}
	if err := p.book.RecordJob(p.tb.Context(), ledger.Fetched(result, sequence)); err != nil {
		p.tb.Fatal(err)
	}
}

// plan is what a scheduler would have planned: two feeds from the hour on.
func (p *place) plan(state *bus.Bucket) {
	p.tb.Helper()
	data, err := proto.Marshal(&taplinev1.PlanState{Start: timestamppb.New(hour), LiveHead: timestamppb.New(hour)})
	if err != nil {
		p.tb.Fatal(err)
	}
	if err := state.Put(p.tb.Context(), "main."+feed.Set{feed.ClicksBlocked, feed.MessagesBlocked}.String(), data); err != nil {
		p.tb.Fatal(err)
	}
}

// line is a row in a file.
type line struct {
	Table string          `json:"table"`
	Event json.RawMessage `json:"event"`
}

// row is what the tests look at.
type row struct {
	ID         string `json:"id"`
	TaplineID  string `json:"@tapline_id"`
	Replay     string `json:"@tapline_replay_id"`
	Reprocess  string `json:"@tapline_reprocess_id"`
	Generation int    `json:"@tapline_generation"`
}

// rows reads a file; a line that is being written is left out.
func rows(tb testing.TB, path string) (out []row) {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		tb.Fatal(err)
	}
	for text := range strings.Lines(string(data)) {
		if !strings.HasSuffix(text, "\n") {
			break
		}
		var l line
		var r row
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			tb.Fatalf("%v: %q", err, text)
		}
		if err := json.Unmarshal(l.Event, &r); err != nil {
			tb.Fatalf("%v: %q", err, text)
		}
		out = append(out, r)
	}
	return out
}

// count is how often each @tapline_id is among rows.
func count(rows []row) map[string]int {
	n := make(map[string]int)
	for _, r := range rows {
		n[r.TaplineID]++
	}
	return n
}

// poll checks again and again until it is content or patience ends.
func poll(tb testing.TB, what string, check func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-ctx.Done():
			tb.Fatalf("after %s still waiting for: %s", patience, what)
		case <-tick.C:
		}
	}
}

// settled waits until nothing waits for enricher and shipper.
func (p *place) settled() {
	p.tb.Helper()
	poll(p.tb, "an empty backlog", func() bool {
		for _, c := range []bus.Consumer{bus.ConsumerEnricher, bus.ConsumerShipper} {
			left, err := p.Backlog(p.tb.Context(), c)
			if err != nil {
				p.tb.Fatal(err)
			}
			if left.Waiting > 0 || left.InWork > 0 {
				return false
			}
		}
		return true
	})
}
