package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
)

// result is how a request ended.
type result struct {
	*answer
	err error
}

// postLater sends an event and hands its result over when there is one.
func (g *gate) postLater(id string) <-chan result {
	done := make(chan result, 1)
	go func() {
		a, err := g.try("POST", "/webhooks", strings.NewReader(envelope(id, "t", "")), "Authorization",
			"Bearer "+bearerKey)
		done <- result{a, err}
	}()
	return done
}

// receive waits for something that must come.
func receive[T any](t *testing.T, from <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(within):
		t.Fatalf("%s did not happen within %v", what, within)
	}
	return v
}

// TestShutdownWaits shuts down while Append holds a request: the listener closes, Shutdown goes on
// waiting, and when the request is let go it is answered 202.
func TestShutdownWaits(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	q := &fakeQueue{appended: func(context.Context, *hookgate.Request) (hookgate.Receipt, error) {
		close(entered)
		<-leave
		return hookgate.Receipt{}, nil
	}}
	g := newGate(t, func(s *setup) { s.queue = q })
	sent := g.postLater("m")
	receive(t, entered, "Append")
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var released atomic.Bool
	down := make(chan error, 1)
	go func() {
		err := g.Shutdown(ctx)
		if !released.Load() {
			t.Errorf("Shutdown returned %v with a request in flight", err)
		}
		down <- err
	}()
	closed := make(chan struct{})
	go func() { // until the listener is closed
		defer close(closed)
		for ctx.Err() == nil {
			conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	receive(t, closed, "the end of listening")
	released.Store(true)
	close(leave)
	r := receive(t, sent, "the answer")
	must(t, r.err)
	r.want(t, 202)
	must(t, receive(t, down, "Shutdown"))
}

// TestShutdownCutsOff shuts down with a deadline that passes while Append holds a request: Shutdown
// returns the error of its context and the sender gets no answer.
func TestShutdownCutsOff(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	q := &fakeQueue{appended: func(context.Context, *hookgate.Request) (hookgate.Receipt, error) {
		close(entered)
		<-leave
		return hookgate.Receipt{}, nil
	}}
	g := newGate(t, func(s *setup) { s.queue = q })
	sent := g.postLater("m")
	receive(t, entered, "Append")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown returned %v", err)
	}
	if r := receive(t, sent, "the end of the request"); r.err == nil {
		t.Errorf("the request was answered %d after it had been cut off", r.status)
	}
	close(leave)
}

// TestPanic lets Append panic: the connection ends without an answer, the panic is logged with the
// request, and the next request is served.
func TestPanic(t *testing.T) {
	q := &fakeQueue{appended: func(_ context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
		if d.MessageID == "bad" {
			panic("broken for " + d.MessageID)
		}
		return hookgate.Receipt{}, nil
	}}
	g := newGate(t, func(s *setup) { s.queue = q })
	for range 3 {
		a, err := g.try("POST", "/webhooks", strings.NewReader(envelope("bad", "t", "")), "Authorization",
			"Bearer "+bearerKey)
		if err == nil {
			t.Errorf("a panicking request was answered %d", a.status)
		}
		g.post(t, envelope("good", "t", "")).want(t, 202)
	}
	log := g.log.String()
	if n := strings.Count(log, `"panic":"broken for bad"`); n != 3 {
		t.Errorf("%d of 3 panics are logged: %s", n, log)
	}
	if !strings.Contains(log, "TestPanic") {
		t.Error("the log does not show where the panic arose")
	}
	scrape := string(g.do(t, "GET", "/metrics", nil).want(t, 200).body)
	for _, want := range []string{
		`webhook_http_latency_ms_count{method="POST",status="500"} 3`,
		`webhook_http_latency_ms_count{method="POST",status="202"} 3`,
		`webhook_events_total{eventType="t",status="accepted"} 3`,
	} {
		if !strings.Contains(scrape, want+"\n") {
			t.Errorf("the metrics do not have %s", want)
		}
	}
}

// TestMaxConnections opens one connection more than are served at a time: it is answered once
// another has closed.
func TestMaxConnections(t *testing.T) {
	g := newGate(t, func(s *setup) { s.config.MaxConnections = 2 })
	const ask = "GET /livez HTTP/1.1\r\nHost: gate\r\n\r\n"
	first, second := g.raw(t, ask), g.raw(t, ask)
	readAnswer(t, first).want(t, 200)
	readAnswer(t, second).want(t, 200)
	third := g.raw(t, ask)
	must(t, third.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	if n, err := third.Read(make([]byte, 1)); err == nil {
		t.Errorf("a connection beyond the limit got %d bytes", n)
	}
	must(t, first.Close())
	must(t, third.SetReadDeadline(time.Now().Add(within)))
	readAnswer(t, third).want(t, 200)
}

// TestRealQueueUnderLoad sends events from several senders, each twice, to the real queue and
// store: every request is answered, and each event is stored exactly once with its own body.
func TestRealQueueUnderLoad(t *testing.T) {
	g := newGate(t, nil)
	const senders, each = 4, 20
	ids := make([][]string, senders)
	var all sync.WaitGroup
	for sender := range senders {
		for i := range each {
			ids[sender] = append(ids[sender], fmt.Sprintf("m-%d-%d", sender, i))
		}
		all.Go(func() {
			for range 2 {
				for _, id := range ids[sender] {
					a, err := g.try("POST", "/webhooks", strings.NewReader(envelope(id, "t", `,"of":"`+id+`"`)),
						"Authorization", "Bearer "+bearerKey)
					if err != nil || a.status != 202 {
						t.Errorf("%s: %+v, %v", id, a, err)
					}
				}
			}
		})
	}
	all.Wait()
	g.settle(t)
	events := g.list(t, "limit=1000").Events
	if len(events) != senders*each {
		t.Errorf("%d events, want %d", len(events), senders*each)
	}
	next := make([]int, senders)
	for _, e := range events {
		body := g.admin(t, "GET", "/api/events/"+e.ID+"/body", "").want(t, 200).body
		if want := envelope(e.MessageID, "t", `,"of":"`+e.MessageID+`"`); string(body) != want {
			t.Errorf("body %q, want %q", body, want)
		}
		for sender := range senders { // one ordering key: each sender's events keep their order
			if next[sender] < each && ids[sender][next[sender]] == e.MessageID {
				next[sender]++
			}
		}
	}
	for sender, n := range next {
		if n != each {
			t.Errorf("sender %d: only %d events are in order", sender, n)
		}
	}
}
