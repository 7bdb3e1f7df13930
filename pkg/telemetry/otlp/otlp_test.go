package otlp_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/telemetry"
	"github.com/tapline/tapline/pkg/telemetry/otlp"
)

// TestTracesReachACollector, under the path of the protocol, with the name of the service.
func TestTracesReachACollector(t *testing.T) {
	t.Parallel()
	got := make(chan *collector.ExportTraceServiceRequest, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		request := &collector.ExportTraceServiceRequest{}
		if err := errors.Join(err, proto.Unmarshal(body, request)); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		got <- request
	}))
	defer server.Close()
	provider, stop, err := otlp.Traces(t.Context(), telemetry.TraceConfig{Endpoint: server.URL}, "fetcher", "v1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, span := provider.Tracer("test").Start(t.Context(), "a window")
	span.End()
	stop()
	text := (<-got).String()
	for _, want := range []string{"service.name", "fetcher", "a window"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not have %q", text, want)
		}
	}
}

// TestTracesAreDroppedWithoutACollector: nothing waits for one that is not there, and it is logged
// once. It runs alone, as the library has one handler of errors.
func TestTracesAreDroppedWithoutACollector(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	gone := server.URL
	server.Close()
	var log bytes.Buffer
	provider, stop, err := otlp.Traces(t.Context(), telemetry.TraceConfig{Endpoint: gone}, "fetcher", "v1",
		slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		_, span := provider.Tracer("test").Start(t.Context(), "a window")
		span.End()
	}
	stop() // returns
	if n := strings.Count(log.String(), "level=WARN"); n != 1 {
		t.Errorf("%d warnings: %s", n, log.String())
	}
}

// TestNoEndpointNoTraces, and a wrong one is reported with its variable.
func TestNoEndpointNoTraces(t *testing.T) {
	t.Parallel()
	provider, stop, err := otlp.Traces(t.Context(), telemetry.TraceConfig{}, "fetcher", "v1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if _, span := provider.Tracer("test").Start(t.Context(), "a window"); span.IsRecording() {
		t.Error("records a span for nobody")
	}
	for _, wrong := range []string{"collector:4318", "grpc://collector:4317", "http://"} {
		if err := (telemetry.TraceConfig{Endpoint: wrong}).Validate(); !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_ENDPOINT") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
