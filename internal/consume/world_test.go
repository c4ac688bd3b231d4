package consume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// world is a gate with one pull subscription, which a RoundTripper reaches without a network, and
// an application. Its time is that of the test. All of it can fail.
type world struct {
	t *testing.T

	mu     sync.Mutex // guards all below
	random *rand.Rand
	// Of the gate.
	log       []*stored
	name      string // of the subscription; empty: there is none
	created   int
	leases    int
	until     map[string]time.Time // of the leases
	down      bool
	lost      float64 // the chance that an answer is lost, from 0 to 1
	calls     []string
	forgotten []string
	// asleep is by how much the wall clock of the machine has gone ahead.
	asleep time.Duration
	// Of the application.
	answer func(id string, attempt int) hookgate.Answer
	takes  time.Duration // for an answer
	busy   map[string]bool
	taken  []string
	most   int // requests at a time
	now    int
	notes  []string
}

// stored is an event and its state in the subscription.
type stored struct {
	api.PulledEvent
	lease   string // that has it
	settled bool
	due     time.Time
}

func newWorld(t *testing.T, events, keys int) *world {
	w := &world{t: t, random: rand.New(rand.NewPCG(1, 1)), until: map[string]time.Time{},
		busy: map[string]bool{}, takes: 10 * time.Millisecond,
		answer: func(string, int) hookgate.Answer { return hookgate.Answer{Status: 200} }}
	for i := range events {
		w.add(fmt.Sprint("k:", i%keys))
	}
	return w
}

func (w *world) add(key string) {
	e := &stored{}
	e.ID, e.Key, e.OrderingKey = fmt.Sprint(len(w.log)+1), key, strings.TrimPrefix(key, "k:")
	w.log = append(w.log, e)
}

// gate returns a Gate for the machine.
func (w *world) gate() *Gate {
	g := NewGate(&api.Client{URL: "http://gate", HTTP: &http.Client{Transport: w}}, func(s string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.notes = append(w.notes, s)
	})
	g.now = func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.Now().Add(w.asleep).Round(0)
	}
	return g
}

var errUnreachable = errors.New("connection refused")

// RoundTrip implements http.RoundTripper.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	for waited := time.Duration(0); ; waited += 100 * time.Millisecond {
		w.mu.Lock()
		if w.down {
			w.mu.Unlock()
			return nil, errUnreachable
		}
		status, answer, wait := w.call(r.Method, r.URL.Path, body)
		lost := w.random.Float64() < w.lost
		w.mu.Unlock()
		switch {
		case wait > waited:
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		case lost:
			return nil, errUnreachable
		}
		text, _ := json.Marshal(answer)
		return &http.Response{StatusCode: status, Header: http.Header{},
			Body: io.NopCloser(strings.NewReader(string(text)))}, nil
	}
}

// call makes a call. A pull without events returns how long it wants to wait.
func (w *world) call(method, path string, body []byte) (status int, answer any,
	wait time.Duration) {
	for id, until := range w.until {
		if time.Now().After(until) {
			w.end(id)
		}
	}
	rest, ok := strings.CutPrefix(path, "/api/subscriptions")
	name, verb, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	switch {
	case !ok:
		w.t.Errorf("unknown call of %s", path)
	case method == http.MethodPost && rest == "":
		var r api.TemporaryRequest
		json.Unmarshal(body, &r)
		w.created++
		w.name = fmt.Sprint("forward-", w.created)
		w.calls = append(w.calls, "create after "+r.After)
		for _, e := range w.log {
			e.lease, e.due, e.Attempt = "", time.Time{}, 0
			e.settled = r.After != "" && number(e.ID) <= number(r.After)
		}
		return http.StatusCreated, api.TemporarySubscription{Name: w.name}, 0
	case name != w.name:
		return http.StatusNotFound, api.ErrorAnswer{Error: "no such subscription"}, 0
	case method == http.MethodDelete:
		w.forgotten = append(w.forgotten, name)
		w.forget()
		return http.StatusOK, api.ForgottenSubscription{Name: name}, 0
	case verb == "":
		return http.StatusOK, api.Subscription{Name: name, Cursor: "0"}, 0
	case verb == "pull":
		var r api.PullRequest
		json.Unmarshal(body, &r)
		pulled := w.pull(&r)
		if len(pulled.Events) == 0 {
			wait = time.Duration(r.Wait)
		}
		return http.StatusOK, pulled, wait
	case verb == "extend":
		var r api.ExtendRequest
		json.Unmarshal(body, &r)
		if _, ok := w.until[r.Lease]; ok {
			w.until[r.Lease] = time.Now().Add(time.Duration(r.For))
			return http.StatusOK, api.Extended{}, 0
		}
		return http.StatusConflict, api.ErrorAnswer{Error: "the lease has ended"}, 0
	}
	var r api.NackRequest
	json.Unmarshal(body, &r)
	return w.settle(verb, body, &r), api.ErrorAnswer{Error: "the lease has ended"}, 0
}

// forget forgets the subscription and its leases.
func (w *world) forget() {
	w.name, w.until = "", map[string]time.Time{}
}

func (w *world) end(lease string) {
	delete(w.until, lease)
	for _, e := range w.log {
		if e.lease == lease {
			e.lease = ""
		}
	}
}

func (w *world) pull(r *api.PullRequest) (pulled api.Pulled) {
	w.leases++
	id, blocked := fmt.Sprint("lease-", w.leases), map[string]bool{}
	for _, e := range w.log {
		if e.settled {
			continue
		}
		if e.lease != "" || blocked[e.Key] || e.due.After(time.Now()) || len(pulled.Events) == r.Max {
			blocked[e.Key] = true
			continue
		}
		e.lease = id
		e.PulledEvent.Attempt = max(1, e.Attempt)
		pulled.Events = append(pulled.Events, e.PulledEvent)
	}
	if len(pulled.Events) > 0 {
		pulled.Lease = id
		w.until[id] = time.Now().Add(time.Duration(r.Lease))
	}
	return pulled
}

// settle is ack or nack. It returns the status.
func (w *world) settle(verb string, body []byte, r *api.NackRequest) int {
	var upTo struct{ UpTo string }
	json.Unmarshal(body, &upTo)
	if _, ok := w.until[r.Lease]; !ok {
		return http.StatusConflict
	}
	w.calls = append(w.calls, strings.TrimSpace(fmt.Sprint(verb, " ", strings.Join(r.IDs, ","),
		upTo.UpTo, " ", r.Reason)))
	for _, e := range w.log {
		if e.lease != r.Lease || !slices.Contains(r.IDs, e.ID) && number(e.ID) > number(upTo.UpTo) {
			continue
		}
		if verb == "ack" {
			e.settled, e.lease = true, ""
			continue
		}
		e.due, e.Attempt = time.Now().Add(time.Second), e.Attempt+1
		if r.Delay != nil {
			e.due = time.Now().Add(time.Duration(*r.Delay))
		}
		for _, later := range w.log {
			if later.lease == r.Lease && later.Key == e.Key {
				later.lease = ""
			}
		}
	}
	return http.StatusNoContent
}

// Deliver implements hookgate.Consumer: it is the application.
func (w *world) Deliver(_ context.Context, d *hookgate.Delivery) hookgate.Answer {
	id, key := fmt.Sprint(d.Event.ID), d.Event.OrderingKey
	w.mu.Lock()
	answer, takes := w.answer(id, d.Attempt), w.takes
	if w.busy[key] {
		w.t.Errorf("event %s came while another one of key %s is in work", id, key)
	}
	w.busy[key] = true
	w.now++
	w.most = max(w.most, w.now)
	w.mu.Unlock()
	time.Sleep(takes)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy[key] = false
	w.now--
	if answer.Status == 200 {
		w.taken = append(w.taken, id)
	}
	return answer
}

// await waits until the condition holds.
func (w *world) await(what string, condition func() bool) {
	w.t.Helper()
	for range 100_000 {
		w.mu.Lock()
		ok := condition()
		w.mu.Unlock()
		if ok {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.t.Fatalf("never: %s; notes %q", what, w.notes)
}

// settled reports whether no event is left.
func (w *world) settled() bool {
	return !slices.ContainsFunc(w.log, func(e *stored) bool { return !e.settled })
}

// set changes the world.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func number(id string) (n int) {
	fmt.Sscan(id, &n)
	return n
}
