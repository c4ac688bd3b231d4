package gate

import (
	"reflect"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// TestZeroOptions: options that a program writes itself get the defaults where they are zero. In
// those of DefaultOptions a zero stays zero.
func TestZeroOptions(t *testing.T) {
	want := DefaultOptions()
	want.Listen = ""
	if got := (Options{}).withDefaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("empty options become %+v, want %+v", got, want)
	}
	o := Options{Sources: Sources{}, HTTP: HTTPOptions{MaxBody: 7}}.withDefaults()
	want.Sources, want.HTTP.MaxBody = Sources{}, 7
	if !reflect.DeepEqual(o, want) {
		t.Errorf("options become %+v, want %+v", o, want)
	}
	explicit := DefaultOptions()
	explicit.Retention.WaitForSubscriptions, explicit.Queue.MinFreeDisk, explicit.Sources = false, 0, nil
	if got := explicit.withDefaults(); !reflect.DeepEqual(got, explicit) {
		t.Errorf("options with zeros become %+v, want %+v", got, explicit)
	}
	g, err := Open(t.Context(), Options{DataDir: t.TempDir(),
		Sources: Sources{"stripe": Stripe("whsec_a-secret")}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, g)
	if g.Startup().Addr != "" || g.Options().Queue.HighWater != want.Queue.HighWater {
		t.Errorf("the gate has the address %q and the options %+v", g.Startup().Addr, g.Options())
	}
}

// TestTracerProvider: the provider of the program gets the spans of a webhook. The gate does not
// shut it down.
func TestTracerProvider(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	o := embedded(t)
	o.TracerProvider = provider
	g, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, g)
	sendIDs(t, g, "a")
	stop()
	if n := len(spans.Ended()); n < 2 {
		t.Errorf("the provider has %d spans", n)
	}
	_, span := provider.Tracer("test").Start(t.Context(), "after")
	if !span.IsRecording() {
		t.Error("the gate has shut the provider down")
	}
	o.DataDir, o.Tracing.Endpoint = t.TempDir(), "http://127.0.0.1:9"
	if g, err := Open(t.Context(), o); err == nil {
		g.Close()
		t.Error("a provider and an endpoint are accepted")
	}
}
