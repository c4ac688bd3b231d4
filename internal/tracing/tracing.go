// Package tracing shows the way of a webhook to OpenTelemetry: as decorators of the HTTP handler,
// the queue and the store, so that without it nothing is different and nothing costs.
//
//	sender's traceparent ─► span "POST /webhooks/NAME" ─► span "append" ─► header Traceparent, kept with the event
//	                                                                          │  queue
//	                                      span "apply", of a batch ◄── link ──┘
//
// A batch holds webhooks of many traces, so its span belongs to none and links them all. The header
// travels with the event as those that a source keeps do, to the store too.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
)

// maxLinks bounds the links of a batch's span. There is one for each traced record.
const maxLinks = 1024

// maxValue bounds the values of attributes, which senders choose.
const maxValue = 300

// Config of the tracing. Endpoint must be set.
type Config struct {
	// Endpoint is the base URL of a receiver of OTLP over HTTP, such as http://127.0.0.1:4318.
	Endpoint string
	// Sample is the share of the traces that are recorded, from 0 to 1. It holds whatever the sender
	// has decided: else anyone could make the gate record everything.
	Sample float64
	// Version and Process name this process in its spans.
	Version, Process string
	// Logger is told of spans that could not be sent, at most once a minute; nil for none.
	Logger *slog.Logger
}

// Tracing records spans and sends them in the background. What cannot be sent, or comes faster than
// it can be, is dropped.
type Tracing struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// header is the W3C trace context as it is sent and kept.
const header = "Traceparent"

var propagator propagation.TraceContext

// New returns a tracing that sends to the endpoint. It does not wait for that to answer.
func New(c Config) (*Tracing, error) {
	endpoint, err := url.Parse(c.Endpoint)
	if err != nil || endpoint.Scheme != "http" && endpoint.Scheme != "https" || endpoint.Host == "" {
		// it may hold a password
		return nil, errors.New("endpoint is not a base URL such as http://127.0.0.1:4318")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	// The library has one error handler for the whole process.
	seldom := rate.NewLimiter(rate.Every(time.Minute), 1)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if seldom.Allow() {
			c.Logger.Warn("traces could not be sent", "host", endpoint.Host, "error", err)
		}
	}))
	limits := sdktrace.NewSpanLimits()
	limits.LinkCountLimit = maxLinks
	limits.AttributeValueLengthLimit = maxValue
	t := &Tracing{provider: sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(newExporter(endpoint)),
		sdktrace.WithSampler(newSampler(c.Sample)),
		sdktrace.WithRawSpanLimits(limits),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "hookgate"),
			attribute.String("service.version", c.Version),
			attribute.String("service.instance.id", c.Process),
		)),
	)}
	t.tracer = t.provider.Tracer("github.com/hookgate/hookgate")
	return t, nil
}

// Close sends what is recorded, as long as ctx lasts, and ends.
func (t *Tracing) Close(ctx context.Context) error { return t.provider.Shutdown(ctx) }

// sampler records the share asked for of all traces, and what belongs to a span that is recorded:
// what that has begun in this process, and the batch that links it.
type sampler struct{ sdktrace.Sampler }

func newSampler(share float64) sampler {
	draw := lottery(share)
	return sampler{sdktrace.ParentBased(draw, sdktrace.WithRemoteParentSampled(draw),
		sdktrace.WithRemoteParentNotSampled(draw))}
}

// lottery records a share of the traces, drawn at random. The usual way, by the trace id, would let
// senders choose: theirs is what they write.
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
