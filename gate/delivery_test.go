package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/control"
	"github.com/hookgate/hookgate/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m).Run()) }

// consumer is a server that receives events.
type consumer struct {
	*httptest.Server
	got chan string // the message ids and attempts, in the order of their arrival
	// hold keeps each answer back until it is closed, if it is set.
	hold   atomic.Pointer[chan struct{}]
	status atomic.Int32 // of the answers; 0: 200
}

func newConsumer(t *testing.T) *consumer {
	c := &consumer{got: make(chan string, 1000)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		c.got <- r.Header.Get("Hookgate-Message-Id") + "/" + r.Header.Get("Hookgate-Attempt")
		if hold := c.hold.Load(); hold != nil {
			<-*hold
		}
		if status := c.status.Load(); status != 0 {
			w.WriteHeader(int(status))
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// next waits for the next event.
func (c *consumer) next(t *testing.T) string {
	t.Helper()
	select {
	case got := <-c.got:
		return got
	case <-time.After(2 * time.Minute):
		t.Fatal("the consumer gets nothing")
	}
	return ""
}

// expect waits for the next events and compares their ids.
func (c *consumer) expect(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if got := c.next(t); got != id {
			t.Errorf("the consumer got %s, want %s", got, id)
		}
	}
}

// nothing checks that no event has arrived.
func (c *consumer) nothing(t *testing.T) {
	t.Helper()
	select {
	case got := <-c.got:
		t.Errorf("the consumer got %s", got)
	default:
	}
}

// running runs a gate until the function that it returns is called, or the test ends.
func running(t *testing.T, o Options) (g *Gate, stop func()) {
	t.Helper()
	g, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return g, run(t, g)
}

// run runs a gate until the function that it returns is called, or the test ends. Then it closes
// the gate.
func run(t *testing.T, g *Gate) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-ended, g.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func sendIDs(t *testing.T, g *Gate, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if status := send(t, g.Handler(), g.options, fmt.Sprintf(
			`{"messageId":%q,"eventType":"t","orderingKey":"k"}`, id)); status != 202 {
			t.Errorf("%s is answered %d", id, status)
		}
	}
}

// signal is a log handler that closes a channel at the first record whose message begins with text.
type signal struct {
	slog.Handler
	text string
	seen chan struct{}
	once sync.Once
}

func newSignal(text string) *signal {
	return &signal{Handler: slog.DiscardHandler, text: text, seen: make(chan struct{})}
}

func (s *signal) Enabled(context.Context, slog.Level) bool { return true }

func (s *signal) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, s.text) {
		s.once.Do(func() { close(s.seen) })
	}
	return nil
}

func (s *signal) WithAttrs([]slog.Attr) slog.Handler { return s }

// TestDelivery: a gate pushes what it stores. When it stops, it waits for the attempt in flight and
// stores its result, so that the next start does not repeat it.
func TestDelivery(t *testing.T) {
	c := newConsumer(t)
	hold := make(chan struct{})
	c.hold.Store(&hold)
	o := embedded(t)
	o.Subscriptions = map[string]SubscriptionOptions{"billing": PushTo(c.URL)}
	stopping := newSignal("shutting down")
	o.Logger = slog.New(stopping)
	g, stop := running(t, o)
	if s := g.Startup().Subscriptions; len(s) != 1 || s[0].Name != "billing" || s[0].Info == nil ||
		s[0].Host != c.Listener.Addr().String() {
		t.Errorf("the gate started with %+v", s)
	}
	sendIDs(t, g, "a", "b")
	c.expect(t, "a/1")
	go func() {
		<-stopping.seen
		close(hold)
	}()
	stop()
	g, _ = running(t, o)
	sendIDs(t, g, "c")
	c.expect(t, "b/1", "c/1") // and not a
}

// TestStopTimeout: an attempt that does not end within ShutdownTimeout is cut off. It does not
// count, so the next start makes the first attempt again.
func TestStopTimeout(t *testing.T) {
	c := newConsumer(t)
	hold := make(chan struct{})
	c.hold.Store(&hold)
	o := embedded(t)
	o.ShutdownTimeout = 20 * time.Millisecond
	o.Subscriptions = map[string]SubscriptionOptions{"billing": PushTo(c.URL)}
	g, stop := running(t, o)
	sendIDs(t, g, "a")
	c.expect(t, "a/1")
	stop()
	close(hold)
	running(t, o)
	c.expect(t, "a/1")
}

// TestModeOfDelivery: in the mode buffer, when the store may be under maintenance, nothing is
// delivered, also after a restart; in read_only everything is.
func TestModeOfDelivery(t *testing.T) {
	c := newConsumer(t)
	o := embedded(t)
	g, stop := running(t, o)
	sendIDs(t, g, "a", "b")
	setMode := func(m control.Mode) {
		if err := g.backends.settings.SetMode(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	setMode(control.ModeBuffer)
	stop()
	s := PushTo(c.URL)
	s.Start.At = hookgate.StartBeginning
	o.Subscriptions = map[string]SubscriptionOptions{"billing": s}
	g, _ = running(t, o)
	for len(g.delivery.Status()) == 0 {
		runtime.Gosched()
	}
	c.nothing(t)
	setMode(control.ModeReadOnly)
	c.expect(t, "a/1", "b/1")
}

// TestRemovedSubscription: a subscription that is missing for a start keeps its place. When it is
// back it gets the events stored meanwhile, and its start does not count.
func TestRemovedSubscription(t *testing.T) {
	c := newConsumer(t)
	o := embedded(t)
	with := o
	with.Subscriptions = map[string]SubscriptionOptions{"billing": PushTo(c.URL)}
	g, stop := running(t, with)
	sendIDs(t, g, "a")
	c.expect(t, "a/1")
	stop()
	g, stop = running(t, o)
	sendIDs(t, g, "b")
	for removed := false; !removed; { // soon after Run has begun
		infos, err := g.backends.subscriptions.Subscriptions(t.Context())
		if err != nil || len(infos) != 1 {
			t.Fatalf("without the subscription the store has %+v, %v", infos, err)
		}
		removed = !infos[0].RemovedAt.IsZero()
	}
	stop()
	running(t, with)
	c.expect(t, "b/1")
	c.nothing(t)
}

// TestSubscriptionsThatCannotOpen: Open names all secrets and files that cannot be used, and shows
// no secret. A pull subscription stops it in every role.
func TestSubscriptionsThatCannotOpen(t *testing.T) {
	o := embedded(t)
	a, b := PushTo("https://a.example.com/"), PushTo("http://b.example.com/")
	a.Push.Signing = Secrets{"env:HOOKGATE_NOBODY", "hunter2hunter2!",
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
	a.Push.TLSCA = "/no/ca.pem"
	b.Push.Signing = Secrets{"whsec_hunter2!"}
	b.Push.Headers = map[string]string{"X-Token": "file:/no/token"}
	pull := PushTo("")
	pull.Push, pull.Pull = nil, &PullOptions{}
	o.Subscriptions = map[string]SubscriptionOptions{"a": a, "b": b, "c": pull}
	_, err := Open(t.Context(), o)
	if err == nil {
		t.Fatal("the gate opens")
	}
	for _, want := range []string{
		"subscriptions.a.push.signing: secret 1: environment variable HOOKGATE_NOBODY is empty",
		"subscriptions.a.push.signing: secret 2: is not base64", "subscriptions.a.push.tls: ",
		"subscriptions.b.push.signing: secret 1: is not base64",
		"subscriptions.b.push.headers.X-Token: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error %v does not have %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows a secret: %v", err)
	}
}

// TestOrderCannotChange: another order stops the start while an event is waiting.
func TestOrderCannotChange(t *testing.T) {
	c := newConsumer(t)
	c.status.Store(http.StatusBadRequest)
	o := embedded(t)
	o.Subscriptions = map[string]SubscriptionOptions{"billing": PushTo(c.URL)}
	g, stop := running(t, o)
	sendIDs(t, g, "a")
	c.expect(t, "a/1")
	stop()
	s := PushTo(c.URL)
	s.Order = hookgate.OrderAll
	o.Subscriptions = map[string]SubscriptionOptions{"billing": s}
	_, err := Open(t.Context(), o)
	if order := (*hookgate.OrderError)(nil); !errors.As(err, &order) ||
		!strings.HasPrefix(err.Error(), "subscriptions.billing.order: ") {
		t.Errorf("Open returned %v", err)
	}
}

// newDatabase returns a cluster and an empty database in it.
func newDatabase(t *testing.T) (*pgtest.Cluster, string) {
	t.Helper()
	cluster, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	name, err := cluster.NewDatabase(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Recycle(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return cluster, name
}

// shared are the options of a gate over a database, in a folder of its own.
func shared(t *testing.T, url string, subscriptions map[string]SubscriptionOptions) Options {
	o := embedded(t)
	o.Database.URL, o.Database.MaxConnections = url, 4
	o.Subscriptions = subscriptions
	return o
}

// TestSimultaneousStarts: three processes that start at once with a new subscription make one, and
// one of them delivers. Webhooks of each, taken as soon as it is open, are delivered once.
func TestSimultaneousStarts(t *testing.T) {
	c := newConsumer(t)
	cluster, database := newDatabase(t)
	var starts sync.WaitGroup
	gates := make([]*Gate, 3)
	for i := range gates {
		o := shared(t, cluster.URL(database), map[string]SubscriptionOptions{
			"billing": PushTo(c.URL)})
		starts.Go(func() {
			g, _ := running(t, o)
			gates[i] = g
			sendIDs(t, g, fmt.Sprint("first-", i), fmt.Sprint("second-", i))
		})
	}
	starts.Wait()
	got := map[string]int{}
	for range 6 {
		got[c.next(t)]++
	}
	for i := range gates {
		if got[fmt.Sprintf("first-%d/1", i)] != 1 || got[fmt.Sprintf("second-%d/1", i)] != 1 {
			t.Errorf("the consumer got %v", got)
		}
	}
	owners := 0
	for _, g := range gates {
		owners += len(g.delivery.Status())
	}
	infos, err := gates[0].backends.subscriptions.Subscriptions(t.Context())
	if err != nil || len(infos) != 1 || infos[0].Revision != 1 || owners != 1 {
		t.Errorf("the store has %+v, %v; %d processes deliver", infos, err, owners)
	}
}

// TestRollingRestart: a process with a newer definition takes the subscription from one with an
// older definition, which does not take it back. The older process stops, and nothing is lost.
func TestRollingRestart(t *testing.T) {
	before, after := newConsumer(t), newConsumer(t)
	cluster, database := newDatabase(t)
	older, stopOlder := running(t, shared(t, cluster.URL(database),
		map[string]SubscriptionOptions{"billing": PushTo(before.URL)}))
	sendIDs(t, older, "a")
	before.expect(t, "a/1")
	newer, _ := running(t, shared(t, cluster.URL(database),
		map[string]SubscriptionOptions{"billing": PushTo(after.URL)}))
	sendIDs(t, older, "b")
	var got string
	select {
	case <-before.got: // the older process had not noticed yet
		got = before.URL
	case <-after.got:
		got = after.URL
	case <-time.After(2 * time.Minute):
		t.Fatal("nobody got b")
	}
	for len(newer.delivery.Status()) == 0 {
		older.delivery.Wake() // both would look again within a third of the lease
		newer.delivery.Wake()
		time.Sleep(10 * time.Millisecond)
	}
	sendIDs(t, older, "c")
	after.expect(t, "c/1")
	if owned := older.delivery.Status(); len(owned) != 0 {
		t.Errorf("b went to %s, and the older process still has %+v", got, owned)
	}
	stopOlder()
	sendIDs(t, newer, "d")
	after.expect(t, "d/1")
	before.nothing(t)
}

// TestStartWithoutPostgres: a gate that starts while PostgreSQL is away delivers what it took
// meanwhile as soon as PostgreSQL is back, although its subscription starts now.
func TestStartWithoutPostgres(t *testing.T) {
	c := newConsumer(t)
	cluster, database := newDatabase(t)
	proxy, err := pgtest.StartProxy("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() }) // after the gate has stopped
	o := shared(t, proxy.URL(database)+"&connect_timeout=1", map[string]SubscriptionOptions{
		"billing": PushTo(c.URL)})
	g, _ := running(t, o)
	if s := g.Startup().Subscriptions; len(s) != 1 || s[0].Info != nil {
		t.Errorf("the gate started with %+v", s)
	}
	sendIDs(t, g, "a", "b")
	proxy.Move(cluster.Address())
	c.expect(t, "a/1", "b/1")
}

// TestRoles: a process with the role ingest stores the definitions and delivers nothing; one with
// the role deliver delivers. The role worker or ingest does not mark a subscription as removed.
func TestRoles(t *testing.T) {
	c := newConsumer(t)
	cluster, database := newDatabase(t)
	other := PushTo(c.URL)
	other.Types = []string{"x"}
	both := map[string]SubscriptionOptions{"billing": PushTo(c.URL), "other": other}
	o := shared(t, cluster.URL(database), both)
	o.Role = RoleIngest
	ingest, stopIngest := running(t, o)
	sendIDs(t, ingest, "a")
	infos, err := ingest.backends.subscriptions.Subscriptions(t.Context())
	if err != nil || len(infos) != 2 || len(ingest.delivery.Status()) != 0 {
		t.Errorf("the store has %+v, %v; and the process delivers %v", infos, err,
			ingest.delivery.Status())
	}
	o = shared(t, cluster.URL(database), both)
	o.Role = RoleDeliver
	running(t, o)
	c.expect(t, "a/1")
	stopIngest()
	o = shared(t, cluster.URL(database), map[string]SubscriptionOptions{"billing": both["billing"]})
	o.Role = RoleIngest
	ingest, _ = running(t, o)
	infos, err = ingest.backends.subscriptions.Subscriptions(t.Context())
	if err != nil || len(infos) != 2 || !infos[1].RemovedAt.IsZero() {
		t.Errorf("the store has %+v, %v", infos, err)
	}
}
