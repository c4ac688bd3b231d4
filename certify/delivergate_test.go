package certify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/api"
)

// pushSecret is the text behind raw: of the subscription's secret.
const pushSecret = "the secret of the subscription"

// deliverer is a small, correct deliverer in front of a gate. A saboteur gives it one fault: each
// field of faults, if set, is called at its place.
type deliverer struct {
	*httptest.Server
	g      *gate
	faults deliverFaults
	push   string // the URL of the subscription "certify"
	final  []int
	ctx    context.Context
	busy   sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	subs   map[string]*line
	leases int
	log    int
	slow   time.Time // when the consumer came back; zero: no slow start
	sent   int       // since then
	failed time.Time // the first failure of the judged subscription
}

type deliverFaults struct {
	drop      func(n int) bool                           // never delivered
	skips     bool                                       // the key goes on after a failure
	twice     bool                                       // a second attempt while the first is open
	repeats   func(n int) bool                           // delivered again after it was taken
	body      func(n int, body []byte) []byte            // instead of the body
	header    func(n, attempt int, h http.Header)        // before it is sent
	time      func(now time.Time, attempt int) time.Time // of the signature
	forgets   func(attempt int, cut bool) bool           // instead of a retry; cut while it was slow
	hammers   bool                                       // no slow start
	hides     bool                                       // exceptions
	blocks    time.Duration                              // the other subscription, after a failure
	backlog   int64                                      // in the state, for ever
	insists   bool                                       // retries what was refused
	sharesKey bool                                       // leases a key twice
}

// line is a subscription. Each key has at most one attempt under way.
type line struct {
	name   string
	keys   map[string][]*delivered // events that are not settled, in order
	busy   map[string]bool
	leased map[string][]*delivered // by lease
	until  map[string]time.Time
	wake   chan struct{}
}

type delivered struct {
	*gateEvent
	id       int
	attempts int
	due      time.Time
	begun    time.Time // the last attempt
	state    hookgate.ExceptionState
	shared   bool // leased twice
	held     bool // final: until a person retries
}

func newDeliverer(t *testing.T, f deliverFaults, push string, final ...int) *deliverer {
	ctx, stop := context.WithCancel(t.Context())
	d := &deliverer{faults: f, push: push, final: final, ctx: ctx, subs: map[string]*line{}}
	d.g = newGate(t, faults{store: d.store})
	if push != "" {
		d.busy.Go(d.run(d.open("certify")))
	}
	d.Server = httptest.NewServer(d)
	t.Cleanup(func() {
		stop()
		d.busy.Wait()
		d.Close()
	})
	return d
}

func (d *deliverer) open(name string) *line {
	l := &line{name: name, keys: map[string][]*delivered{}, busy: map[string]bool{},
		leased: map[string][]*delivered{}, until: map[string]time.Time{},
		wake: make(chan struct{}, 1)}
	d.subs[name] = l
	return l
}

// store stores an event and hands it to all subscriptions.
func (d *deliverer) store(g *gate, n int, e *gateEvent) {
	g.put(e)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log++
	for _, l := range d.subs {
		if f := d.faults.drop; f != nil && !d.isOther(l) && f(n) {
			continue
		}
		l.keys[e.key] = append(l.keys[e.key], &delivered{gateEvent: e, id: d.log})
		l.nudge()
	}
}

// isOther reports whether a subscription is not the one that is judged.
func (d *deliverer) isOther(l *line) bool {
	return l.name != "certify" && (d.push != "" || l.name == "temporary-1")
}

func (l *line) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// next returns the next event that can be delivered and marks its key as busy; nil: wait.
func (d *deliverer) next(l *line) *delivered {
	now := time.Now()
	if n := now.Sub(d.slow).Seconds(); !d.slow.IsZero() && !d.faults.hammers && !d.isOther(l) &&
		float64(d.sent) > n*n*2 { // slower than doubling
		return nil
	}
	for key, queue := range l.keys {
		i := 0
		if d.faults.skips {
			for i < len(queue)-1 && queue[i].due.After(now) {
				i++
			}
		}
		if len(queue) == 0 || queue[i].due.After(now) || queue[i].held ||
			l.busy[key] && !(d.faults.sharesKey && !d.isOther(l) && !queue[i].shared &&
				queue[i].state == "" && now.Sub(queue[i].begun) > halfSlow) {
			continue
		}
		queue[i].shared = l.busy[key]
		l.busy[key] = true
		queue[i].begun = now
		d.sent++
		return queue[i]
	}
	return nil
}

// run pushes the events of a subscription.
func (d *deliverer) run(l *line) func() {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100},
		Timeout: pushTimeout}
	return func() {
		defer client.CloseIdleConnections()
		var attempts sync.WaitGroup
		defer attempts.Wait()
		for d.ctx.Err() == nil {
			d.mu.Lock()
			e := d.next(l)
			d.mu.Unlock()
			if e == nil {
				select {
				case <-d.ctx.Done():
				case <-l.wake:
				case <-time.After(5 * time.Millisecond): // for what becomes due
				}
				continue
			}
			attempts.Go(func() {
				status, refused := d.attempt(client, l, e)
				d.settle(l, e, status, refused)
			})
		}
	}
}

// pushTimeout is that of an attempt.
const pushTimeout = 30 * time.Second

// halfSlow is after half of the pause of slowConsumer.
const halfSlow = 5 * time.Second

// attempt makes one attempt. refused means that there was no connection.
func (d *deliverer) attempt(client *http.Client, l *line, e *delivered) (status int, refused bool) {
	if !d.faults.twice {
		return d.post(client, l, e)
	}
	answers := make(chan int, 2)
	one := func() {
		status, _ := d.post(client, l, e)
		answers <- status
	}
	d.busy.Go(one)
	select {
	case status := <-answers:
		return status, status == 0
	case <-time.After(halfSlow):
		d.busy.Go(one)
	}
	if status = <-answers; status != 200 {
		status = <-answers
	}
	return status, status == 0
}

func (d *deliverer) post(client *http.Client, l *line, e *delivered) (status int, refused bool) {
	n, attempt, body := e.n, e.attempts+1, e.body
	if f := d.faults.body; f != nil {
		body = f(n, body)
	}
	request, _ := http.NewRequestWithContext(d.ctx, http.MethodPost, d.push, bytes.NewReader(body))
	at := time.Now()
	if f := d.faults.time; f != nil {
		at = f(at, attempt)
	}
	timestamp := strconv.FormatInt(at.Unix(), 10)
	for name, value := range map[string]string{
		"Content-Type": contentType, senderHeaderName: signedBySender(e.body),
		"Webhook-Id": e.requestID, "Webhook-Timestamp": timestamp,
		"Hookgate-Subscription": l.name, "Hookgate-Event-Id": strconv.Itoa(e.id),
		"Hookgate-Source": hookgate.TestSource, "Hookgate-Type": e.eventType,
		"Hookgate-Message-Id": e.messageID, "Hookgate-Key": "k:" + e.key,
		"Hookgate-Received-At": e.received.UTC().Format(time.RFC3339Nano),
		"Hookgate-Attempt":     strconv.Itoa(attempt), "Hookgate-Redelivery": "0",
	} {
		request.Header.Set(name, value)
	}
	if f := d.faults.header; f != nil {
		f(n, attempt, request.Header)
	}
	mac := hmac.New(sha256.New, []byte(pushSecret))
	fmt.Fprintf(mac, "%s.%s.%s", request.Header.Get("Webhook-Id"), timestamp, body)
	request.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	response, err := client.Do(request)
	if err != nil {
		return 0, strings.Contains(err.Error(), "refused")
	}
	response.Body.Close()
	return response.StatusCode, false
}

const senderHeaderName = "X-Webhook-Signature"

func signedBySender(body []byte) string {
	mac := hmac.New(sha256.New, []byte(gateSecret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// settle ends an attempt. Status 0 means that there was no answer.
func (d *deliverer) settle(l *line, e *delivered, status int, refused bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(l.busy, e.key)
	if status == 200 {
		if f := d.faults.repeats; f != nil && e.attempts < 100 && f(e.n) {
			e.attempts += 100
			return
		}
		l.remove(e)
		return
	}
	if refused { // an outage: nothing counts
		d.slow, d.sent = time.Now(), 0
		e.due = time.Now().Add(50 * time.Millisecond)
		return
	}
	if d.failed.IsZero() && !d.isOther(l) {
		d.failed = time.Now()
	}
	e.attempts++
	if f := d.faults.forgets; f != nil &&
		f(e.attempts, status == 0 && time.Since(e.begun) > halfSlow) {
		l.remove(e)
		return
	}
	e.state, e.due = hookgate.ExceptionWaiting, time.Now().Add(20*time.Millisecond)
	if slices.Contains(d.final, status) && !d.faults.insists {
		e.state, e.held = hookgate.ExceptionParked, true
	}
}

// remove removes a settled event.
func (l *line) remove(e *delivered) {
	if i := slices.Index(l.keys[e.key], e); i >= 0 {
		l.keys[e.key] = slices.Delete(l.keys[e.key], i, i+1)
	}
	l.nudge()
}

// ServeHTTP answers the calls about subscriptions, and leaves the others to the gate.
func (d *deliverer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ours := strings.CutPrefix(r.URL.Path, "/api/subscriptions")
	if !ours || r.Header.Get("Authorization") != "Bearer "+gateToken {
		d.g.ServeHTTP(w, r)
		return
	}
	name, verb, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.subs[name]
	switch {
	case name == "" && r.Method == http.MethodPost:
		l := d.open(fmt.Sprintf("temporary-%d", len(d.subs)+1))
		w.WriteHeader(http.StatusCreated)
		respond(w, api.TemporarySubscription{Name: l.name})
	case name == "":
		respond(w, api.Subscriptions{})
	case l == nil:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(d.subs, name)
		respond(w, api.ForgottenSubscription{Name: name})
	case verb == "":
		respond(w, d.state(l))
	case verb == "exceptions":
		d.list(w, l)
	case verb == "retry":
		d.retry(w, r, l)
	case verb == "pull":
		d.lease(w, r, l)
	default:
		d.release(w, r, l, verb)
	}
}

func respond(w http.ResponseWriter, v any) { json.NewEncoder(w).Encode(v) }

// state shows a subscription.
func (d *deliverer) state(l *line) api.Subscription {
	s := api.Subscription{Name: l.name, State: api.SubscriptionDelivering,
		Filter: hookgate.Filter{Sources: []string{hookgate.TestSource}},
		Definition: json.RawMessage(fmt.Sprintf(`{"order":"key","push":{"url":%q,"signed":true,`+
			`"timeout":%q},"retry":{"final":[%s]},"then":"park"}`, d.push, pushTimeout,
			strings.Trim(strings.ReplaceAll(fmt.Sprint(d.final), " ", ","), "[]"))),
		End: strconv.Itoa(d.log), Cursor: strconv.Itoa(d.log), Backlog: d.faults.backlog,
		Live: &api.LiveSubscription{InFlight: len(l.busy)}}
	if d.faults.backlog > 0 {
		s.Cursor = "0"
	}
	for _, queue := range l.keys {
		for _, e := range queue {
			switch {
			case e.state == hookgate.ExceptionParked:
				s.Parked++
			case e.state == hookgate.ExceptionDead:
				s.Dead++
			case e.state == hookgate.ExceptionWaiting:
				s.Waiting++
			case queue[0].state == "": // else its key is held
				s.Backlog++
				s.Cursor = "0"
			}
		}
	}
	return s
}

func (d *deliverer) list(w http.ResponseWriter, l *line) {
	for _, queue := range l.keys {
		for _, e := range queue {
			if e.state != "" && !d.faults.hides {
				respond(w, api.Exception{Event: strconv.Itoa(e.id), State: e.state, Key: e.key,
					MessageID: e.messageID, Attempts: e.attempts})
			}
		}
	}
}

func (d *deliverer) retry(w http.ResponseWriter, r *http.Request, l *line) {
	var s api.ExceptionSelection
	json.NewDecoder(r.Body).Decode(&s)
	for _, queue := range l.keys {
		for _, e := range queue {
			if slices.Contains(s.IDs, strconv.Itoa(e.id)) {
				e.held, e.due, e.state = false, time.Time{}, hookgate.ExceptionWaiting
			}
		}
	}
	l.nudge()
	respond(w, api.Resolved{Changed: len(s.IDs)})
}

// lease answers a pull, with one event of each key. A poll that finds nothing waits a little.
func (d *deliverer) lease(w http.ResponseWriter, r *http.Request, l *line) {
	var wanted api.PullRequest
	json.NewDecoder(r.Body).Decode(&wanted)
	for lease, until := range l.until {
		if time.Now().After(until) {
			for _, e := range l.leased[lease] {
				delete(l.busy, e.key)
			}
			delete(l.until, lease)
			delete(l.leased, lease)
		}
	}
	d.leases++
	lease := api.Pulled{Lease: strconv.Itoa(d.leases), Events: []api.PulledEvent{}}
	blocked := d.isOther(l) && !d.failed.IsZero() && time.Since(d.failed) < d.faults.blocks
	for len(lease.Events) < wanted.Max && !blocked {
		e := d.next(l)
		if e == nil {
			break
		}
		l.leased[lease.Lease] = append(l.leased[lease.Lease], e)
		p := api.PulledEvent{Attempt: e.attempts + 1, LogEvent: api.LogEvent{ID: strconv.Itoa(e.id),
			WebhookID: e.requestID, Source: hookgate.TestSource, EventType: e.eventType,
			MessageID: e.messageID, OrderingKey: e.key, Key: "k:" + e.key, Body: e.body,
			ReceivedAt: api.At(e.received), Headers: []hookgate.Header{
				{Name: "Content-Type", Value: contentType},
				{Name: senderHeaderName, Value: signedBySender(e.body)}}}}
		lease.Events = append(lease.Events, p)
	}
	if len(lease.Events) == 0 {
		lease.Lease = ""
		d.mu.Unlock()
		select {
		case <-l.wake:
		case <-time.After(50 * time.Millisecond):
		case <-r.Context().Done():
		}
		d.mu.Lock()
	} else {
		l.until[lease.Lease] = time.Now().Add(time.Duration(wanted.Lease))
	}
	respond(w, lease)
}

// release answers an ack or a nack.
func (d *deliverer) release(w http.ResponseWriter, r *http.Request, l *line, verb string) {
	var s api.NackRequest
	json.NewDecoder(r.Body).Decode(&s)
	for _, id := range s.IDs {
		i := slices.IndexFunc(l.leased[s.Lease], func(e *delivered) bool {
			return strconv.Itoa(e.id) == id
		})
		if i < 0 {
			http.Error(w, `{"error":"the lease has ended"}`, http.StatusConflict)
			return
		}
		e := l.leased[s.Lease][i]
		l.leased[s.Lease] = slices.Delete(l.leased[s.Lease], i, i+1)
		delete(l.busy, e.key)
		if verb == "ack" {
			l.remove(e)
			continue
		}
		if d.failed.IsZero() && !d.isOther(l) {
			d.failed = time.Now()
		}
		e.attempts++
		e.state, e.due = hookgate.ExceptionWaiting, time.Now().Add(20*time.Millisecond)
		if s.Dead {
			e.state, e.held = hookgate.ExceptionDead, true
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
