package bus

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// silent makes no spans.
var silent = noop.NewTracerProvider().Tracer("")

// Trace has spans made of what is published and of what is done with each message, from
// its delivery to its verdict. A message carries its span along, so that a job, its call,
// its rows and their delivery are one trace. Call it before anything is published.
func (b *Bus) Trace(provider trace.TracerProvider) {
	if provider != nil {
		b.tracer = provider.Tracer("github.com/tapline/tapline/pkg/bus")
	}
}

// carrier is the header of a message as the propagator sees it.
type carrier nats.Header

// Get implements propagation.TextMapCarrier.
func (c carrier) Get(key string) string { return nats.Header(c).Get(key) }

// Set implements propagation.TextMapCarrier.
func (c carrier) Set(key, value string) { nats.Header(c).Set(key, value) }

// Keys implements propagation.TextMapCarrier.
func (c carrier) Keys() []string { return slices.Collect(maps.Keys(c)) }

// message makes one that carries the span of ctx, if there is one.
func message(ctx context.Context, subject string, data []byte) *nats.Msg {
	msg := nats.NewMsg(subject)
	msg.Data = data
	propagation.TraceContext{}.Inject(ctx, carrier(msg.Header))
	if len(msg.Header) == 0 {
		msg.Header = nil
	}
	return msg
}

// publishing begins the span of something that is published; end closes it.
func (b *Bus) publishing(ctx context.Context, what, id string) (spanned context.Context, end func(error)) {
	ctx, span := b.tracer.Start(ctx, what, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attribute.String("tapline.id", id)))
	return ctx, func(err error) {
		if err != nil && !errors.Is(err, ErrOutstanding) && !errors.Is(err, ErrAlreadyStored) {
			fail(span, err)
		}
		span.End()
	}
}

// delivery begins the span of a message that was pulled.
func (b *Bus) delivery(ctx context.Context, msg jetstream.Msg, consumer jetstream.Consumer) (*Delivery, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	ctx = propagation.TraceContext{}.Extract(context.WithoutCancel(ctx), carrier(msg.Headers()))
	_, span := b.tracer.Start(ctx, meta.Consumer, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("tapline.stream", meta.Stream), attribute.Int64("tapline.sequence", int64(meta.Sequence.Stream)),
		attribute.Int64("tapline.attempt", int64(meta.NumDelivered)),
	))
	return &Delivery{msg: msg, meta: meta, ackWait: consumer.CachedInfo().Config.AckWait, span: span}, nil
}

func fail(span trace.Span, err error) {
	span.RecordError(err)
	span.SetStatus(codes.Error, err.Error())
}
