package bus_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/bustest"
)

// TestOneTraceFromOrderToVerdict: what is published because of a message belongs to the
// trace of that message, over any number of streams.
func TestOneTraceFromOrderToVerdict(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	b := bustest.Start(t)
	b.Trace(provider)
	if err := b.PublishJob(t.Context(), job()); err != nil {
		t.Fatal(err)
	}
	handle(t, b, bus.ConsumerFetcherLive, func(ctx context.Context, _ *bus.Delivery) error {
		_, err := b.StoreJob(ctx, bus.JobOutput{Tenant: "main", JobID: job().GetId(), Batches: batches(1), Marker: []byte("m")})
		return err
	})
	handle(t, b, bus.ConsumerEnricher, func(ctx context.Context, _ *bus.Delivery) error {
		_, err := b.PublishEvents(ctx, []byte("rows"), bus.EventMeta{Tenant: "main", Table: "a.b", MsgID: "1"})
		return err
	})
	handle(t, b, bus.ConsumerShipper, func(context.Context, *bus.Delivery) error { return nil })
	var chain []string
	trace, parent := spans.GetSpans()[0].SpanContext.TraceID(), ""
	for _, s := range spans.GetSpans() {
		if s.SpanContext.TraceID() != trace {
			t.Errorf("%s is in a trace of its own", s.Name)
		}
	}
	for range spans.GetSpans() { // from the root on, each span has one child here
		for _, s := range spans.GetSpans() {
			if (parent == "" && !s.Parent.IsValid()) || (parent != "" && s.Parent.SpanID().String() == parent) {
				chain, parent = append(chain, s.Name), s.SpanContext.SpanID().String()
				break
			}
		}
	}
	want := []string{"order live", "fetcher-live", "store RAW", "enricher", "store EVENTS", "shipper"}
	if !slices.Equal(chain, want) {
		t.Errorf("the trace is %q, want %q", chain, want)
	}
}

// handle processes the messages of a consumer until it has had one.
func handle(t *testing.T, b *bus.Bus, c bus.Consumer, work bus.Handler) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	had := false
	err := b.Consume(ctx, bus.Consumption{Stage: "test", Tenant: "main", Consumer: c, Workers: 1, Log: slog.New(slog.DiscardHandler)},
		func(ctx context.Context, d *bus.Delivery) error {
			defer done()
			had = true
			return work(ctx, d)
		})
	if err != nil || !had {
		t.Fatalf("%s: had a message: %t, %v", c.Name, had, err)
	}
}
