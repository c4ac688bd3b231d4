package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/hookgate/hookgate"
)

// Store returns s with a span around each Apply of a batch that has a traced record.
func (t *Tracing) Store(s hookgate.Store) hookgate.Store { return &store{s, t.tracer} }

type store struct {
	hookgate.Store
	tracer trace.Tracer
}

// Apply implements hookgate.Store.
func (s *store) Apply(ctx context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	var links []trace.Link
	for i := range b.Records {
		links = appendLink(links, &b.Records[i])
	}
	for i := range b.Dead {
		links = appendLink(links, &b.Dead[i].Record)
	}
	if len(links) == 0 {
		return s.Store.Apply(ctx, b)
	}
	ctx, span := s.tracer.Start(ctx, "apply", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(links...))
	defer span.End()
	outcome, err := s.Store.Apply(ctx, b)
	span.SetAttributes(
		attribute.String("hookgate.worker", b.Worker),
		attribute.Int("hookgate.records", len(b.Records)),
		attribute.Int("hookgate.dead_letters", len(b.Dead)),
		attribute.Int("hookgate.stored", outcome.Stored),
		attribute.Int("hookgate.attempt", b.Attempts),
	)
	end(span, err)
	return outcome, err
}

// appendLink adds a link to the span in which the record was appended, if that span was recorded.
func appendLink(links []trace.Link, r *hookgate.Record) []trace.Link {
	for _, h := range r.Headers {
		if h.Name != header {
			continue
		}
		ctx := propagator.Extract(context.Background(),
			propagation.HeaderCarrier{header: []string{h.Value}})
		if from := trace.SpanContextFromContext(ctx); from.IsSampled() {
			links = append(links, trace.Link{
				SpanContext: from,
				Attributes:  []attribute.KeyValue{attribute.String("hookgate.message_id", r.MessageID)},
			})
		}
	}
	return links
}
