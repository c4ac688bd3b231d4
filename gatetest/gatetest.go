// Package gatetest runs a gate in a test, without a network:
//
//	g := gatetest.New(t, gate.Options{Sources: gate.Sources{"stripe": gate.Stripe("a-secret")}})
//	g.Handle("billing", gate.Filter{}, book)
//	gatetest.Send(t, g, "stripe", `{"id":"evt_1","type":"invoice.paid"}`)
//	gatetest.Wait(t, g)
package gatetest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate/gate"
	"github.com/hookgate/hookgate/ingest"
)

// run is a gate that New has opened.
type run struct {
	ctx   context.Context
	start func()
	ended chan error // receives the result of Run
}

// running has the gates that New has opened, until their tests end.
var running sync.Map // *gate.Gate to *run

// New opens a gate for one test. Its store is in a temporary folder unless Options.DataDir is set,
// and it does not listen. It ends with the test.
//
// The first Send or Wait starts Run. Call Gate.Handle before, and do not call Run or Close.
func New(t testing.TB, o gate.Options) *gate.Gate {
	t.Helper()
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	o.Listen, o.Admin.Listen = "", ""
	g, err := gate.Open(context.Background(), o)
	if err != nil {
		t.Fatalf("gatetest: open a gate: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &run{ctx: ctx, ended: make(chan error, 1)}
	var started bool
	r.start = sync.OnceFunc(func() {
		started = true
		go func() { r.ended <- g.Run(ctx) }()
	})
	running.Store(g, r)
	t.Cleanup(func() {
		running.Delete(g)
		stop()
		if started {
			if err := <-r.ended; err != nil {
				t.Errorf("gatetest: run the gate: %v", err)
			}
		}
		if err := g.Close(); err != nil {
			t.Errorf("gatetest: close the gate: %v", err)
		}
	})
	return g
}

// runOf starts a gate of New.
func runOf(t testing.TB, g *gate.Gate) *run {
	t.Helper()
	r, ok := running.Load(g)
	if !ok {
		t.Fatalf("gatetest: New has not opened this gate, or its test has ended")
	}
	r.(*run).start()
	return r.(*run)
}

// Send sends a webhook to a source of the gate, signed as its sender signs with the first of the
// source's secrets. An empty body stands for a sample with an id of its own. A header is a text
// such as "X-GitHub-Event: push"; the headers that identify an event have random values unless they
// are set. The test fails if the gate does not store the webhook.
//
// Senders that sign with a private key cannot be imitated: call the gate's ServeHTTP with a request
// of your own.
func Send(t testing.TB, g *gate.Gate, source, body string, headers ...string) {
	t.Helper()
	runOf(t, g)
	w := gate.TestWebhook{Header: http.Header{}}
	if body != "" {
		w.Body = []byte(body)
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			t.Fatalf("gatetest: the header %q has no colon", h)
		}
		w.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	signed, err := g.Options().SignTestWebhook(source, w)
	if err != nil {
		t.Fatalf("gatetest: %v", err)
	}
	path := "/webhooks"
	if source != ingest.DefaultSource {
		path += "/" + source
	}
	if signed.Query != "" {
		path += "?" + signed.Query
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(signed.Body)))
	r.Header = signed.Header
	answer := httptest.NewRecorder()
	g.ServeHTTP(answer, r)
	if answer.Code/100 != 2 {
		t.Fatalf("gatetest: source %s answers %d: %s", source, answer.Code, answer.Body)
	}
}

const (
	// waitAtMost bounds Wait, unless the deadline of the test is earlier.
	waitAtMost = 30 * time.Second
	// reserve is the time between the end of Wait and the deadline of the test.
	reserve = time.Second
	// The pauses between two reads of the store grow from firstPause to lastPause.
	firstPause, lastPause = time.Millisecond, 50 * time.Millisecond
)

// Wait waits until every stored event is settled for every subscription: delivered, dead-lettered
// or skipped. It fails the test after 30 s, and at once when an event can only be settled by a
// person, because it is parked or its subscription is paused. The failure names the events and what
// they wait for. Waits between retries count: give a handler that fails a short Retry.First.
//
// Handlers run in other goroutines. Guard what they write by a mutex, also when the test reads it
// after Wait.
func Wait(t testing.TB, g *gate.Gate) {
	t.Helper()
	r := runOf(t, g)
	end := time.Now().Add(waitAtMost)
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if deadline, set := d.Deadline(); set && deadline.Add(-reserve).Before(end) {
			end = deadline.Add(-reserve)
		}
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		left, err := unsettled(r.ctx, g)
		switch {
		case err != nil:
			t.Fatalf("gatetest: read the state of the subscriptions: %v", err)
		case len(left.lines) == 0:
			return
		case left.stuck:
			t.Fatalf("gatetest: these events stay unsettled:\n%s", left)
		case !time.Now().Before(end):
			t.Fatalf("gatetest: these events are not settled in time:\n%s", left)
		}
		select {
		case err := <-r.ended:
			r.ended <- err // for the cleanup
			t.Fatalf("gatetest: the gate has stopped: %v", err)
		case <-time.After(pause):
		}
	}
}

// maxLines bounds the events that a failure names.
const maxLines = 20

// report is what is unsettled.
type report struct {
	lines []string
	// stuck reports that nothing but a person can settle the events.
	stuck bool
}

// String returns the lines.
func (r report) String() string {
	if more := len(r.lines) - maxLines; more > 0 {
		return strings.Join(r.lines[:maxLines], "\n") + fmt.Sprintf("\n… and %d more", more)
	}
	return strings.Join(r.lines, "\n")
}
