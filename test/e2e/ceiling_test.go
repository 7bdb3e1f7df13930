package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tapline/tapline/pkg/batch"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/feed"
	"github.com/tapline/tapline/services/devosink"
	"github.com/tapline/tapline/services/tapsim"
)

const (
	barePerBatch = 250 // records, about as many as BATCH_BYTES allows
	barePerJob   = 36_000
	bareJobs     = 6
)

// BenchmarkBareJetStream is the ceiling of BenchmarkPipeline: as many records go through the two
// streams with the same guarantees, and nothing looks into them. What comes in is a message made
// beforehand, and what goes out is only counted.
func BenchmarkBareJetStream(b *testing.B) {
	message := bareBatch(b)
	for b.Loop() {
		b.StopTimer()
		server, err := embedded.Start(embedded.Options{Dir: bustest.Dir(b), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		conn := bustest.Connect(b, server)
		if err := conn.Setup(b.Context(), bustest.Limits, nil); err != nil {
			b.Fatal(err)
		}
		ctx, stop := context.WithCancel(b.Context())
		left := atomic.Int64{}
		left.Store(bareJobs * barePerJob / barePerBatch)
		done := make(chan error, 2)
		b.StartTimer()
		go func() { done <- bareEnricher(ctx, conn) }()
		go func() {
			done <- conn.Consume(ctx, bareConsumption(bus.ConsumerShipper, 2), func(context.Context, *bus.Delivery) error {
				if left.Add(-1) == 0 {
					stop()
				}
				return nil
			})
		}()
		bareFetcher(b, conn, message)
		for range 2 {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		stop()
		conn.Close()
		server.Stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N*bareJobs*barePerJob)/b.Elapsed().Seconds(), "events/s")
}

// bareFetcher stores one job after the other.
func bareFetcher(b *testing.B, conn *bus.Bus, message []byte) {
	b.Helper()
	for i := range bareJobs {
		batches := func(yield func(bus.RawMessage, error) bool) {
			for range barePerJob / barePerBatch {
				if !yield(bus.RawMessage{Feed: string(feed.MessagesBlocked), Data: message}, nil) {
					return
				}
			}
		}
		w := bus.JobOutput{Tenant: "main", JobID: fmt.Sprint(i), Batches: batches, Marker: []byte("account")}
		if _, err := conn.StoreJob(b.Context(), w); err != nil {
			b.Fatal(err)
		}
	}
}

// bareEnricher passes every message on.
func bareEnricher(ctx context.Context, conn *bus.Bus) error {
	return conn.Consume(ctx, bareConsumption(bus.ConsumerEnricher, 4), func(ctx context.Context, d *bus.Delivery) error {
		_, err := conn.PublishEvents(ctx, d.Data(), bus.EventMeta{
			Tenant: "main", Table: feed.MessagesBlocked.Table(), MsgID: fmt.Sprint(d.Sequence()),
		})
		return err
	})
}

func bareConsumption(c bus.Consumer, workers int) bus.Consumption {
	return bus.Consumption{Stage: "bare", Tenant: "main", Consumer: c, Workers: workers, Grace: time.Second, Log: slog.New(slog.DiscardHandler)}
}

// bareBatch packs records of the simulator into one message.
func bareBatch(b *testing.B) []byte {
	b.Helper()
	w := newWorldThat(b, devosink.Count, direct, func(c *tapsim.Config) { c.Rate, c.Factor, c.Age = 10, 1, 20*time.Minute })
	request := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/v2/siem/all?format=json&sinceSeconds=900", http.NoBody)
	request.SetBasicAuth("demo", "demo")
	answer := httptest.NewRecorder()
	w.sim.ServeHTTP(answer, request)
	var body map[string]json.RawMessage
	var records []json.RawMessage
	if err := errors.Join(json.Unmarshal(answer.Body.Bytes(), &body), json.Unmarshal(body[string(feed.MessagesBlocked)], &records)); err != nil {
		b.Fatal(err)
	}
	if len(records) < barePerBatch {
		b.Fatalf("the simulator made %d records", len(records))
	}
	data := batch.AppendRawHeader(nil, &batch.Raw{Tenant: "main", Feed: string(feed.MessagesBlocked), JobID: "1"})
	for i, r := range records[:barePerBatch] {
		data = batch.AppendRecord(data, &batch.Record{ID: uint64(i), JSON: r})
	}
	return batch.Pack(nil, data)
}
