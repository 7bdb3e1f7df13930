// Package otlp sends traces to a collector over OTLP/HTTP. It is apart from package telemetry
// because of what it brings along: programs that make no traces stay small without it.
package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/tapline/tapline/pkg/config"
	"github.com/tapline/tapline/pkg/telemetry"
)

const (
	flushWithin = 3 * time.Second
	remindEvery = 10 * time.Minute
)

// Traces makes spans and sends them to the collector of the configuration; without one it
// makes none. Spans that cannot be sent are dropped, and nothing waits for them but stop,
// for three seconds at most.
func Traces(ctx context.Context, c telemetry.TraceConfig, service, version string, log *slog.Logger) (provider trace.TracerProvider, stop func(), err error) {
	if c.Endpoint == "" {
		return noop.NewTracerProvider(), func() {}, nil
	}
	to, err := url.JoinPath(c.Endpoint, "v1/traces")
	if err != nil {
		return nil, nil, config.Invalid("OTEL_EXPORTER_OTLP_ENDPOINT", c.Endpoint, err.Error())
	}
	otel.SetLogger(logr.Discard()) // the library would print headers that it cannot read, with the secret in them
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(to), otlptracehttp.WithProxy(c.Proxy.For()))
	if err != nil {
		return nil, nil, fmt.Errorf("traces to %s: %w", to, err)
	}
	otel.SetErrorHandler(&reminder{log: log}) // the library has one for the whole process
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(resource.NewSchemaless(
		attribute.String("service.name", service), attribute.String("service.namespace", "tapline"), attribute.String("service.version", version),
	)))
	return p, func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
		defer cancel()
		if err := p.Shutdown(bounded); err != nil {
			log.Debug("the last traces are dropped", slog.Any("error", err))
		}
	}, nil
}

// reminder logs that traces cannot be sent, at first and every ten minutes.
type reminder struct {
	log  *slog.Logger
	mu   sync.Mutex
	told time.Time
}

// Handle implements otel.ErrorHandler.
func (r *reminder) Handle(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.told) < remindEvery {
		return
	}
	r.told = time.Now()
	r.log.Warn("traces cannot be sent and are dropped", slog.Any("error", err))
}
