package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/internal/redistest"
	"github.com/hookgate/hookgate/load"
)

// shared is a Redis and a PostgreSQL database that the gates of a test use.
type shared struct {
	t        *testing.T
	redis    *redistest.Server
	redisURL string
	postgres *pgtest.Cluster
	database string
}

// newShared starts a Redis that syncs every write, and makes a database in the PostgreSQL of this
// package.
func newShared(t *testing.T) *shared {
	t.Helper()
	redis := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	s := newSharedOn(t, redis.URL())
	s.redis = redis
	return s
}

// newMortal is newShared with a PostgreSQL of its own, for a test that stops it.
func newMortal(t *testing.T) *shared {
	t.Helper()
	redis := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	s := &shared{t: t, redis: redis, redisURL: redis.URL()}
	s.postgres, s.database = startPostgres(t, pgtest.Options{})
	return s
}

// newSharedOn makes a database to go with a running Redis.
func newSharedOn(t *testing.T, redisURL string) *shared {
	t.Helper()
	s := &shared{t: t, redisURL: redisURL}
	s.postgres, s.database = sharedPostgres(t)
	return s
}

// sharedPostgres makes a database in the PostgreSQL of this package.
func sharedPostgres(t *testing.T) (cluster *pgtest.Cluster, database string) {
	t.Helper()
	cluster, err := pgtest.Shared()
	if err != nil {
		t.Fatal(err)
	}
	return cluster, newDatabase(t, cluster)
}

// startPostgres starts a server with an empty database. The end of the test stops it.
func startPostgres(t *testing.T, o pgtest.Options) (cluster *pgtest.Cluster, database string) {
	t.Helper()
	cluster, err := pgtest.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			t.Errorf("end postgres: %v", err)
		}
	})
	return cluster, newDatabase(t, cluster)
}

func newDatabase(t *testing.T, cluster *pgtest.Cluster) string {
	t.Helper()
	name, err := cluster.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// env returns the settings with which a gate uses both. Time limits are short, so that the tests
// are.
func (s *shared) env() []string {
	return []string{
		"REDIS_URL=" + s.redisURL, "DB_URL=" + s.postgres.URL(s.database),
		"HOOKGATE_QUEUE_TIMEOUT=300ms", "HOOKGATE_REDIS_LEASE_TTL=1s",
	}
}

// start starts a gate with a role.
func (s *shared) start(role string, more ...string) *gate {
	s.t.Helper()
	return startGate(s.t, startOptions{env: append(s.env(), more...), args: []string{"--role", role}})
}

func (s *shared) restartPostgres() {
	s.t.Helper()
	if err := s.postgres.Restart(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// stream sends new events on an open-loop schedule, and repeats one in twenty. It runs until the
// test ends it, so a test on a slow machine still sees its condition come true.
type stream struct {
	t *testing.T
	// name is the prefix of its message ids and ordering keys.
	name string
	// mixed adds events of keylessType, which have no ordering key, and of rareType.
	mixed  bool
	ledger string
	ends   atomic.Bool
	done   chan struct{}
	err    error
	// summary and input, the lines that were sent, are complete when done is closed.
	summary load.Summary
	input   []byte
}

const (
	keylessType = "order.viewed"    // a seventh of a mixed stream
	rareType    = "order.cancelled" // a twentieth
)

// startStream sends so many events a second to a gate.
func startStream(t *testing.T, g *gate, rate float64) *stream {
	t.Helper()
	return startNamedStream(t, g, rate, "")
}

// startNamedStream is startStream for one of several streams with different names. The short form
// sends at most shortRate events a second, so that the tests take less of the processor.
func startNamedStream(t *testing.T, g *gate, rate float64, name string) *stream {
	t.Helper()
	return startStreamOf(t, g, rate, &stream{name: name})
}

// startStreamOf is startNamedStream for a stream with these settings.
func startStreamOf(t *testing.T, g *gate, rate float64, s *stream) *stream {
	t.Helper()
	const shortRate = 100
	rate = modeltest.Pick(min(rate, shortRate), rate)
	s.t, s.ledger = t, filepath.Join(t.TempDir(), "ledger.ndjson")
	s.done = make(chan struct{})
	ledger, err := os.Create(s.ledger)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	config := load.Config{
		Messages: s.messages, Target: g.url,
		Credentials: load.Credentials{HMACSecret: g.key(hmacSecretName)}, Rate: rate, Ledger: ledger,
		ReadAhead: modeltest.Pick(50, 1000), // the end of the stream sends what it has read
		Timeout:   waitFor,
		Retry: load.Retry{Attempts: math.MaxInt, Base: 20 * time.Millisecond, Max: 300 * time.Millisecond,
			MaxRetryAfter: 300 * time.Millisecond},
	}
	go func() {
		defer close(s.done)
		summary, err := load.Replay(ctx, config)
		s.summary, s.err = summary, errors.Join(err, ledger.Close())
	}()
	t.Cleanup(func() {
		cancel() // otherwise the stream would send to a dead gate forever
		<-s.done
	})
	return s
}

// messages yields the messages: events of 100 ordering keys, numbered within each.
func (s *stream) messages(yield func(load.Message, error) bool) {
	var sent [][]byte
	var sequences [100]int
	filling := strings.Repeat("x", 350)
	for n := 0; !s.ends.Load(); n++ {
		var body []byte
		switch {
		case n%20 == 19:
			body = sent[len(sent)-1-rand.IntN(min(len(sent), 500))]
		case s.mixed && n%7 == 3:
			body = fmt.Appendf(nil, `{"messageId":"%sm-%d","eventType":"%s","payload":{}}`, s.name, n,
				keylessType)
		default:
			key, eventType := rand.IntN(len(sequences)), "order.paid"
			if s.mixed && n%20 == 11 {
				eventType = rareType
			}
			sequences[key]++
			body = fmt.Appendf(nil, `{"messageId":"%sm-%d","eventType":%q,"orderingKey":"%scustomer-%d",`+
				`"sequence":%d,"payload":{"data":%q}}`, s.name, n, eventType, s.name, key, sequences[key],
				filling)
		}
		if n%20 != 19 {
			sent = append(sent, body)
		}
		s.input = append(append(s.input, body...), '\n')
		if !yield(load.Message{Body: body}, nil) {
			return
		}
	}
}

// whileSending calls f so many times at random moments, apart from each other by this time on
// average, and then ends the stream.
func (s *stream) whileSending(times int, apart time.Duration, f func(n int)) {
	s.t.Helper()
	for n := range times {
		select {
		case <-s.done:
			s.t.Fatalf("the stream has ended: %v", s.err)
		case <-time.After(apart/2 + rand.N(apart)):
			f(n)
		}
	}
	s.end()
}

// end ends the stream after the answer to the last message.
func (s *stream) end() {
	s.t.Helper()
	s.ends.Store(true)
	<-s.done
	if s.err != nil || !s.summary.OK() {
		s.t.Fatalf("the stream ended with %v: %+v", s.err, s.summary)
	}
}

// TestPairings sends one stream to all four pairs of queue and store, and compares what they
// stored.
func TestPairings(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	var input bytes.Buffer
	if err := (load.Generator{Count: modeltest.Pick(400, 1500), Keys: 20, DuplicatePercent: 10,
		Size: 300, Seed: 5}).Generate(t.Context(), &input); err != nil {
		t.Fatal(err)
	}
	stored := map[string][]string{}
	for name, env := range map[string][]string{
		"embedded":         nil,
		"Redis and SQLite": {"REDIS_URL=" + s.redis.URL(), "HOOKGATE_REDIS_PREFIX=one"},
		"PostgreSQL":       {"DB_URL=" + s.postgres.URL(newDatabase(t, s.postgres))},
		"Redis and PostgreSQL": {"REDIS_URL=" + s.redis.URL(), "HOOKGATE_REDIS_PREFIX=two", "DB_URL=" +
			s.postgres.URL(newDatabase(t, s.postgres))},
	} {
		g := startGate(t, startOptions{env: env})
		ledgerFile := filepath.Join(t.TempDir(), "ledger.ndjson")
		ledger, err := os.Create(ledgerFile)
		if err != nil {
			t.Fatal(err)
		}
		summary, err := load.Replay(t.Context(), load.Config{Input: bytes.NewReader(input.Bytes()),
			Target: g.url, Ledger: ledger,
			Credentials: load.Credentials{HMACSecret: g.key(hmacSecretName)}, Retry: load.DefaultRetry})
		if err != nil || !summary.OK() {
			t.Fatalf("%s: %+v %v", name, summary, err)
		}
		ledger.Close()
		g.awaitDrained()
		auditStore(t, g, input.Bytes(), ledgerFile)
		stored[name] = rows(t, g)
		g.stop()
	}
	for name, got := range stored {
		if !slices.Equal(got, stored["embedded"]) {
			t.Errorf("%s has stored %d rows that are not those of the embedded pairing, %d", name, len(got),
				len(stored["embedded"]))
		}
	}
}

// rows describes the stored events, those of each ordering key in the order stored.
func rows(t *testing.T, g *gate) []string {
	t.Helper()
	status, body := g.request(http.MethodGet, "/api/events", "", "Accept", "application/x-ndjson")
	if status != http.StatusOK {
		t.Fatalf("read events: %d %s", status, body)
	}
	byKey := map[string][]string{}
	for line := range strings.Lines(body) {
		e := parseEvent(t, line)
		byKey[e.OrderingKey] = append(byKey[e.OrderingKey],
			fmt.Sprint(e.Source, e.EventType, e.MessageID, e.OrderingKey, e.Sequence, e.Partition, e.Size,
				e.SHA256))
	}
	var all []string
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		all = append(all, byKey[key]...)
	}
	return all
}

// TestEverythingDies kills the gate, a worker process, Redis and PostgreSQL with SIGKILL at random
// moments under load, and restarts each. auditStore checks the result.
func TestEverythingDies(t *testing.T) {
	t.Parallel()
	s := newMortal(t)
	ingest, worker := s.start(roleIngest), s.start(roleWorker)
	stream := startStream(t, ingest, 500)
	deaths := map[string]int{}
	stream.whileSending(modeltest.Pick(4, 24), 400*time.Millisecond, func(n int) {
		victim := []string{"gate", "worker", "redis", "postgres"}[n%4]
		deaths[victim]++
		switch victim {
		case "gate":
			ingest.kill()
			ingest = startGate(t, startOptions{dir: ingest.dir, listen: strings.TrimPrefix(ingest.url,
				"http://"), env: s.env(), args: []string{"--role", roleIngest}})
		case "worker":
			worker.kill()
			worker = s.start(roleWorker)
		case "redis":
			s.redis.Kill()
			s.redis.Restart()
		case "postgres":
			if err := s.postgres.Kill(); err != nil {
				t.Fatal(err)
			}
			s.restartPostgres()
		}
	})
	if len(deaths) != 4 {
		t.Errorf("not everything died: %v", deaths)
	}
	ingest.awaitDrained()
	t.Logf("deaths: %v\n%+v", deaths, stream.summary)
	auditStore(t, ingest, stream.input, stream.ledger)
}

// TestWorkersComeAndGo starts and kills worker processes in turn while events arrive. The workers
// share the partitions evenly, and no event is lost, doubled or out of order.
func TestWorkersComeAndGo(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	ingest := s.start(roleIngest)
	workers := []*gate{s.start(roleWorker)}
	stream := startStream(t, ingest, modeltest.Pick(500.0, 1500))
	stream.whileSending(modeltest.Pick(4, 30), 500*time.Millisecond, func(n int) {
		if len(workers) < 3 {
			workers = append(workers, s.start(roleWorker))
			return
		}
		i := rand.IntN(len(workers))
		workers[i].kill()
		workers = slices.Delete(workers, i, i+1)
	})
	if len(workers) == 0 {
		workers = append(workers, s.start(roleWorker))
	}
	ingest.awaitDrained()
	auditStore(t, ingest, stream.input, stream.ledger)
}

// TestStaleOwner stops a worker until its lease has run out, and continues it while its successor
// stores. The fence rejects its batch.
func TestStaleOwner(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	ingest, stale := s.start(roleIngest), s.start(roleWorker)
	stream := startStream(t, ingest, 500)
	stored := func() int64 { return ingest.health().Store.Events }
	ingest.await("it is in the middle of its work", func() bool { return stored() > 100 })
	stale.signal(syscall.SIGSTOP)
	s.start(roleWorker)
	before := stored()
	ingest.await("its lease has run out and its successor stores",
		func() bool { return stored() > before+200 })
	stale.signal(syscall.SIGCONT)
	before = stored()
	ingest.await("the stale one has had time to try", func() bool { return stored() > before+100 })
	stream.end()
	ingest.awaitDrained()
	auditStore(t, ingest, stream.input, stream.ledger)
}

// TestRedisHangs stops Redis, so that it accepts connections and does not answer. The gate
// acknowledges webhooks, and health and readiness describe the problem. Afterwards everything is
// stored in order, and some trails have the stage spooled.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	g := s.start(roleAll)
	stream := startStream(t, g, 500)
	g.await("something is stored", func() bool { return g.health().Store.Events > 100 })
	hung := time.Now()
	s.redis.Hang()
	g.await("the gate spools", func() bool {
		h := g.health()
		return h.Status == "degraded" &&
			h.Queue.Spooled > 100
	})
	if status, body := g.request(http.MethodGet, "/readyz", ""); status != http.StatusOK {
		t.Errorf("while it spools the gate is not ready: %d %s", status, body)
	}
	s.redis.Resume()
	stream.end()
	g.await("the gate is well again", func() bool { return g.health().Status == "ok" })
	g.awaitDrained()
	auditStore(t, g, stream.input, stream.ledger)
	if !strings.Contains(g.logs.String(), "spooled on this machine") {
		t.Error("the log does not tell of the spool")
	}
	// The gate spooled more than a hundred of the events sent meanwhile.
	_, body := g.request(http.MethodGet, "/api/events?limit=200&from="+
		hung.UTC().Format(time.RFC3339Nano), "", "Accept", "application/x-ndjson")
	spooled := 0
	for line := range strings.Lines(body) {
		if _, trail := g.request(http.MethodGet, "/api/trace/"+parseEvent(t, line).MessageID,
			""); strings.Contains(trail, `"stage":"spooled"`) {
			spooled++
		}
	}
	if spooled < 50 {
		t.Errorf("of 200 events that came while Redis hung the trails of %d tell of the spool", spooled)
	}
}

// TestSpoolOff stops Redis under a gate without a spool. The gate answers 503 with Retry-After and
// acknowledges nothing.
func TestSpoolOff(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	file := filepath.Join(t.TempDir(), "hookgate.yaml")
	if err := os.WriteFile(file, []byte("spool: off\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := s.start(roleAll, "HOOKGATE_CONFIG="+file)
	s.redis.Hang()
	if status, body := g.send(`{"messageId":"m","eventType":"t"}`); status != http.StatusServiceUnavailable {
		t.Errorf("while Redis hangs a webhook is answered %d %s", status, body)
	}
	s.redis.Resume()
	g.await("webhooks are taken again", func() bool {
		status, _ := g.send(`{"messageId":"m","eventType":"t"}`)
		return status == http.StatusAccepted
	})
	g.awaitDrained()
	if got := rows(t, g); len(got) != 1 {
		t.Errorf("%d events are stored, want 1", len(got))
	}
}

// TestPoison sends a hundred records of which the database rejects one. That one becomes a dead
// letter, with one line in the log, and the others are stored.
func TestPoison(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	ingest := s.start(roleIngest) // no worker yet, so that one batch has all of them
	ingest.await("the tables are there", func() bool { return ingest.health().Status == "ok" })
	if err := s.postgres.Exec(t.Context(), s.database,
		"ALTER TABLE hookgate.webhook_events ADD CHECK (message_id <> 'm-42')"); err != nil {
		t.Fatal(err)
	}
	for n := range 100 {
		if status, body := ingest.send(fmt.Sprintf(`{"messageId":"m-%d","eventType":"t"}`,
			n)); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
	}
	worker := s.start(roleWorker)
	ingest.awaitDrained()
	if got := rows(t, ingest); len(got) != 99 {
		t.Errorf("%d events are stored, want 99", len(got))
	}
	if _, body := ingest.request(http.MethodGet, "/api/health", ""); !strings.Contains(body,
		`"dead_letters":1`) {
		t.Errorf("health %s", body)
	}
	if _, body := ingest.request(http.MethodGet, "/api/trace/m-42", ""); !strings.Contains(body,
		`"dead_lettered"`) {
		t.Errorf("trace %s", body)
	}
	if n := strings.Count(worker.logs.String(), "is now a dead letter"); n != 1 {
		t.Errorf("%d lines in the log tell of the dead letter, want 1:\n%s", n, worker.logs)
	}
	if _, body := worker.request(http.MethodGet, "/metrics", ""); !strings.Contains(body,
		`webhook_events_total{eventType="t",status="dead_lettered"} 1`) {
		t.Error("the metrics do not count the dead letter")
	}
}

// TestRedisEmptied empties Redis after everything was stored, and sends everything again. No event
// is stored twice.
func TestRedisEmptied(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	g := s.start(roleAll)
	first := startStream(t, g, 500)
	g.await("enough is stored", func() bool { return g.health().Store.Events > 300 })
	first.end()
	g.awaitDrained()
	before := rows(t, g)
	s.redis.MustDo("FLUSHALL")
	summary, err := load.Replay(t.Context(), load.Config{Input: bytes.NewReader(first.input),
		Target:      g.url,
		Credentials: load.Credentials{HMACSecret: g.key(hmacSecretName)}, Retry: load.DefaultRetry})
	if err != nil || !summary.OK() {
		t.Fatalf("%+v %v", summary, err)
	}
	g.awaitDrained()
	if after := rows(t, g); !slices.Equal(before, after) {
		t.Errorf("there are %d rows, and before Redis was emptied %d", len(after), len(before))
	}
	auditStore(t, g, first.input, first.ledger)
}

// TestPostgresAway stops PostgreSQL. The gate acknowledges webhooks, dead-letters nothing, and
// stores everything when PostgreSQL is back.
func TestPostgresAway(t *testing.T) {
	t.Parallel()
	s := newMortal(t)
	g := s.start(roleAll)
	stream := startStream(t, g, 500)
	if err := s.postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	g.await("the health tells", func() bool { return g.health().Store.Error != "" })
	g.await("webhooks are taken all the same",
		func() bool { h := g.health(); return h.Queue.Depth != nil && *h.Queue.Depth > 500 })
	stream.end()
	s.restartPostgres()
	g.awaitDrained()
	auditStore(t, g, stream.input, stream.ledger)
	if strings.Contains(g.logs.String(), "breaker") {
		t.Error("the breaker has opened, although an outage of the database is what the queue is for")
	}
	if _, body := g.request(http.MethodGet, "/api/health", ""); !strings.Contains(body,
		`"dead_letters":0`) {
		t.Errorf("something was dead-lettered: %s", body)
	}
}

// TestPostgresSlow delays PostgreSQL and cuts its connections again and again. Storing is slow and
// acknowledging is not. Everything is stored once and in order.
func TestPostgresSlow(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	direct, err := url.Parse(s.postgres.URL(s.database))
	if err != nil {
		t.Fatal(err)
	}
	proxy := newSlowProxy(t, direct.Host)
	direct.Host = proxy.address()
	g := s.start(roleAll, "DB_URL="+direct.String())
	stream := startStream(t, g, 500)
	proxy.delay.Store(int64(30 * time.Millisecond))
	stream.whileSending(modeltest.Pick(4, 15), 400*time.Millisecond, func(int) { proxy.cut() })
	proxy.delay.Store(0)
	g.awaitDrained()
	auditStore(t, g, stream.input, stream.ledger)
	if _, body := g.request(http.MethodGet, "/api/health", ""); !strings.Contains(body,
		`"dead_letters":0`) {
		t.Errorf("something was dead-lettered: %s", body)
	}
}

// TestMigrate checks that the commands show and update the schema of a new database.
func TestMigrate(t *testing.T) {
	t.Parallel()
	cluster, database := sharedPostgres(t)
	env := []string{"DB_URL=" + cluster.URL(database)}
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"migrate", "status"}, " no\n"}, {[]string{"migrate", "up"}, ""},
		{[]string{"migrate", "up"}, ""}, {[]string{"migrate", "status"}, "Z\n"},
	} {
		if code, out, errs := runBinary(t, env, step.args...); code != 0 ||
			!strings.HasSuffix(out, step.want) {
			t.Errorf("%v ended with %d: %s%s", step.args, code, out, errs)
		}
	}
	if code, _, errs := runBinary(t, nil, "migrate", "status"); code != exitNoResult ||
		!strings.Contains(errs, "DB_URL") {
		t.Errorf("migrate without a database ended with %d: %s", code, errs)
	}
}
