package adminapi

import (
	"context"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/ingest"
)

// TestBreakerRefuses opens the breaker by a full queue. Webhooks get 503 with Retry-After before
// the gate asks for their body; everything else works; and health, readiness and metrics name the
// reason.
func TestBreakerRefuses(t *testing.T) {
	q := &fakeQueue{}
	full := func(context.Context) (hookgate.QueueStats, error) {
		return hookgate.QueueStats{Depth: 95, HighWater: 100}, nil
	}
	var open *guard.Guard
	g := newGate(t, func(s *setup) {
		open = guard.New(guard.Config{Depth: guard.Rule{Limit: 90, Clear: 50}, BodyMemory: 1 << 20})
		s.queue, s.guard = q, open
	})
	g.post(t, envelope("before", "t", "")).want(t, 202)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go open.Run(ctx, guard.Inputs{Queue: full})
	for end := time.Now().Add(within); open.Admit(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the breaker does not open")
		}
	}
	conn := g.raw(t, "POST /webhooks HTTP/1.1\r\nHost: gate\r\nAuthorization: Bearer "+bearerKey+
		"\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
	a := readAnswer(t, conn).want(t, 503) // no 100 Continue before it
	if a.header.Get("Retry-After") != "2" || !strings.Contains(a.errorText(t), "overload") {
		t.Errorf("Retry-After %q, told %q", a.header.Get("Retry-After"), a.errorText(t))
	}
	checkRefusal(t, g.post(t, envelope("open", "t", "")).want(t, 503))
	g.do(t, "GET", "/livez", nil).want(t, 200)
	g.admin(t, "GET", "/admin/maintenance", "").want(t, 200)
	if told := g.do(t, "GET", "/readyz", nil).want(t, 503).errorText(t); !strings.Contains(told,
		"queue_depth_percent") {
		t.Errorf("not ready because of %q", told)
	}
	health := string(g.do(t, "GET", "/api/health", nil).want(t, 200).body)
	for _, want := range []string{`"status":"degraded"`, `"breaker":"open"`,
		`"reason":"queue_depth_percent"`, `"value":95,"known":true,"limit":90`} {
		if !strings.Contains(health, want) {
			t.Errorf("the health does not have %s: %s", want, health)
		}
	}
	scrape := string(g.do(t, "GET", "/metrics", nil).want(t, 200).body)
	for _, want := range []string{
		`webhook_breaker_state{state="open"} 1`, `webhook_breaker_state{state="closed"} 0`,
		`webhook_breaker_admitted_ratio 0`,
		`webhook_breaker_openings_total 1`, `webhook_guard_value{signal="queue_depth_percent"} 95`,
		`webhook_refusals_total{reason="breaker"} 2`,
		`webhook_ingest_total{source="default",status="202"} 1`,
		`webhook_ingest_total{source="default",status="503"} 2`,
	} {
		if !strings.Contains(scrape, want+"\n") {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	if n := len(q.deliveries()); n != 1 {
		t.Errorf("%d deliveries were appended, want 1", n)
	}
	// Of a sender that only the body proves, the refused are counted by a sample; of strangers none.
	const event = `{"id":"1"}`
	for range 3 {
		g.do(t, "POST", "/webhooks/github", strings.NewReader(event), "X-Hub-Signature-256",
			hmacHex(githubSecret, event)).want(t, 503)
	}
	forged := hmacHex("another", event)
	for range 50 {
		if a := g.do(t, "POST", "/webhooks/github", strings.NewReader(event), "X-Hub-Signature-256",
			forged); a.status != 503 && a.status != 401 {
			t.Fatalf("a stranger is answered %d", a.status)
		}
		g.do(t, "POST", "/webhooks", strings.NewReader(event), "Authorization", "Bearer stranger").want(t,
			401)
	}
	wantErrorRate(t, open, 83.333) // 1 was accepted, and 2 and 3 refused
}

// wantErrorRate waits until the guard knows its error rate, and checks it.
func wantErrorRate(t *testing.T, watching *guard.Guard, want float64) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(time.Millisecond) {
		m := watching.Observed().Minute
		if n := m.Accepted + m.Failed; math.Abs(100*float64(m.Failed)/float64(max(n, 1))-want) < 0.001 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the error rate is not %v: %+v", want, m)
		}
	}
}

// TestInFlight fills the places in flight with webhooks that wait in Append. The next one is
// rejected at once, one that still sends its body takes no place, and when they have gone there is
// room.
func TestInFlight(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	q := &fakeQueue{appended: func(_ context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
		if strings.HasPrefix(d.MessageID, "held") {
			entered <- struct{}{}
			<-leave
		}
		if d.MessageID == "panic" {
			panic("in Append")
		}
		return hookgate.Receipt{}, nil
	}}
	g := newGate(t, func(s *setup) {
		s.queue = q
		s.guard = guard.New(guard.Config{InFlight: guard.InFlight{Min: 1, Max: 2, Latency: time.Hour},
			BodyMemory: 1 << 20})
	})
	body := envelope("slow", "t", "")
	slow := g.raw(t, rawHead("Content-Length: "+strconv.Itoa(len(body)))+body[:10])
	answers := make(chan *answer, 2)
	for _, id := range []string{"held-1", "held-2"} {
		go func() {
			a, err := g.try("POST", "/webhooks", strings.NewReader(envelope(id, "t", "")), "Authorization",
				"Bearer "+bearerKey)
			if err != nil {
				t.Error(err)
				a = &answer{}
			}
			answers <- a
		}()
		<-entered
	}
	a := g.post(t, envelope("beyond", "t", "")).want(t, 503)
	checkRefusal(t, a)
	if a.header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	if n := g.guard.Status().InFlight; n != 2 {
		t.Errorf("%d are in flight", n)
	}
	scrape := string(g.do(t, "GET", "/metrics", nil).want(t, 200).body)
	if !strings.Contains(scrape, "webhook_in_flight 2\n") ||
		!strings.Contains(scrape, `webhook_refusals_total{reason="in_flight"} 1`) {
		t.Error("the metrics do not tell of two in flight and one refused")
	}
	close(leave)
	(<-answers).want(t, 202)
	(<-answers).want(t, 202)
	if _, err := io.WriteString(slow, body[10:]); err != nil {
		t.Fatal(err)
	}
	readAnswer(t, slow).want(t, 202)
	for range 3 { // a place must not be lost in a panic
		if a, err := g.try("POST", "/webhooks", strings.NewReader(envelope("panic", "t", "")),
			"Authorization", "Bearer "+bearerKey); err == nil {
			t.Errorf("a panicking request was answered %d", a.status)
		}
	}
	g.post(t, envelope("after", "t", "")).want(t, 202)
	if s := g.guard.Status(); s.InFlight != 0 || s.BodyMemory != 0 {
		t.Errorf("in the end %+v", s)
	}
}

// TestSmallBodiesCount: a body of any size is within the budget or refused; four of the first size
// fit into 16 KiB and a fifth does not.
func TestSmallBodiesCount(t *testing.T) {
	g := newGate(t, func(s *setup) {
		s.queue = &fakeQueue{}
		s.guard = guard.New(guard.Config{BodyMemory: 4 * firstRead})
	})
	body := envelope("m", "t", "")
	head := rawHead("Content-Length: "+strconv.Itoa(len(body))) + body[:10]
	var held []io.ReadWriteCloser
	for range 4 {
		held = append(held, g.raw(t, head))
	}
	for end := time.Now().Add(within); g.guard.Status().
		BodyMemory < 4*firstRead; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("four bodies that are arriving take %d bytes", g.guard.Status().BodyMemory)
		}
	}
	checkRefusal(t, g.post(t, body).want(t, 503))
	held[0].Close()
	for end := time.Now().Add(within); g.guard.Status().
		BodyMemory == 4*firstRead; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the memory of a sender that hung up is not given back")
		}
	}
	g.post(t, body).want(t, 202)
}

// TestErrorsAreCounted: the error rate counts 5xx of authentic webhooks, and panics. It does not
// count errors of the sender, maintenance, or a 5xx for a stranger, such as missing memory for its
// body.
func TestErrorsAreCounted(t *testing.T) {
	q := &fakeQueue{appended: func(_ context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
		switch d.EventType {
		case "full":
			return hookgate.Receipt{}, hookgate.ErrFull
		case "broken":
			return hookgate.Receipt{}, errors.New("no disk")
		case "panic":
			panic("a mistake")
		}
		return hookgate.Receipt{}, nil
	}}
	watching := guard.New(guard.Config{BodyMemory: 1 << 20})
	mode := &fakeMode{}
	g := newGate(t, func(s *setup) {
		s.queue, s.guard, s.mode = q, watching, mode
		s.sources = append(s.sources,
			ingest.Source{Name: "unavailable",
				Scheme: stranger{authenticate: func() error { return admit.ErrUnavailable }}},
			ingest.Source{Name: "panics",
				Scheme: stranger{authenticate: func() error { panic("in a proof") }}})
	})
	huge := strings.Repeat("x", 900<<10)
	for range 17 {
		g.do(t, "POST", "/webhooks/unavailable", strings.NewReader("{}")).want(t, 503)
		g.do(t, "POST", "/webhooks/github", strings.NewReader(huge), "X-Hub-Signature-256",
			hmacHex("another", "")).want(t, 503)
		if _, err := g.try("POST", "/webhooks/panics", strings.NewReader("{}")); err == nil {
			t.Error("a panic is answered")
		}
		g.post(t, envelope("a", "well", "")).want(t, 202)
		g.post(t, "{").want(t, 400)
		g.do(t, "POST", "/webhooks", strings.NewReader("{}")).want(t, 401)
	}
	g.post(t, envelope("a", "full", "")).want(t, 503)
	g.post(t, envelope("a", "broken", "")).want(t, 503)
	if _, err := g.try("POST", "/webhooks", strings.NewReader(envelope("a", "panic", "")),
		"Authorization", "Bearer "+bearerKey); err == nil {
		t.Error("a panic is answered")
	}
	mode.readOnly.Store(true)
	for range 50 {
		g.post(t, envelope("a", "well", "")).want(t, 503)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go watching.Run(ctx, guard.Inputs{})
	wantErrorRate(t, watching, 15) // 3 of 20
}

// stranger is a scheme whose senders never prove who they are.
type stranger struct {
	admit.Scheme
	authenticate func() error
}

func (stranger) CheckHeader(*admit.Request) error    { return nil }
func (s stranger) Authenticate(*admit.Request) error { return s.authenticate() }
