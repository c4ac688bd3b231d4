package certify

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
)

func TestMain(m *testing.M) {
	modeltest.Checks(100) // TestChecksFindOneFault needs that many to try each fault
	together(8)
	debug.SetGCPercent(400) // a quarter of the time would go into collecting a few MiB
	goleak.VerifyTestMain(m)
}

// together makes n the number of parallel tests, unless the command line has another one. They
// mostly wait, for a schedule and for a gate that is slow on purpose.
func together(n int) {
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		flag.Set("test.parallel", strconv.Itoa(n))
	}
}

const (
	gateToken  = "the admin token"
	gateSecret = "the hmac secret"
	gateKey    = "the bearer key"
)

// gate is a small, correct gate that keeps everything in memory. A saboteur gives it one fault:
// each field of faults, if set, is called at its place. n counts the claimed events from 0.
type gate struct {
	*httptest.Server
	faults faults

	mu       sync.Mutex
	claims   map[string]*gateEvent
	queue    []*gateRequest
	stored   []*gateEvent
	trails   map[string][]*gateRequest // by message id
	held     *gateEvent                // by a saboteur
	pages    int                       // listings begun
	bodies   int                       // bodies read
	requests int
	answers  map[int]float64 // by status
	revoked  map[string]bool // tokens
	wake     chan struct{}
	stop     chan struct{}
	working  sync.WaitGroup

	registry *prometheus.Registry
	latency  *prometheus.HistogramVec
	batches  prometheus.Histogram
}

type faults struct {
	delay     func(request int) time.Duration
	status    func(request int) int                 // instead of taking it
	hangUp    func(request int) bool                // after taking it
	answer    func(n int, r *gateRequest)           // changes what the answer says
	reply     func(request int, r *gateReply)       // changes how it says it
	lose      func(n int) bool                      // after the 202
	twice     func(n int) bool                      // stored
	store     func(g *gate, n int, e *gateEvent)    // instead of storing it
	trail     func(n int, stages []string) []string // changes the lineage
	backwards func(n int) bool                      // the lineage
	// clock changes a time of an event: a stage of its trail, receivedAt or persistedAt. n is -1 for
	// the Date of an answer.
	clock   func(n int, what string, at time.Time) time.Time
	list    func(g *gate, page int, e *gateEvent)  // before it is listed
	body    func(read int, e *gateEvent) []byte    // instead of its body
	later   func(g *gate)                          // before the second listing
	depth   func(depth int) int                    // of the health
	counted func(status string, n float64) float64 // in the metrics
	// the histogram says that everything was quick
	noLatency     bool
	noBatches     bool // stores one by one
	direct        bool // says that its store takes the requests
	chainBroken   bool
	chain         func(a *gateAudit) // changes what is said about the chain
	openReads     bool               // without a token
	viewerIsAdmin bool
	missing       string // 500 for every path that begins so
	overwrite     bool   // the body, with that of a repetition
	stuckAt       int    // never stores what comes after so many; 0 for none
	noGzip        bool   // refuses compressed bodies
	byCoding      bool   // a compressed event is another one
	encodedBodies bool   // names the encoding of a body that is read
	largest       int    // answers 413 to a longer body; 0 for no limit
	forgets       int    // an identity after so many other events; 0 for never
	access        accessFaults
	read          readFaults
}

type gateEvent struct {
	n                             int
	id                            int // in the store
	messageID, eventType, key     string
	sequence                      int64
	requestID                     string
	body                          []byte // as it was sent
	gzip                          bool
	listedSHA                     string
	place                         string // its job id, as it is listed
	received, enqueued, persisted time.Time
}

type gateRequest struct {
	id, first           string // first is set for a duplicate
	event               *gateEvent
	received, processed time.Time
}

func newGate(t *testing.T, f faults) *gate {
	g := &gate{faults: f, answers: map[int]float64{202: 0}, claims: map[string]*gateEvent{},
		trails:  map[string][]*gateRequest{},
		revoked: map[string]bool{}, wake: make(chan struct{}, 1), stop: make(chan struct{}),
		registry: prometheus.NewRegistry(),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "webhook_http_latency_ms",
			Buckets: []float64{0.1, 1, 10, 100, 1000, 10000}}, []string{"method", "status"}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "webhook_batch_records",
			Buckets: []float64{1, 2, 5, 10, 100}}),
	}
	g.registry.MustRegister(g.latency, g.batches, lying{g})
	if f.direct {
		kind := prometheus.NewGauge(prometheus.GaugeOpts{Name: "webhook_queue_info",
			ConstLabels: prometheus.Labels{"kind": "direct"}})
		kind.Set(1)
		g.registry.MustRegister(kind)
	}
	g.Server = httptest.NewServer(g)
	g.working.Go(g.work)
	t.Cleanup(func() {
		g.Close()
		close(g.stop)
		g.working.Wait()
	})
	return g
}

// lying collects the counters as the saboteur changes them.
type lying struct{ g *gate }

var (
	eventsDesc = prometheus.NewDesc(eventsTotal, "", []string{"eventType", "status"}, nil)
	ingestDesc = prometheus.NewDesc(ingestTotal, "", []string{"source", "status"}, nil)
)

func (l lying) Describe(c chan<- *prometheus.Desc) {
	c <- eventsDesc
	c <- ingestDesc
}

func (l lying) Collect(out chan<- prometheus.Metric) {
	said := func(status string, n float64) float64 {
		if f := l.g.faults.counted; f != nil {
			n = f(status, n)
		}
		return n
	}
	l.g.mu.Lock()
	defer l.g.mu.Unlock()
	for status, n := range l.g.answers {
		text := strconv.Itoa(status)
		out <- prometheus.MustNewConstMetric(ingestDesc, prometheus.CounterValue, said(text, n),
			hookgate.TestSource, text)
	}
	counts := map[string]float64{"persisted": float64(len(l.g.stored)), "accepted": 0, "duplicate": 0,
		"dead_lettered": 0}
	for _, all := range l.g.trails {
		for _, r := range all {
			if r.first == "" {
				counts["accepted"]++
			} else {
				counts["duplicate"]++
			}
		}
	}
	for status, n := range counts {
		out <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, said(status, n), "x",
			status)
	}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	role := g.roleOf(r)
	open := g.faults.openReads || role == gateToken || role == "viewer" || role == "operator"
	switch {
	case g.faults.missing != "" && strings.HasPrefix(path, g.faults.missing):
		http.Error(w, "sabotage", http.StatusInternalServerError)
	case path == "/webhooks", path == "/webhooks/"+hookgate.TestSource:
		g.ingest(w, r)
	case path == "/api/health":
		g.health(w)
	case path == "/metrics":
		promhttp.HandlerFor(g.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	case role == consuming && g.consumer(w, r):
	case !open:
		http.Error(w, `{"error":"not authorised"}`, http.StatusUnauthorized)
	case path == "/admin/approvals":
		fmt.Fprint(w, `{"approvals":[{"id":"1","action":"canary","requestedBy":"alice",`+
			`"decidedBy":"bob"}]}`)
	case path == "/admin/actions":
		fmt.Fprint(w, `{"actions":[{"sequence":1,"by":"alice","action":"canary",`+
			`"target":"10 percent","result":"done"}]}`)
	case strings.HasPrefix(path, "/admin/tokens"):
		g.tokens(w, r, role == gateToken || g.faults.viewerIsAdmin)
	case path == "/api/events/stream":
		w.Header().Set("Content-Type", "text/event-stream")
	case strings.HasPrefix(path, "/api/subscriptions/"):
		w.WriteHeader(http.StatusNotFound)
	case path == "/api/audit/verify":
		g.verify(w)
	case path == "/api/events" && r.Header.Get("Accept") == jsonType:
		g.page(w, r)
	case path == "/api/events":
		g.list(w, r)
	case path == "/api/find":
		g.find(w, r)
	case strings.HasPrefix(path, "/api/events/") && !strings.HasSuffix(path, "/body"):
		g.event(w, strings.TrimPrefix(path, "/api/events/"))
	case strings.HasPrefix(path, "/api/events/"):
		g.body(w, strings.TrimSuffix(strings.TrimPrefix(path, "/api/events/"), "/body"))
	case strings.HasPrefix(path, "/api/trace/"):
		g.trace(w, strings.TrimPrefix(path, "/api/trace/"))
	default:
		http.NotFound(w, r)
	}
}

// gateAudit is what the gate says about its audit chain.
type gateAudit struct {
	OK         bool   `json:"ok"`
	Entries    int    `json:"entries"`
	Events     int    `json:"events"`
	Duplicates int    `json:"duplicates"`
	Head       string `json:"head"`
}

func (g *gate) verify(w http.ResponseWriter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := gateAudit{OK: !g.faults.chainBroken, Events: len(g.stored)}
	for _, all := range g.trails {
		for _, r := range all {
			if r.first != "" {
				a.Duplicates++
			}
		}
	}
	a.Entries = a.Events + a.Duplicates
	a.Head = fmt.Sprintf("%064x", a.Entries)
	if f := g.faults.chain; f != nil {
		f(&a)
	}
	json.NewEncoder(w).Encode(a)
}

func (g *gate) ingest(w http.ResponseWriter, r *http.Request) {
	received := time.Now()
	body, err := io.ReadAll(r.Body)
	var m struct {
		MessageID, EventType, OrderingKey string
		Sequence                          int64
	}
	if err == nil && !g.authentic(r, body) && !g.faults.access.takesRefused {
		w.WriteHeader(g.refusal(body))
		return
	}
	packed, content := r.Header.Get("Content-Encoding") == "gzip", body
	if packed {
		content = unpacked(body)
	}
	if err != nil || json.Unmarshal(content, &m) != nil || m.MessageID == "" {
		http.Error(w, "{}", http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	request := g.requests
	g.requests++
	g.mu.Unlock()
	id := hookgate.NewRequestID(received).String()
	if f := g.faults.delay; f != nil {
		time.Sleep(f(request)) // this is what the saboteur does
	}
	if packed && g.faults.noGzip {
		g.reply(w, request, &gateReply{http.StatusUnsupportedMediaType, id, jsonType,
			map[string]any{"status": "error", "error": "sabotage", "requestId": id}})
		return
	}
	if limit := g.faults.largest; limit > 0 && len(body) > limit {
		g.reply(w, request, &gateReply{http.StatusRequestEntityTooLarge, id, jsonType,
			map[string]any{"status": "error", "error": "sabotage", "requestId": id}})
		return
	}
	if f := g.faults.status; f != nil && f(request) != 0 {
		g.reply(w, request, &gateReply{f(request), id, jsonType, map[string]any{"status": "error",
			"error": "sabotage", "requestId": id}})
		return
	}
	answered := g.take(&gateRequest{id: id, received: received}, &gateEvent{messageID: m.MessageID,
		eventType: m.EventType, key: m.OrderingKey, sequence: m.Sequence, body: body, gzip: packed,
		received: received})
	if f := g.faults.hangUp; f != nil && f(request) {
		panic(http.ErrAbortHandler)
	}
	if !g.authentic(r, body) {
		w.WriteHeader(http.StatusUnauthorized) // and it has taken it
		return
	}
	took := time.Since(received)
	if g.faults.noLatency {
		took = 0
	}
	g.latency.WithLabelValues("POST", "202").Observe(float64(took.Microseconds()) / 1000)
	reply := &gateReply{http.StatusAccepted, answered.id, jsonType, map[string]any{
		"status": "accepted", "messageId": m.MessageID, "requestId": answered.id,
		"jobId": answered.event.jobID(), "queue": "webhooks", "latency_ms": 0.5}}
	if answered.first != "" {
		reply.body["note"], reply.body["firstRequestId"] = "duplicate_detected", answered.first
	}
	g.reply(w, request, reply)
}

// gateReply is the answer to a webhook.
type gateReply struct {
	status    int
	requestID string // in the header
	mediaType string
	body      map[string]any
}

func (g *gate) reply(w http.ResponseWriter, request int, r *gateReply) {
	if f := g.faults.reply; f != nil {
		f(request, r)
	}
	w.Header().Set("Content-Type", r.mediaType)
	w.Header().Set("X-Request-Id", r.requestID)
	w.Header().Set("Date", g.told(-1, "date", time.Now()).Format(http.TimeFormat))
	g.mu.Lock()
	g.answers[r.status]++
	g.mu.Unlock()
	w.WriteHeader(r.status)
	json.NewEncoder(w).Encode(r.body)
}

// jobID is the place of an event in the queue: a partition, and a position in it.
func (e *gateEvent) jobID() string { return fmt.Sprintf("0:%d-0", e.n+1) }

// take claims and queues an event, and returns the answer.
func (g *gate) take(r *gateRequest, e *gateEvent) gateRequest {
	g.mu.Lock()
	defer g.mu.Unlock()
	identity := e.eventType + "/" + e.messageID
	if g.faults.byCoding {
		identity += fmt.Sprint(e.gzip)
	}
	first, ok := g.claims[identity]
	if f := g.faults.forgets; ok && f > 0 && len(g.claims)-first.n > f {
		ok = false
	}
	if ok {
		r.event, r.first = first, first.requestID
		if g.faults.overwrite {
			first.body, first.gzip = e.body, e.gzip
		}
	} else {
		e.n, e.requestID, e.enqueued = len(g.claims), r.id, time.Now()
		r.event = e
		g.claims[identity] = e
	}
	g.trails[e.messageID] = append(g.trails[e.messageID], r)
	g.queue = append(g.queue, r)
	select {
	case g.wake <- struct{}{}:
	default:
	}
	answered := *r
	if f := g.faults.answer; f != nil {
		f(r.event.n, &answered)
	}
	return answered
}

// work stores queued events, several at a time.
func (g *gate) work() {
	for {
		select {
		case <-g.stop:
			return
		case <-g.wake:
		}
		time.Sleep(5 * time.Millisecond) // a linger, so that there are batches
		g.mu.Lock()
		batch := g.queue
		if limit := g.faults.stuckAt; limit > 0 && len(g.stored)+len(batch) > limit {
			batch = batch[:max(0, min(limit-len(g.stored), len(batch)))]
		}
		g.queue = g.queue[len(batch):]
		now := time.Now()
		for _, r := range batch {
			r.processed = now
			if r.first == "" {
				g.store(r.event)
			}
		}
		if g.faults.noBatches {
			for range batch {
				g.batches.Observe(1)
			}
		} else if len(batch) > 0 {
			g.batches.Observe(float64(len(batch)))
		}
		g.mu.Unlock()
	}
}

func (g *gate) store(e *gateEvent) {
	f := &g.faults
	switch {
	case f.lose != nil && f.lose(e.n):
		return
	case f.store != nil:
		f.store(g, e.n, e)
		return
	}
	g.put(e)
	if f.twice != nil && f.twice(e.n) {
		again := *e
		g.put(&again)
	}
}

// put stores an event.
func (g *gate) put(e *gateEvent) {
	e.persisted, e.place = time.Now(), e.jobID()
	sum := sha256.Sum256(e.body)
	e.listedSHA = hex.EncodeToString(sum[:])
	g.stored = append(g.stored, e)
	e.id = len(g.stored)
}

func (g *gate) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	after, _ := strconv.Atoi(q.Get("after"))
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil {
		limit = 1 << 30
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.faults.depth != nil && len(g.queue) > 0 { // it says that it never drains, but it does
		g.mu.Unlock()
		time.Sleep(time.Millisecond)
		g.mu.Lock()
	}
	if q.Get("prefix") != "" {
		g.pages++
	}
	if f := g.faults.later; f != nil && g.pages > 1 {
		g.faults.later = nil
		f(g)
	}
	for _, e := range g.stored {
		if hidden := q.Get("tests") != "true" && q.Get("prefix") == ""; hidden || e.id <= after ||
			!strings.HasPrefix(e.messageID, q.Get("prefix")) || limit == 0 {
			continue
		}
		limit--
		shown := *e
		if f := g.faults.list; f != nil {
			f(g, g.pages, &shown)
		}
		w.Write(append(g.line(&shown), '\n'))
	}
}

// line is the event as it is listed.
func (g *gate) line(e *gateEvent) []byte {
	headers := ""
	if e.gzip {
		headers = `,"headers":[{"name":"Content-Encoding","value":"gzip"}]`
	}
	return fmt.Appendf(nil, `{"id":"%d","source":"hookgate-certify","messageId":%q,"eventType":%q,`+
		`"orderingKey":%q,"sequence":%d,"requestId":%q,"receivedAt":%q,"persistedAt":%q,`+
		`"partition":0,"position":%q,"size":%d,"sha256":%q%s}`,
		e.id, e.messageID, e.eventType, e.key, e.sequence, e.requestID,
		g.stamp(e.n, "receivedAt", e.received), g.stamp(e.n, "persistedAt", e.persisted),
		strings.TrimPrefix(e.place, "0:"), len(e.body), e.listedSHA, headers)
}

// unpacked returns a body without its compression; nil if it has none.
func unpacked(body []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return nil
	}
	return content
}

func (g *gate) body(w http.ResponseWriter, id string) {
	n, err := strconv.Atoi(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil || n < 1 || n > len(g.stored) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	e := g.stored[n-1]
	body := e.body
	if f := g.faults.body; f != nil {
		body = f(g.bodies, e)
	}
	g.bodies++
	if e.gzip && g.faults.encodedBodies {
		w.Header().Set("Content-Encoding", "gzip")
	}
	w.Write(body)
}

func (g *gate) trace(w http.ResponseWriter, messageID string) {
	type stage struct {
		Stage     string    `json:"stage"`
		Timestamp time.Time `json:"timestamp"`
		Metadata  any       `json:"metadata,omitempty"`
	}
	type request struct {
		RequestID string  `json:"requestId"`
		Source    string  `json:"source"`
		EventType string  `json:"eventType"`
		Stages    []stage `json:"stages"`
	}
	answer := struct {
		Requests []request `json:"requests"`
	}{}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.trails[messageID] {
		if r.processed.IsZero() {
			continue
		}
		names := []string{"received", "enqueued", "processed", "persisted"}
		if r.first != "" {
			names[3] = "duplicate"
		}
		if f := g.faults.trail; f != nil {
			names = f(r.event.n, names)
		}
		if names == nil {
			continue
		}
		q := request{RequestID: r.id, Source: hookgate.TestSource, EventType: r.event.eventType}
		for i, name := range names {
			at := r.at(name)
			if f := g.faults.backwards; f != nil && f(r.event.n) {
				at = r.received.Add(-time.Duration(i) * time.Microsecond)
			}
			s := stage{Stage: name, Timestamp: g.told(r.event.n, name, at)}
			// three events in a transaction, and their repetitions
			if name == "persisted" || name == "duplicate" {
				s.Metadata = map[string]any{"batch": 1 + r.event.n/3, "event": "1"}
			}
			q.Stages = append(q.Stages, s)
		}
		answer.Requests = append(answer.Requests, q)
	}
	json.NewEncoder(w).Encode(answer)
}

// at is the time of a stage of r.
func (r *gateRequest) at(stage string) time.Time {
	switch {
	case stage == "received":
		return r.received
	case stage == "enqueued":
		return r.received.Add(time.Microsecond)
	case stage == "persisted" && !r.event.persisted.IsZero():
		return r.event.persisted
	}
	return r.processed
}

// told is a time as the saboteur says it.
func (g *gate) told(n int, what string, at time.Time) time.Time {
	if f := g.faults.clock; f != nil {
		at = f(n, what, at)
	}
	return at.UTC()
}

// stamp is a time of the listing.
func (g *gate) stamp(n int, what string, at time.Time) string {
	if at = g.told(n, what, at); at.IsZero() {
		return ""
	}
	return at.Format(time.RFC3339Nano)
}

func (g *gate) health(w http.ResponseWriter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	depth := len(g.queue)
	if f := g.faults.depth; f != nil {
		depth = f(depth)
	}
	fmt.Fprintf(w, `{"status":"ok","version":"test","mode":"normal","queue":{"depth":%d}}`, depth)
}
