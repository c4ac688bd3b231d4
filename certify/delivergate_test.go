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
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	then   string
	ctx    context.Context
	busy   sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	subs   map[string]*line
	leases int
	log    int
	slow   time.Time // when the consumer came back; zero: no slow start
	sent   int       // since then
	broken bool      // the consumer is away
	probe  time.Time // when the next attempt may begin meanwhile
}

type deliverFaults struct {
	drop    func(n int) bool                           // never delivered
	skips   bool                                       // the key goes on after a failure
	twice   func(n int) bool                           // a second attempt while the first is open
	repeats func(n int) bool                           // delivered again after it was taken
	body    func(n int, body []byte) []byte            // instead of the body
	header  func(n, attempt int, h http.Header)        // before it is sent
	time    func(now time.Time, attempt int) time.Time // of the signature
	forgets func(attempt int, o outcome) bool          // instead of a retry
	hammers bool                                       // no slow start
	rushes  bool                                       // no probes during an outage
	hastens bool                                       // no wait for which the consumer asks
	hides   bool                                       // exceptions
	delays  time.Duration                              // of the other subscription while one fails
	backlog int64                                      // in the state, for ever
	insists bool                                       // retries what was refused
	parks   bool                                       // instead of a dead letter
	loses   bool                                       // dead letters
	shares  bool                                       // events among two leases at a time
}

// line is a subscription. Each key has at most one attempt under way.
type line struct {
	name   string
	keys   map[string][]*delivered // events that are not settled, in order
	busy   map[string]bool
	leased map[string][]*delivered // by lease
	until  map[string]time.Time
	dead   []*delivered
	wake   chan struct{}
}

type delivered struct {
	*gateEvent
	id       int
	attempts int
	due      time.Time
	lent     time.Time // the latest lease
	shared   bool      // among two leases
	state    hookgate.ExceptionState
	held     bool // final: until a person retries
}

func newDeliverer(t *testing.T, f deliverFaults, push, then string, final ...int) *deliverer {
	ctx, stop := context.WithCancel(t.Context())
	d := &deliverer{faults: f, push: push, final: final, then: then, ctx: ctx,
		subs: map[string]*line{}}
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
	if d.broken && !d.faults.rushes && !d.isOther(l) {
		if len(l.busy) > 0 || now.Before(d.probe) {
			return nil
		}
	}
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
			l.busy[key] {
			continue
		}
		l.busy[key] = true
		d.sent++
		return queue[i]
	}
	return nil
}

// run pushes the events of a subscription.
func (d *deliverer) run(l *line) func() {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100,
		ExpectContinueTimeout: pushTimeout},
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
				d.settle(l, e, d.attempt(client, l, e))
			})
		}
	}
}

// pushTimeout is that of an attempt.
const pushTimeout = 30 * time.Second

// attempt makes one attempt.
func (d *deliverer) attempt(client *http.Client, l *line, e *delivered) outcome {
	if f := d.faults.twice; f == nil || !f(e.n) {
		return d.post(client, l, e, nil)
	}
	reading, finish := make(chan struct{}), make(chan struct{})
	first := make(chan outcome, 1)
	d.busy.Go(func() {
		first <- d.post(client, l, e, func() io.Reader {
			close(reading)
			<-finish
			return bytes.NewReader(e.body)
		})
	})
	select {
	case o := <-first:
		return o // the consumer is away
	case <-reading:
	}
	second := d.post(client, l, e, nil)
	close(finish)
	if o := <-first; o.status == 200 {
		return o
	}
	return second
}

// outcome is that of an attempt. Status 0 means that there was no answer.
type outcome struct {
	status     int
	retryAfter time.Duration
	// seen means that the consumer began to read the body, refused that there was no connection.
	seen, refused bool
}

// lazyBody makes a body when the consumer begins to read it.
type lazyBody struct {
	made func() io.Reader
	body io.Reader
}

func (b *lazyBody) Read(p []byte) (int, error) {
	if b.body == nil {
		b.body = b.made()
	}
	return b.body.Read(p)
}

// post sends the header, and the body once the consumer reads it.
func (d *deliverer) post(client *http.Client, l *line, e *delivered,
	made func() io.Reader) (o outcome) {
	n, attempt, body := e.n, e.attempts+1, e.body
	if f := d.faults.body; f != nil {
		body = f(n, body)
	}
	var seen atomic.Bool
	ctx := httptrace.WithClientTrace(d.ctx, &httptrace.ClientTrace{
		Got100Continue: func() { seen.Store(true) }})
	if made == nil {
		made = func() io.Reader { return bytes.NewReader(body) }
	}
	request, _ := http.NewRequestWithContext(ctx, http.MethodPost, d.push, &lazyBody{made: made})
	request.ContentLength = int64(len(body))
	request.Header.Set("Expect", "100-continue")
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
	if e.gzip {
		request.Header.Set("Content-Encoding", "gzip")
	}
	if f := d.faults.header; f != nil {
		f(n, attempt, request.Header)
	}
	mac := hmac.New(sha256.New, []byte(pushSecret))
	fmt.Fprintf(mac, "%s.%s.%s", request.Header.Get("Webhook-Id"), timestamp, body)
	request.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	response, err := client.Do(request)
	if err != nil {
		return outcome{seen: seen.Load(), refused: strings.Contains(err.Error(), "refused")}
	}
	response.Body.Close()
	asked, _ := strconv.Atoi(response.Header.Get("Retry-After")) // 0: it did not ask
	return outcome{status: response.StatusCode, retryAfter: time.Duration(asked) * time.Second,
		seen: true}
}

const senderHeaderName = "X-Webhook-Signature"

func signedBySender(body []byte) string {
	mac := hmac.New(sha256.New, []byte(gateSecret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// settle ends an attempt.
func (d *deliverer) settle(l *line, e *delivered, o outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(l.busy, e.key)
	if d.faults.hastens {
		o.retryAfter = 0
	}
	e.due = time.Now().Add(max(20*time.Millisecond, o.retryAfter))
	if o.refused || o.status == 503 { // an outage: nothing counts
		d.broken, d.probe = true, time.Now().Add(pauseOfProbes)
		d.slow, d.sent = time.Now(), 0
		return
	}
	if o.status != 0 {
		d.broken = false
	}
	if o.status == 200 {
		if f := d.faults.repeats; f != nil && e.attempts < 100 && f(e.n) {
			e.attempts, e.due = e.attempts+100, time.Time{}
			return
		}
		l.remove(e)
		return
	}
	e.attempts++
	if f := d.faults.forgets; f != nil && f(e.attempts, o) {
		l.remove(e)
		return
	}
	e.state = hookgate.ExceptionWaiting
	switch {
	case !slices.Contains(d.final, o.status) || d.faults.insists:
	case d.then == "park" || d.faults.parks:
		e.state, e.held = hookgate.ExceptionParked, true
	default:
		d.deaden(l, e)
	}
}

// pauseOfProbes is the time between two attempts while the consumer is away.
const pauseOfProbes = 200 * time.Millisecond

// deaden makes a dead letter of an event.
func (d *deliverer) deaden(l *line, e *delivered) {
	l.remove(e)
	if !d.faults.loses {
		e.state = hookgate.ExceptionDead
		l.dead = append(l.dead, e)
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
			`"timeout":%q},"retry":{"final":[%s]},"then":%q}`, d.push, pushTimeout,
			strings.Trim(strings.ReplaceAll(fmt.Sprint(d.final), " ", ","), "[]"), d.then)),
		Dead: int64(len(l.dead)),
		End:  strconv.Itoa(d.log), Cursor: strconv.Itoa(d.log), Backlog: d.faults.backlog,
		Live: &api.LiveSubscription{InFlight: len(l.busy)}}
	if d.faults.backlog > 0 {
		s.Cursor = "0"
	}
	for _, queue := range l.keys {
		for _, e := range queue {
			switch {
			case e.state == hookgate.ExceptionParked:
				s.Parked++
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
	for _, e := range slices.Concat(append(slices.Collect(maps.Values(l.keys)), l.dead)...) {
		if e.state != "" && !d.faults.hides {
			respond(w, api.Exception{Event: strconv.Itoa(e.id), State: e.state, Key: e.key,
				MessageID: e.messageID, Attempts: e.attempts})
		}
	}
}

func (d *deliverer) retry(w http.ResponseWriter, r *http.Request, l *line) {
	var s api.ExceptionSelection
	json.NewDecoder(r.Body).Decode(&s)
	l.dead = slices.DeleteFunc(l.dead, func(e *delivered) bool {
		again := slices.Contains(s.IDs, strconv.Itoa(e.id))
		if again {
			l.keys[e.key] = append([]*delivered{e}, l.keys[e.key]...)
		}
		return again
	})
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

// lease answers a pull, with one event of each key. If it finds nothing, it waits for a second.
func (d *deliverer) lease(w http.ResponseWriter, r *http.Request, l *line) {
	var wanted api.PullRequest
	json.NewDecoder(r.Body).Decode(&wanted)
	lease := d.leaseNow(wanted, l)
	for end := time.Now().Add(time.Second); len(lease.Events) == 0 && time.Now().Before(end) &&
		r.Context().Err() == nil; lease = d.leaseNow(wanted, l) {
		d.mu.Unlock()
		select {
		case <-l.wake:
		case <-time.After(20 * time.Millisecond):
		case <-r.Context().Done():
		}
		d.mu.Lock()
	}
	respond(w, lease)
}

// leaseNow leases what can be delivered now.
func (d *deliverer) leaseNow(wanted api.PullRequest, l *line) api.Pulled {
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
	late := d.isOther(l) && d.faults.delays > 0 && d.state(d.subs["certify"]).Waiting > 0
	for len(lease.Events) < wanted.Max {
		e := d.next(l)
		if e == nil {
			e = d.share(l)
		}
		if e == nil {
			break
		}
		if wait := time.Until(e.received.Add(d.faults.delays)); late && wait > 0 {
			delete(l.busy, e.key)
			e.due = time.Now().Add(wait)
			continue
		}
		e.lent = time.Now()
		l.leased[lease.Lease] = append(l.leased[lease.Lease], e)
		p := api.PulledEvent{Attempt: e.attempts + 1, LogEvent: api.LogEvent{ID: strconv.Itoa(e.id),
			WebhookID: e.requestID, Source: hookgate.TestSource, EventType: e.eventType,
			MessageID: e.messageID, OrderingKey: e.key, Key: "k:" + e.key, Body: e.body,
			ReceivedAt: api.At(e.received), Headers: []hookgate.Header{
				{Name: "Content-Type", Value: contentType},
				{Name: senderHeaderName, Value: signedBySender(e.body)}}}}
		if e.gzip {
			p.Headers = append(p.Headers, hookgate.Header{Name: "Content-Encoding", Value: "gzip"})
		}
		lease.Events = append(lease.Events, p)
	}
	if len(lease.Events) == 0 {
		lease.Lease = ""
	} else {
		l.until[lease.Lease] = time.Now().Add(time.Duration(wanted.Lease))
	}
	return lease
}

// share returns an event that the consumer has not answered for a while, each once. A consumer that
// only stands still for that time shows nothing, so there must be several.
func (d *deliverer) share(l *line) *delivered {
	if !d.faults.shares || d.isOther(l) {
		return nil
	}
	for key := range l.busy {
		queue := l.keys[key]
		if len(queue) > 0 && !queue[0].shared && queue[0].attempts == 0 &&
			time.Since(queue[0].lent) > slowAnswer/3 {
			queue[0].shared = true
			return queue[0]
		}
	}
	return nil
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
		e.attempts++
		wait := 20 * time.Millisecond
		if s.Delay != nil && !d.faults.hastens {
			wait = time.Duration(*s.Delay)
		}
		e.state, e.due = hookgate.ExceptionWaiting, time.Now().Add(wait)
		if s.Dead {
			d.deaden(l, e)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
