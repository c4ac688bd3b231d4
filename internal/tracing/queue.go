package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/hookgate/hookgate"
)

// Queue returns q with a span around each Append. A traced request is queued with its trace
// context.
func (t *Tracing) Queue(q hookgate.Queue) hookgate.Queue { return &queue{q, t.tracer} }

type queue struct {
	hookgate.Queue
	tracer trace.Tracer
}

// Append implements hookgate.Queue.
func (q *queue) Append(ctx context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	ctx, span := q.tracer.Start(ctx, "append", trace.WithSpanKind(trace.SpanKindProducer))
	defer span.End()
	if !span.IsRecording() {
		return q.Queue.Append(ctx, d)
	}
	carrier := propagation.HeaderCarrier{}
	propagator.Inject(ctx, carrier)
	traced := *d // Append must not change the caller's request
	traced.Headers = append(without(d.Headers), hookgate.Header{Name: header,
		Value: carrier.Get(header)})
	receipt, err := q.Queue.Append(ctx, &traced)
	span.SetAttributes(
		attribute.String("hookgate.source", d.Source),
		attribute.String("hookgate.event_type", d.EventType),
		attribute.String("hookgate.message_id", d.MessageID),
		attribute.Int("hookgate.partition", receipt.Partition),
		attribute.Bool("hookgate.duplicate", receipt.Duplicate()),
	)
	end(span, err)
	return receipt, err
}

// without returns a copy of the headers without a trace context. The source may keep that of its
// sender.
func without(headers []hookgate.Header) []hookgate.Header {
	kept := make([]hookgate.Header, 0, len(headers)+1)
	for _, h := range headers {
		if h.Name != header {
			kept = append(kept, h)
		}
	}
	return kept
}

// end records an error in the span. The caller ends the span.
func end(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
}
