// Package tracing records the way of a webhook with OpenTelemetry. It decorates the HTTP handler,
// the queue and the store, so that it costs nothing when it is not used.
//
//	sender's traceparent ─► span "POST /webhooks/NAME" ─► span "append" ─► header Traceparent
//	                                                                          │  queue
//	                                      span "apply", of a batch ◄── link ──┘
//
// A batch has webhooks of many traces, so its span is in none of them and links to all. The header
// Traceparent is kept with the event, like the headers that a source keeps, also in the store.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// maxLinks bounds the links of a batch's span, one for each traced record.
const maxLinks = 1024

// maxValue bounds the length of attribute values, because senders choose some.
const maxValue = 300

// Config of the tracing. Endpoint must be set.
type Config struct {
	// Endpoint is the base URL of a receiver of OTLP over HTTP, such as http://127.0.0.1:4318.
	Endpoint string
	// Sample is the share of the traces that are recorded, from 0 to 1. The sender's own decision has
	// no influence; otherwise anyone could make the gate record everything.
	Sample float64
	// Version and Process name this process in its spans.
	Version, Process string
	// Logger logs failures to send spans, at most once a minute; nil discards them.
	Logger *slog.Logger
}

// Tracing records spans and sends them in the background. It drops spans that it cannot send, and
// those that come faster than it can send them.
type Tracing struct {
	provider *sdktrace.TracerProvider // nil: the caller of Over has it
	tracer   trace.Tracer
}

// scope names this module in its spans.
const scope = "github.com/hookgate/hookgate"

// Over returns a Tracing that records with a provider of the caller, who also shuts it down.
func Over(p trace.TracerProvider) *Tracing { return &Tracing{tracer: p.Tracer(scope)} }

// header is the name of the header with the W3C trace context.
const header = "Traceparent"

var propagator propagation.TraceContext

// New returns a Tracing that sends to the endpoint. It does not connect yet. An error does not show
// the endpoint, which may hold a password.
func New(c Config) (*Tracing, error) {
	endpoint, err := url.Parse(c.Endpoint)
	if err != nil || endpoint.Scheme != "http" && endpoint.Scheme != "https" || endpoint.Host == "" {
		return nil, errors.New("endpoint must be a base URL such as http://127.0.0.1:4318")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	limits := sdktrace.NewSpanLimits()
	limits.LinkCountLimit = maxLinks
	limits.AttributeValueLengthLimit = maxValue
	t := &Tracing{provider: sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(newExporter(endpoint, c.Logger)),
		sdktrace.WithSampler(newSampler(c.Sample)),
		sdktrace.WithRawSpanLimits(limits),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "hookgate"),
			attribute.String("service.version", c.Version),
			attribute.String("service.instance.id", c.Process),
		)),
	)}
	t.tracer = t.provider.Tracer(scope)
	return t, nil
}

// Close sends the recorded spans until ctx ends, and stops. After Over it does nothing.
func (t *Tracing) Close(ctx context.Context) error {
	if t.provider == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// sampler records a share of all traces, the children of recorded spans in this process, and the
// batches that link to recorded spans.
type sampler struct{ sdktrace.Sampler }

func newSampler(share float64) sampler {
	draw := lottery(share)
	return sampler{sdktrace.ParentBased(draw, sdktrace.WithRemoteParentSampled(draw),
		sdktrace.WithRemoteParentNotSampled(draw))}
}

// lottery records a random share of the traces. The usual sampler decides by the trace id, which
// senders can choose.
type lottery float64

// ShouldSample implements sdktrace.Sampler.
func (l lottery) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	result := sdktrace.SamplingResult{Decision: sdktrace.Drop,
		Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState()}
	if rand.Float64() < float64(l) {
		result.Decision = sdktrace.RecordAndSample
	}
	return result
}

// Description implements sdktrace.Sampler.
func (l lottery) Description() string { return fmt.Sprintf("lottery{%g}", float64(l)) }

// ShouldSample implements sdktrace.Sampler.
func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if len(p.Links) > 0 {
		return sdktrace.SamplingResult{Decision: sdktrace.RecordAndSample}
	}
	return s.Sampler.ShouldSample(p)
}
