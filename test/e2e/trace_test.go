package e2e_test

import (
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// TestOneTraceForAJob: from the order of the scheduler to the sink's confirmation, through
// all stages.
func TestOneTraceForAJob(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	w := newWorld(t, nil)
	w.traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	w.run(t)
	w.complete(t, w.sim.Now())
	poll(t, "a trace with a span of every stage", func() bool {
		stages := map[string]map[string]bool{}
		for _, s := range spans.GetSpans() {
			id := s.SpanContext.TraceID().String()
			if stages[id] == nil {
				stages[id] = map[string]bool{}
			}
			for _, a := range s.Attributes {
				if a == attribute.String("tapline.verdict", "ack") {
					stages[id][s.Name] = true
				}
			}
		}
		for _, s := range stages {
			if (s["fetcher-live"] || s["fetcher-backfill"]) && s["enricher"] && s["shipper"] {
				return true
			}
		}
		return false
	})
}
