package tracing

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a queue and a store that remember only the last call.
type sink struct {
	hookgate.Queue
	hookgate.Store
	last  *hookgate.Request
	batch *hookgate.Batch
	err   error
}

func (s *sink) Append(_ context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	s.last = d
	return hookgate.Receipt{}, s.err
}

func (s *sink) Apply(_ context.Context, b *hookgate.Batch) (hookgate.Outcome, error) {
	s.batch = b
	return hookgate.Outcome{Stored: len(b.Records)}, s.err
}

func (s *sink) Close() error { return nil }

func newTracing(t *testing.T, c Config) *Tracing {
	t.Helper()
	tracing, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		tracing.Close(ctx)
	})
	return tracing
}

// TestReceiverFails: with any answer of the receiver, appends and batches work and return their own
// errors, and the log has one line.
func TestReceiverFails(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"refuses": func(w http.ResponseWriter,
			_ *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"hangs up": func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				handler(w, r)
			}))
			defer server.Close()
			var log strings.Builder
			tracing, err := New(Config{Endpoint: server.URL, Sample: 1,
				Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			s := &sink{err: errors.New("from below")}
			q, st := tracing.Queue(s), tracing.Store(s)
			for range 3000 {
				if _, err := q.Append(t.Context(), &hookgate.Request{}); !errors.Is(err, s.err) {
					t.Fatalf("the append fails with %v", err)
				}
			}
			if _, err := st.Apply(t.Context(),
				&hookgate.Batch{Records: []hookgate.Record{{Request: *s.last}}}); !errors.Is(err, s.err) {
				t.Fatalf("the batch fails with %v", err)
			}
			tracing.Close(t.Context())
			if asked.Load() == 0 {
				t.Error("the receiver was not asked")
			}
			if n := strings.Count(log.String(), "cannot send traces"); n != 1 ||
				strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("%d lines in the log, want one:\n%s", n, &log)
			}
		})
	}
}

// TestHeaders: the queued request has one trace context, the gate's own. The caller's request is
// not changed.
func TestHeaders(t *testing.T) {
	s := &sink{}
	q := newTracing(t, Config{Endpoint: "http://127.0.0.1:1", Sample: 1}).Queue(s)
	d := &hookgate.Request{Headers: []hookgate.Header{{Name: "Traceparent", Value: "the sender's"},
		{Name: "X-Other", Value: "kept"}}}
	if _, err := q.Append(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if len(d.Headers) != 2 || d.Headers[0].Value != "the sender's" {
		t.Errorf("the caller's headers are %v", d.Headers)
	}
	if h := s.last.Headers; len(h) != 2 || h[0].Name != "X-Other" || h[1].Name != header ||
		!strings.HasPrefix(h[1].Value, "00-") {
		t.Errorf("the queued headers are %v", h)
	}
	untraced := newTracing(t, Config{Endpoint: "http://127.0.0.1:1"}).Queue(s)
	if _, err := untraced.Append(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if s.last != d {
		t.Error("a delivery that is not traced is copied")
	}
}

// TestMalformedContext: an invalid header makes no link.
func TestMalformedContext(t *testing.T) {
	for _, value := range []string{"", "x", "00-0-0-01", "00-" + strings.Repeat("0", 32) +
		"-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", strings.Repeat("z", 10_000)} {
		r := &hookgate.Record{}
		r.Headers = []hookgate.Header{{Name: header, Value: value}}
		if links := appendLink(nil, r); len(links) != 0 {
			t.Errorf("%.80q links %v", value, links)
		}
	}
}

// TestEndpoint: the error for an invalid endpoint does not show it, because it may hold a password.
func TestEndpoint(t *testing.T) {
	for _, bad := range []string{"collector:4318", "10.0.0.1:4318", "ftp://x", "http://?",
		"http://me:pw@[", "/v1/traces"} {
		if _, err := New(Config{Endpoint: bad}); err == nil ||
			!strings.Contains(err.Error(), "endpoint") || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

// TestEncodeAttributes: each kind of value keeps its type and value.
func TestEncodeAttributes(t *testing.T) {
	got := encodeAttributes([]attribute.KeyValue{attribute.Bool("b", true), attribute.Int("i", -7),
		attribute.String("s", "x"), attribute.Float64("f", 0.5)})
	if !got[0].Value.GetBoolValue() || got[1].Value.GetIntValue() != -7 ||
		got[2].Value.GetStringValue() != "x" || got[3].Value.GetStringValue() != "0.5" {
		t.Errorf("got %v", got)
	}
}

// TestSampleCannotBeChosen: a sender cannot change the share by its choice of trace ids.
func TestSampleCannotBeChosen(t *testing.T) {
	for name, id := range map[string]trace.TraceID{"lowest": {0: 1}, "highest": {8: 0xff, 9: 0xff,
		10: 0xff, 11: 0xff, 12: 0xff, 13: 0xff, 14: 0xff, 15: 0xff}} {
		parent := trace.ContextWithRemoteSpanContext(t.Context(),
			trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: id, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled, Remote: true,
			}))
		count := func(share float64) (n int) {
			s := newSampler(share)
			for range 1000 {
				if s.ShouldSample(sdktrace.SamplingParameters{ParentContext: parent, TraceID: id}).
					Decision == sdktrace.RecordAndSample {
					n++
				}
			}
			return n
		}
		if few, half, none, all := count(0.01), count(0.5), count(0), count(1); few > 100 || half < 300 ||
			half > 700 || none != 0 || all != 1000 {
			t.Errorf("%s: of 1000 each, %d at 1 percent, %d at 50, %d at 0, %d at 100", name, few, half,
				none, all)
		}
	}
}
