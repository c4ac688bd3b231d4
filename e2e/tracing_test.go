package e2e

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver receives OTLP over HTTP and keeps the spans.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex // guards spans
	spans []*otlp.Span
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var data otlp.TracesData
		if err != nil || req.Method != http.MethodPost || req.URL.Path != "/v1/traces" ||
			req.Header.Get("Content-Type") != "application/x-protobuf" ||
			proto.Unmarshal(body, &data) != nil {
			t.Errorf("%s %s of %d bytes of %s is no OTLP: %v", req.Method, req.URL.Path, len(body),
				req.Header.Get("Content-Type"), err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, of := range data.ResourceSpans {
			for _, lot := range of.ScopeSpans {
				r.spans = append(r.spans, lot.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// named returns the spans with a name.
func (r *receiver) named(name string) (found []*otlp.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

const (
	senderTrace  = "0af7651916cd43dd8448eb211c80319c"
	senderSpan   = "b7ad6b7169203331"
	senderHeader = "00-" + senderTrace + "-" + senderSpan + "-01"
)

// TestTracing follows a webhook through the gate by its spans. The request continues the sender's
// trace, the append is a child of it, the event keeps the context, and the batch that stored it has
// a link to it.
func TestTracing(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	g := startGate(t, startOptions{env: []string{"HOOKGATE_TRACING_ENDPOINT=" + r.URL,
		"HOOKGATE_TRACING_SAMPLE=1"}})
	bearer := "Bearer " + g.key(bearerKeyName)
	for _, id := range []string{"a", "a", "b"} { // the second is a duplicate, and traced too
		status, body := g.request(http.MethodPost, "/webhooks", `{"messageId":"`+id+`","eventType":"t"}`,
			"Authorization", bearer, "Traceparent", senderHeader)
		if status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
	}
	g.request(http.MethodPost, "/webhooks/none", `{}`)
	g.request(http.MethodGet, "/livez", "")
	g.awaitDrained()
	_, events := g.request(http.MethodGet, "/api/events?messageId=a", "")
	g.stop() // sends the rest

	requests, appends, applies := r.named("POST /webhooks"), r.named("append"), r.named("apply")
	if len(requests) != 3 || len(appends) != 3 || len(applies) == 0 || len(r.named("webhook")) != 1 {
		t.Fatalf("%d requests, %d appends, %d batches, %d requests to nowhere: %v", len(requests),
			len(appends), len(applies), len(r.named("webhook")), r.spans)
	}
	under := map[string]*otlp.Span{}
	for _, s := range requests {
		if hex.EncodeToString(s.TraceId) != senderTrace ||
			hex.EncodeToString(s.ParentSpanId) != senderSpan || s.Kind != otlp.Span_SPAN_KIND_SERVER {
			t.Errorf("the request's span does not continue the sender's: %v", s)
		}
		under[string(s.SpanId)] = s
	}
	linked := map[string]bool{}
	for _, s := range applies {
		if hex.EncodeToString(s.TraceId) == senderTrace || s.EndTimeUnixNano <= s.StartTimeUnixNano {
			t.Errorf("the batch's span %v", s)
		}
		for _, l := range s.Links {
			linked[string(l.SpanId)] = true
		}
	}
	kept := 0
	for _, s := range appends {
		request := under[string(s.ParentSpanId)]
		if request == nil || !bytes.Equal(s.TraceId, request.TraceId) ||
			s.StartTimeUnixNano < request.StartTimeUnixNano || s.EndTimeUnixNano > request.EndTimeUnixNano {
			t.Errorf("the append's span is not within a request's: %v", s)
		}
		if !linked[string(s.SpanId)] {
			t.Errorf("no batch links the append %v", s)
		}
		if strings.Contains(events, `{"name":"Traceparent","value":"00-`+senderTrace+"-"+
			hex.EncodeToString(s.SpanId)+`-01"}`) {
			kept++
		}
	}
	if kept != 1 {
		t.Errorf("the event is kept with the context of %d appends, want one: %s", kept, events)
	}
	if len(linked) != 3 {
		t.Errorf("%d appends are linked", len(linked))
	}
}

// TestTracingSampleIsOurs checks that a sender cannot force a trace on a gate that records none,
// and that the event then keeps no context.
func TestTracingSampleIsOurs(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	g := startGate(t, startOptions{env: []string{"HOOKGATE_TRACING_ENDPOINT=" + r.URL,
		"HOOKGATE_TRACING_SAMPLE=0"}})
	status, body := g.request(http.MethodPost, "/webhooks", `{"messageId":"a","eventType":"t"}`,
		"Authorization", "Bearer "+g.key(bearerKeyName), "Traceparent", senderHeader)
	if status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	g.awaitDrained()
	if _, events := g.request(http.MethodGet, "/api/events?messageId=a", ""); strings.Contains(events,
		"Traceparent") {
		t.Errorf("the event is kept with a trace context: %s", events)
	}
	g.stop()
	if len(r.spans) > 0 {
		t.Errorf("spans were sent: %v", r.spans)
	}
}
