package enricher_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/config"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/enricher"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run starts an enricher that ends with the test, and gives its metrics.
func run(t *testing.T, b *bus.Bus, environ ...string) *prometheus.Registry {
	t.Helper()
	var c enricher.Config
	if err := config.Load(&c, environ); err != nil {
		t.Fatal(err)
	}
	r := prometheus.NewRegistry()
	e := enricher.New(c, enricher.Deps{Bus: b, Log: slog.New(slog.DiscardHandler), Metrics: r})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// publish stores a window of batches.
func publish(t *testing.T, b *bus.Bus, job string, batches ...[]byte) {
	t.Helper()
	var all iter.Seq2[bus.RawMessage, error] = func(yield func(bus.RawMessage, error) bool) {
		for _, data := range batches {
			if !yield(bus.RawMessage{Feed: "clicksBlocked", Data: data}, nil) {
				return
			}
		}
	}
	if _, err := b.StoreJob(t.Context(), bus.JobOutput{Tenant: "main", JobID: job, Batches: all, Marker: []byte("m")}); err != nil {
		t.Fatal(err)
	}
}

func raw(tenant, feed string, records ...string) []byte {
	data := batch.AppendRawHeader(nil, &batch.Raw{
		Tenant: tenant, Feed: feed, JobID: "job", PullID: "1773216000123", FetchedAt: time.UnixMilli(1773216000123),
	})
	for i, r := range records {
		data = batch.AppendRecord(data, &batch.Record{ID: uint64(i), Hash: 7, TimeMS: 1, JSON: []byte(r)})
	}
	return data
}

// events waits for so many messages in EVENTS and decodes them.
func events(t *testing.T, b *bus.Bus, n int) []batch.Events {
	t.Helper()
	sub, err := b.Subscribe(t.Context(), bus.ConsumerShipper, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Stop()
	var out []batch.Events
	for range n {
		d, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var e batch.Events
		if err := batch.DecodeEvents(d.Data(), &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
		if err := d.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestRowsAreTheRecordsPlusTwoKeys(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	publish(t, b, "job", raw("main", "clicksBlocked", `{"id":"x","n":1.0}`, ` { } `, "{\"a\":\n[1]}"))
	run(t, b)
	got := events(t, b, 1)[0]
	if got.Table != "mail.proofpoint.tapsiem_v2.clicksblocked" || got.SourceSequence != 1 || len(got.Events) != 3 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []string{
		`{"id":"x","n":1.0,"@devo_pulling_id":"1773216000123","@tapline_id":"00000000000000000000000000000007"}`,
		`{ "@devo_pulling_id":"1773216000123","@tapline_id":"00000000000000010000000000000007"}`,
		`{"a":[1],"@devo_pulling_id":"1773216000123","@tapline_id":"00000000000000020000000000000007"}`,
	} {
		if string(got.Events[i].JSON) != want {
			t.Errorf("row %d is %s, want %s", i, got.Events[i].JSON, want)
		}
		if got.Events[i].PullMS != 1773216000123 {
			t.Errorf("row %d: pull %d", i, got.Events[i].PullMS)
		}
	}
}

func TestAddedKeysCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	publish(t, b, "job", raw("main", "clicksBlocked", `{"id":"x"}`))
	run(t, b, "EVENT_PULL_ID=false", "EVENT_TAPLINE_ID=false")
	if got := string(events(t, b, 1)[0].Events[0].JSON); got != `{"id":"x"}` {
		t.Errorf("row %s", got)
	}
}

// TestBadInputGoesToDead: useless input is kept, and the others are processed.
func TestBadInputGoesToDead(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	publish(t, b, "job",
		[]byte("\xff garbage"), raw("stranger", "clicksBlocked", `{}`), raw("main", "nonsense", `{}`),
		raw("main", "clicksBlocked", `{"id":"1"}`, `[not an object]`, `{"id":"2"}`))
	run(t, b)
	if got := events(t, b, 1)[0]; len(got.Events) != 2 {
		t.Errorf("%d rows", len(got.Events))
	}
	dead := deadLetters(t, b, 4)
	for i, want := range []string{"malformed", `unknown tenant "stranger"`, `unknown feed "nonsense"`, "not a JSON object"} {
		if !strings.Contains(fmt.Sprint(dead), want) {
			t.Errorf("letter %d: no reason %q in %v", i, want, dead)
		}
	}
}

// deadLetters waits for so many dead letters and gives their reasons.
func deadLetters(t *testing.T, b *bus.Bus, n uint64) (reasons []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		usage, err := b.Usage(ctx, bus.StreamDead)
		if err != nil {
			t.Fatal(err)
		}
		if usage.Messages >= n {
			break
		}
		<-tick.C
	}
	for i := range n {
		m, err := b.Message(ctx, bus.StreamDead, i+1)
		if err != nil {
			t.Fatal(err)
		}
		var l taplinev1.DeadLetter
		if err := proto.Unmarshal(m.Data, &l); err != nil {
			t.Fatal(err)
		}
		if l.GetStage() != "enricher" || len(l.GetPayload()) == 0 {
			t.Errorf("letter %v", &l)
		}
		reasons = append(reasons, l.GetReason())
	}
	return reasons
}

// TestRepetitionMakesNoSecondBatch: a message that is delivered again after its
// events were stored.
func TestRepetitionMakesNoSecondBatch(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	data := raw("main", "clicksBlocked", `{"id":"1"}`)
	publish(t, b, "job", data)
	meta := bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.tapsiem_v2.clicksblocked", MsgID: "1/mail.proofpoint.tapsiem_v2.clicksblocked/1/job/1773216000123"}
	if _, err := b.PublishEvents(t.Context(), batch.AppendEvents(nil, &batch.Events{Tenant: "main", Table: meta.Table}), meta); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "job2", raw("main", "clicksBlocked", `{"id":"2"}`)) // comes after the first
	run(t, b, "ENRICHER_WORKERS=1")
	got := events(t, b, 2)
	if got[0].SourceSequence != 0 || got[1].SourceSequence != 3 {
		t.Errorf("batches from %d and %d", got[0].SourceSequence, got[1].SourceSequence)
	}
}

// TestSequencesThatComeAgain: a damaged stream was cut off, and a sequence stands for another batch
// now.
func TestSequencesThatComeAgain(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	for _, id := range []string{"other/1773216000123", "job/1773216000122"} {
		meta := bus.EventMeta{Tenant: "main", Table: "mail.proofpoint.tapsiem_v2.clicksblocked", MsgID: "1/mail.proofpoint.tapsiem_v2.clicksblocked/1/" + id}
		if _, err := b.PublishEvents(t.Context(), batch.AppendEvents(nil, &batch.Events{Tenant: "main", Table: meta.Table}), meta); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, b, "job", raw("main", "clicksBlocked", `{"id":"1"}`))
	run(t, b)
	if got := events(t, b, 3); got[2].SourceSequence != 1 || len(got[2].Events) != 1 {
		t.Errorf("the batch at sequence 1 became %+v", got[2])
	}
}

func BenchmarkRow(b *testing.B) {
	record := []byte(`{"id":"x","text":"` + strings.Repeat("words and more ", 120) + `"}`)
	data := raw("main", "clicksBlocked", string(record), string(record), string(record), string(record))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	convert := enricher.Converter(data)
	for b.Loop() {
		convert()
	}
}
