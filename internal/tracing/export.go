package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"
)

// sendTimeout bounds one request to the receiver.
const sendTimeout = 10 * time.Second

// exporter sends spans as OTLP over HTTP. OpenTelemetry's own exporter is not used because it
// depends on gRPC, which makes the binary two thirds larger. The exporter does not retry: traces
// are samples.
type exporter struct {
	url    string
	host   string
	client *http.Client
	log    *slog.Logger
	seldom *rate.Limiter // for the log
}

func newExporter(endpoint *url.URL, log *slog.Logger) *exporter {
	return &exporter{
		host: endpoint.Host, log: log, seldom: rate.NewLimiter(rate.Every(time.Minute), 1),
		url: endpoint.JoinPath("v1/traces").String(),
		client: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment,
			IdleConnTimeout: time.Minute}, Timeout: sendTimeout},
	}
}

// ExportSpans implements sdktrace.SpanExporter. It logs a failure itself: the library would give it
// to one handler for the whole process.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	if err := e.send(ctx, spans); err != nil && e.seldom.Allow() {
		e.log.Warn("cannot send traces", "host", e.host, "error", err)
	}
	return nil
}

// send makes one request with spans.
func (e *exporter) send(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	scope := &common.InstrumentationScope{Name: spans[0].InstrumentationScope().Name}
	lot := &otlp.ScopeSpans{Scope: scope}
	for _, s := range spans {
		lot.Spans = append(lot.Spans, encodeSpan(s))
	}
	// A TracesData has the same bytes as an ExportTraceServiceRequest, which has the same only field.
	body, err := proto.Marshal(&otlp.TracesData{ResourceSpans: []*otlp.ResourceSpans{{
		Resource:   &resource.Resource{Attributes: encodeAttributes(spans[0].Resource().Attributes())},
		ScopeSpans: []*otlp.ScopeSpans{lot},
	}}})
	if err != nil {
		return fmt.Errorf("encode %d spans: %w", len(spans), err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := e.client.Do(req)
	if err != nil {
		var failed *url.Error // the whole text would show a password in the URL
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return fmt.Errorf("send %d spans: %w", len(spans), err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("send %d spans: the receiver answers %s", len(spans), resp.Status)
	}
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *exporter) Shutdown(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}

func encodeSpan(s sdktrace.ReadOnlySpan) *otlp.Span {
	id, trace := s.SpanContext().SpanID(), s.SpanContext().TraceID()
	span := &otlp.Span{
		TraceId:                trace[:],
		SpanId:                 id[:],
		TraceState:             s.SpanContext().TraceState().String(),
		Name:                   s.Name(),
		Kind:                   kinds[s.SpanKind()],
		StartTimeUnixNano:      uint64(s.StartTime().UnixNano()),
		EndTimeUnixNano:        uint64(s.EndTime().UnixNano()),
		Attributes:             encodeAttributes(s.Attributes()),
		DroppedAttributesCount: uint32(s.DroppedAttributes()),
		DroppedLinksCount:      uint32(s.DroppedLinks()),
		Status: &otlp.Status{Code: statuses[s.Status().Code],
			Message: s.Status().Description},
	}
	if s.Parent().IsValid() {
		parent := s.Parent().SpanID()
		span.ParentSpanId = parent[:]
	}
	for _, l := range s.Links() {
		id, trace := l.SpanContext.SpanID(), l.SpanContext.TraceID()
		span.Links = append(span.Links, &otlp.Span_Link{
			TraceId: trace[:], SpanId: id[:], TraceState: l.SpanContext.TraceState().String(),
			Attributes: encodeAttributes(l.Attributes),
		})
	}
	for _, e := range s.Events() {
		span.Events = append(span.Events, &otlp.Span_Event{
			TimeUnixNano: uint64(e.Time.UnixNano()), Name: e.Name,
			Attributes: encodeAttributes(e.Attributes),
		})
	}
	return span
}

var kinds = map[trace.SpanKind]otlp.Span_SpanKind{
	trace.SpanKindInternal: otlp.Span_SPAN_KIND_INTERNAL,
	trace.SpanKindServer:   otlp.Span_SPAN_KIND_SERVER,
	trace.SpanKindProducer: otlp.Span_SPAN_KIND_PRODUCER,
	trace.SpanKindConsumer: otlp.Span_SPAN_KIND_CONSUMER,
}

var statuses = map[codes.Code]otlp.Status_StatusCode{
	codes.Ok:    otlp.Status_STATUS_CODE_OK,
	codes.Error: otlp.Status_STATUS_CODE_ERROR,
}

// encodeAttributes encodes the kinds of values that this package uses, and any other as text.
func encodeAttributes(attributes []attribute.KeyValue) (encoded []*common.KeyValue) {
	for _, a := range attributes {
		v := &common.AnyValue{}
		switch a.Value.Type() {
		case attribute.BOOL:
			v.Value = &common.AnyValue_BoolValue{BoolValue: a.Value.AsBool()}
		case attribute.INT64:
			v.Value = &common.AnyValue_IntValue{IntValue: a.Value.AsInt64()}
		default:
			v.Value = &common.AnyValue_StringValue{StringValue: a.Value.String()}
		}
		encoded = append(encoded, &common.KeyValue{Key: string(a.Key), Value: v})
	}
	return encoded
}
