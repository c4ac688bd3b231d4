package adminapi

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/admit"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/control/settings"
	"github.com/hookgate/hookgate/dashboard"
	delivery "github.com/hookgate/hookgate/deliver/memory"
	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/history"
	"github.com/hookgate/hookgate/ingest"
	"github.com/hookgate/hookgate/internal/attention"
	"github.com/hookgate/hookgate/internal/httpserver"
	"github.com/hookgate/hookgate/internal/metrics"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/redistest"
	"github.com/hookgate/hookgate/internal/sqlitetest"
	"github.com/hookgate/hookgate/queue/redis"
	"github.com/hookgate/hookgate/release"
	"github.com/hookgate/hookgate/release/canary"
	storesqlite "github.com/hookgate/hookgate/store/sqlite"
)

func TestMain(m *testing.M) {
	modeltest.Checks(30)
	goleak.VerifyTestMain(ending{m})
}

// ending ends what outlives the tests.
type ending struct{ *testing.M }

func (e ending) Run() int {
	code := e.M.Run()
	for _, f := range slices.Backward(afterAll) {
		f()
	}
	return code
}

// The credentials of the tests. Each is long and unlike any text of the gate, so that it can be
// looked for in logs.
const (
	bearerKey    = "bearer-key-4f1c9a7e22d0"
	hmacSecret   = "hmac-secret-8c01b5d9e3aa"
	githubSecret = "github-secret-77e2c4f0913b"
	adminToken   = "admin-token-d2b60f3a5519"
)

// within bounds the wait for something that must happen.
const within = 2 * time.Minute

// gate is a server under test with what it was made of.
type gate struct {
	*httpserver.Server
	*API
	url      string
	log      *logBuffer
	metrics  *metrics.Metrics
	queue    *redis.Queue       // nil if the test brought its own
	settings *settings.Keeper   // likewise
	store    *storesqlite.Store // likewise
	client   *http.Client
	lease    map[int]hookgate.Epoch
}

// gates numbers the gates that are on the one Redis of this package, which the first of them
// starts.
var (
	gates      atomic.Int64
	redisOnce  sync.Once
	redisOfAll *redistest.Server
	afterAll   []func() // run when all tests have ended
)

// outlives is a test whose clean-up waits for the end of all tests.
type outlives struct{ testing.TB }

func (outlives) Cleanup(f func()) { afterAll = append(afterAll, f) }

func (o outlives) TempDir() string {
	dir, err := os.MkdirTemp("", "httpd")
	must(o.TB, err)
	afterAll = append(afterAll, func() { os.RemoveAll(dir) })
	return dir
}

func (outlives) Helper() {}

func redisServer(t testing.TB) *redistest.Server {
	redisOnce.Do(func() { redisOfAll = redistest.Start(outlives{t}, redistest.Options{}) })
	return redisOfAll
}

// setup is what a test may change before its gate is made. A part that is nil is made for real.
type setup struct {
	config  gateConfig
	sources []ingest.Source
	queue   hookgate.Queue
	reader  hookgate.Reader
	purger  hookgate.Purger
	mode    control.Settings
	guard   *guard.Guard
	release *release.Monitor
	access  Access
	verify  Verifier
	intake  Intake
	canary  *canary.Canary

	attention *attention.List

	subscriptions *delivery.Store // nil: there can be none
	wake          func()
	delivering    func() []LiveSubscription
	puller        Puller
	streamed      Log // nil: subscriptions
}

// gateConfig has the settings of the server and of both handlers.
type gateConfig struct {
	Config
	MaxBodyBytes, MaxUnpackedBytes              int64
	MaxHeaderBytes                              int
	MaxHeaderMemory                             int64
	MaxConnections, MaxConnectionsPerAddress    int
	ReadHeaderTimeout, ReadTimeout, IdleTimeout time.Duration
}

// open makes a server of parts; what they lack of Webhooks is made of the sources.
func (c gateConfig) open(t testing.TB, sources []ingest.Source,
	p Parts) (*httpserver.Server, *API) {
	t.Helper()
	webhooks, err := ingest.New(ingest.Config{
		MaxBodyBytes: c.MaxBodyBytes, MaxUnpackedBytes: c.MaxUnpackedBytes, RetryAfter: c.RetryAfter,
		TrustedProxies: c.TrustedProxies, Queue: p.Queue, Mode: p.Settings.Mode, Metrics: p.Metrics,
		Guard: p.Guard, Canary: p.Canary, Logger: c.Logger,
	}, sources)
	must(t, err)
	p.Webhooks = webhooks
	calls := New(c.Config, p)
	return httpserver.New(httpserver.Config{
		MaxHeaderBytes: c.MaxHeaderBytes, MaxHeaderMemory: c.MaxHeaderMemory,
		MaxConnections: c.MaxConnections, MaxConnectionsPerAddress: c.MaxConnectionsPerAddress,
		ReadHeaderTimeout: c.ReadHeaderTimeout, ReadTimeout: c.ReadTimeout,
		WriteTimeout: c.WriteTimeout, IdleTimeout: c.IdleTimeout, RetryAfter: c.RetryAfter,
		TrustedProxies: c.TrustedProxies, Metrics: p.Metrics, Logger: c.Logger,
		OnShutdown: calls.Stop,
	}, httpserver.Handlers{Webhooks: webhooks, API: calls}), calls
}

// emptyStore is a store without events.
var emptyStore = sqlitetest.Template{Create: func(path string) error {
	s, err := storesqlite.Open(context.Background(), path)
	if err != nil {
		return err
	}
	return s.Close()
}}

// newGate serves a gate on a free port of the loopback address until the test ends.
func newGate(t testing.TB, change func(*setup)) *gate {
	t.Helper()
	g := &gate{log: &logBuffer{}, lease: map[int]hookgate.Epoch{}}
	s := setup{config: testConfig(g.log), sources: testSources(t),
		guard:   guard.New(guard.Config{BodyMemory: 64 << 20}),
		release: release.NewMonitor(release.Config{Logger: slog.New(slog.DiscardHandler)})}
	if change != nil {
		change(&s)
	}
	dir := t.TempDir()
	if s.queue == nil {
		q, err := redis.Open(t.Context(), redis.Config{URL: redisServer(t).URL(), Prefix: fmt.Sprint("g",
			gates.Add(1)), Partitions: 1})
		must(t, err)
		t.Cleanup(func() { q.Close() })
		g.queue, s.queue = q, q
		if s.mode == nil {
			keeper, err := settings.Open(t.Context(), q, settings.Options{})
			must(t, err)
			t.Cleanup(func() { keeper.Close() })
			g.settings, s.mode = keeper, keeper
		}
	}
	if s.reader == nil || s.access == nil {
		path := filepath.Join(dir, "store.db")
		must(t, emptyStore.Copy(path))
		store, err := storesqlite.Open(t.Context(), path)
		must(t, err)
		t.Cleanup(func() { store.Close() })
		if s.reader == nil {
			g.store, s.reader = store, store
		}
		if s.access == nil {
			s.access = store
		}
		if s.purger == nil {
			s.purger = store
		}
	}
	if s.mode == nil {
		s.mode = &fakeMode{}
	}
	g.metrics = metrics.New(metrics.Config{Queue: s.queue.Stats, Store: s.reader.Counts,
		Guard: s.guard.Status, Version: "test"})
	live := dashboard.NewLive(dashboard.LiveConfig{Metrics: g.metrics, Guard: s.guard,
		Release: s.release, Mode: s.mode,
		Store: s.reader, MaxStreams: 2})
	parts := Parts{Queue: s.queue, Reader: s.reader,
		Purger: s.purger, Settings: s.mode, Access: s.access, Verify: s.verify, Intake: s.intake,
		Metrics: g.metrics,
		Guard:   s.guard, Release: s.release, Canary: s.canary, Attention: s.attention,
		Pages: dashboard.New(dashboard.Config{Version: "test", Process: "test", Logger: s.config.Logger,
			Live: live})}
	if g.store != nil {
		parts.Refused = g.store
		parts.History = history.NewRecorder(g.store, g.metrics.History, "test", s.config.Logger)
	}
	if s.subscriptions != nil {
		parts.Subscriptions, parts.Control = s.subscriptions, s.subscriptions
		parts.Wake, parts.Delivering = s.wake, s.delivering
		parts.Log, parts.Puller = s.subscriptions, s.puller
		if s.streamed != nil {
			parts.Log = s.streamed
		}
		parts.Temporary = Temporary{Create: s.subscriptions.CreateTemporary,
			Define: func(name string, f hookgate.Filter) (hookgate.SubscriptionDefinition, error) {
				if slices.Contains(f.Sources, "unknown") {
					return hookgate.SubscriptionDefinition{}, errors.New("there is no such source")
				}
				return hookgate.SubscriptionDefinition{Name: name, Order: hookgate.OrderKey, Filter: f,
					Definition: `{"pull":{}}`}, nil
			}}
	}
	g.Server, g.API = s.config.open(t, s.sources, parts)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	g.url = "http://" + listener.Addr().String()
	transport := &http.Transport{}
	g.client = &http.Client{Transport: transport, Timeout: within}
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener, httpserver.Everything) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		if err := g.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v, want http.ErrServerClosed", err)
		}
	})
	return g
}

func testConfig(log io.Writer) gateConfig {
	return gateConfig{
		MaxBodyBytes:      1 << 20,
		MaxUnpackedBytes:  4 << 20,
		MaxHeaderBytes:    64 << 10,
		MaxHeaderMemory:   64 << 20,
		MaxConnections:    1000,
		ReadHeaderTimeout: within,
		ReadTimeout:       within,
		IdleTimeout:       within,
		Config: Config{
			WriteTimeout: within,
			RetryAfter:   1500 * time.Millisecond,
			AdminTokens:  []string{"admin-token-older-9910", adminToken},
			FailedLogins: 1000,
			SessionIdle:  time.Hour,
			SearchTime:   within,
			MaxStreams:   2,
			SessionMax:   10 * time.Hour,
			Version:      "test-version",
			Logger: slog.New(slog.NewJSONHandler(log,
				&slog.HandlerOptions{Level: slog.LevelDebug})),
		},
	}
}

func testSources(t testing.TB) []ingest.Source {
	t.Helper()
	envelope, err := admit.New("envelope", admit.Options{BearerKeys: []string{bearerKey},
		Secrets: []string{hmacSecret}})
	must(t, err)
	github, err := admit.New("github", admit.Options{Secrets: []string{githubSecret},
		Places: admit.Places{OrderingKey: []admit.Place{{"repository.full_name"}}}})
	must(t, err)
	return []ingest.Source{
		{Name: ingest.DefaultSource, Scheme: envelope, KeepHeaders: []string{"x-kept"}},
		{Name: "github", Scheme: github, KeepHeaders: []string{"X-GitHub-Event"}},
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// json reads the body as an object and fails if it is anything else.
func (a *answer) json(t testing.TB) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(a.body, &object); err != nil {
		t.Fatalf("answer %d is not a JSON object: %v: %q", a.status, err, a.body)
	}
	return object
}

// errorText returns the text of an error answer.
func (a *answer) errorText(t testing.TB) string {
	t.Helper()
	text, _ := a.json(t)["error"].(string)
	return text
}

// want fails unless the answer has the status.
func (a *answer) want(t testing.TB, status int) *answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d; body %q", a.status, status, a.body)
	}
	return a
}

// do sends a request with headers given as name, value, name, value.
func (g *gate) do(t testing.TB, method, path string, body io.Reader, headers ...string) *answer {
	t.Helper()
	a, err := g.try(method, path, body, headers...)
	must(t, err)
	return a
}

// try is do for other goroutines and for requests that may fail.
func (g *gate) try(method, path string, body io.Reader, headers ...string) (*answer, error) {
	r, err := http.NewRequest(method, g.url+path, body)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	response, err := g.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return &answer{response.StatusCode, response.Header, text}, err
}

// post sends a body to the default source with the bearer key.
func (g *gate) post(t testing.TB, body string) *answer {
	t.Helper()
	return g.do(t, http.MethodPost, "/webhooks", strings.NewReader(body), "Authorization", "Bearer "+
		bearerKey)
}

// admin calls with the admin token.
func (g *gate) admin(t testing.TB, method, path, body string, headers ...string) *answer {
	t.Helper()
	return g.do(t, method, path, strings.NewReader(body), append(headers, "Authorization", "Bearer "+
		adminToken)...)
}

// settle stores everything that is queued, as a worker does.
func (g *gate) settle(t testing.TB) {
	t.Helper()
	g.settleBut(t, func(*hookgate.Record) bool { return false })
}

// settleBut stores everything that is queued, and as dead letters what the store would reject.
func (g *gate) settleBut(t testing.TB, rejected func(*hookgate.Record) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	consumer, err := g.queue.OpenReader(ctx)
	must(t, err)
	defer consumer.Close()
	owned := map[int]bool{}
	for {
		stats, err := g.queue.Stats(ctx)
		must(t, err)
		if stats.Depth == 0 {
			return
		}
		records, err := consumer.Next(ctx, 100, 1<<20)
		must(t, err)
		b := &hookgate.Batch{Epochs: g.lease, Worker: "test", ProcessedAt: time.Now(), Attempts: 1}
		for _, r := range records {
			if !owned[r.Partition] {
				owned[r.Partition] = true
				g.lease[r.Partition], err = g.store.Acquire(ctx, r.Partition)
				must(t, err)
			}
			events, err := r.Split()
			must(t, err)
			for _, e := range events {
				if rejected(&e) {
					b.Dead = append(b.Dead, hookgate.DeadLetter{Record: e, Reason: "rejected: " + e.EventType})
				} else {
					b.Records = append(b.Records, e)
				}
			}
		}
		_, err = g.store.Apply(ctx, b)
		must(t, err)
		must(t, consumer.Commit(ctx, hookgate.LastOffsets(records)))
	}
}

// hmacHex is the signature of a body.
func hmacHex(secret, body string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(body))
	return "sha256=" + hex.EncodeToString(h.Sum(nil))
}

// envelope is a body of the default source; rest is put behind the identity.
func envelope(id, eventType, rest string) string {
	return `{"messageId":"` + id + `","eventType":"` + eventType + `"` + rest + `}`
}

// envelopeOf is an envelope of exactly size bytes.
func envelopeOf(id string, size int) string {
	empty := envelope(id, "sized", `,"pad":""`)
	return envelope(id, "sized", `,"pad":"`+strings.Repeat("p", size-len(empty))+`"`)
}

// logBuffer collects what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fakeQueue records deliveries and answers what the test says.
type fakeQueue struct {
	hookgate.BufferedQueue
	appended func(context.Context, *hookgate.Request) (hookgate.Receipt, error) // nil: accepts
	stats    func() (hookgate.QueueStats, error)                                // nil: empty and well

	mu  sync.Mutex
	got []hookgate.Request
}

func (q *fakeQueue) Append(ctx context.Context, d *hookgate.Request) (hookgate.Receipt, error) {
	kept := *d
	kept.Body, kept.Headers = bytes.Clone(d.Body), slices.Clone(d.Headers)
	q.mu.Lock()
	q.got = append(q.got, kept)
	q.mu.Unlock()
	if q.appended == nil {
		return hookgate.Receipt{}, nil
	}
	return q.appended(ctx, d)
}

func (q *fakeQueue) Stats(context.Context) (hookgate.QueueStats, error) {
	if q.stats == nil {
		return hookgate.QueueStats{HighWater: 10, Partitions: 1}, nil
	}
	return q.stats()
}

// deliveries returns what reached Append.
func (q *fakeQueue) deliveries() []hookgate.Request {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.got)
}

// fakeMode is a mode in memory.
type fakeMode struct {
	control.Settings
	readOnly atomic.Bool
	err      error
}

func (m *fakeMode) Mode() control.Mode {
	if m.readOnly.Load() {
		return control.ModeReadOnly
	}
	return control.ModeNormal
}

func (m *fakeMode) SetMode(_ context.Context, mode control.Mode) error {
	if m.err == nil {
		m.readOnly.Store(mode == control.ModeReadOnly)
	}
	return m.err
}

// fakeReader yields n events and then err; every other call answers err.
type fakeReader struct {
	hookgate.Reader
	n   int
	err error
}

func (r *fakeReader) Events(context.Context,
	hookgate.EventFilter) iter.Seq2[hookgate.StoredEvent, error] {
	return func(yield func(hookgate.StoredEvent, error) bool) {
		for i := range r.n {
			if !yield(hookgate.StoredEvent{ID: "id-" + string(rune('a'+i%26))}, nil) {
				return
			}
		}
		if r.err != nil {
			yield(hookgate.StoredEvent{}, r.err)
		}
	}
}

func (r *fakeReader) Event(context.Context, string) (hookgate.StoredEvent, error) {
	return hookgate.StoredEvent{}, r.err
}
func (r *fakeReader) Body(context.Context, string) ([]byte, error) { return nil, r.err }
func (r *fakeReader) Trace(context.Context, string, hookgate.RequestID,
	int) ([]hookgate.RequestTrail, error) {
	return nil, r.err
}
func (r *fakeReader) Counts(context.Context) (hookgate.StoreCounts, error) {
	return hookgate.StoreCounts{}, r.err
}
func (r *fakeReader) Ping(context.Context) error { return r.err }
