package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/internal/redistest"
)

// sendSome sends n webhooks, expects 202 for each, and returns their message ids.
func sendSome(t *testing.T, g *gate, name string, n int) (ids []string) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("%s-%d", name, i)
		if status, body := g.send(fmt.Sprintf(`{"messageId":%q,"eventType":"t","sequence":%d}`, id,
			i)); status != http.StatusAccepted {
			t.Fatalf("%s is answered %d %s", id, status, body)
		}
		ids = append(ids, id)
	}
	return ids
}

// awaitStored waits until the store has exactly the events with these message ids, in this order.
func (g *gate) awaitStored(ids []string) {
	g.t.Helper()
	var stored []string
	g.await("everything is stored", func() bool {
		status, body := g.request(http.MethodGet, "/api/events", "", "Accept", "application/x-ndjson")
		stored = nil
		for line := range strings.Lines(body) {
			if status == http.StatusOK {
				stored = append(stored, parseEvent(g.t, line).MessageID)
			}
		}
		return len(stored) >= len(ids)
	})
	if fmt.Sprint(stored) != fmt.Sprint(ids) {
		g.t.Errorf("stored are %v, want %v", stored, ids)
	}
}

// awaitHealth waits until the text of /api/health contains want.
func (g *gate) awaitHealth(want string) {
	g.t.Helper()
	g.await("the health tells "+want, func() bool {
		_, body := g.request(http.MethodGet, "/api/health", "")
		return strings.Contains(body, want)
	})
}

// settingsFile writes a configuration file and returns the environment variable that names it.
func settingsFile(t *testing.T, yaml string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hookgate.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return "HOOKGATE_CONFIG=" + file
}

// TestStartWithoutRedis starts gates while Redis is away in several ways. Each gate starts, spools
// and acknowledges webhooks, and says so. When Redis is back the gate hands everything over, in
// order.
func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	for name, ways := range map[string]struct{ leave, come func(*redistest.Server) }{
		"refused": {(*redistest.Server).Kill, (*redistest.Server).Restart},
		"hanging": {(*redistest.Server).Hang, (*redistest.Server).Resume},
		"loading": {(*redistest.Server).RestartLoading, (*redistest.Server).EndLoading},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{AppendFsync: "always"})
			ways.leave(server)
			began := time.Now()
			g := startGate(t, startOptions{env: []string{"REDIS_URL=" + server.URL()}})
			t.Logf("the start took %v", time.Since(began))
			if out := g.out.String(); !strings.Contains(out, "while Redis is away: on disk (fsync) in ") {
				t.Errorf("the start does not tell what a 202 is worth:\n%s", out)
			}
			if h := g.health(); h.Status != "degraded" || h.Queue.Error != "" {
				t.Errorf("before the first webhook the health is %+v", h)
			}
			if status, body := g.request(http.MethodGet, "/readyz", ""); status != http.StatusOK {
				t.Errorf("the gate is not ready: %d %s", status, body)
			}
			drained := func(want string) {
				t.Helper()
				code, _, errs := runBinary(t, nil, "drain", "--target", g.url, "--timeout", "200ms")
				if code != exitFail || !strings.Contains(errs, want) {
					t.Errorf("drain ended with %d, want %q in %s", code, want, errs)
				}
			}
			drained("it is unknown what is left in it")
			ids := sendSome(t, g, "away", 20)
			drained("20 records are still queued")
			if h := g.health(); h.Status != "degraded" || h.Queue.Spooled != 20 {
				t.Errorf("the health is %+v, want 20 spooled", h)
			}
			_, metrics := g.request(http.MethodGet, "/metrics", "")
			for _, want := range []string{"webhook_queue_degraded 1", "webhook_queue_up 1",
				"webhook_queue_spooled 20"} {
				if !strings.Contains(metrics, want) {
					t.Errorf("the metrics have no %s", want)
				}
			}
			ways.come(server)
			g.await("the gate is well", func() bool { return g.health().Status == "ok" })
			g.awaitStored(append(ids, sendSome(t, g, "there", 3)...))
			if log := g.logs.String(); !strings.Contains(log, "redis answers") ||
				!strings.Contains(log, "appendfsync always") {
				t.Errorf("the log does not tell that Redis is there and what a 202 is worth:\n%s", tail(log))
			}
		})
	}
}

// TestRedisMisconfigured starts a gate while Redis is away. Redis comes back misconfigured: it may
// evict keys, or it has another number of partitions. The gate does not use it, spools, and says
// why in its health. After the correction it hands everything over.
func TestRedisMisconfigured(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil, mend func(*redistest.Server)
		told        string
	}{
		"evicting": {
			func(s *redistest.Server) { s.MustDo("CONFIG", "SET", "maxmemory-policy", "allkeys-lru") },
			func(s *redistest.Server) { s.MustDo("CONFIG", "SET", "maxmemory-policy", "noeviction") },
			"may delete acknowledged events",
		},
		"partitions": {
			func(s *redistest.Server) {
				s.MustDo("HSET", "hookgate:{meta}:settings", "partitions", "3")
				s.MustDo("XADD", "hookgate:{2}:log", "*", "r", "x")
			},
			func(s *redistest.Server) { s.MustDo("DEL", "hookgate:{2}:log") },
			"another number of partitions",
		},
		"rights": {
			func(s *redistest.Server) { s.MustDo("ACL", "SETUSER", "default", "-evalsha", "-eval") },
			func(s *redistest.Server) { s.MustDo("ACL", "SETUSER", "default", "+evalsha", "+eval") },
			"Redis rejects this gate",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t, redistest.Options{})
			proxy := newSlowProxy(t, server.Addr())
			proxy.refuse.Store(true)
			g := startGate(t, startOptions{env: []string{"REDIS_URL=redis://" + proxy.address(),
				"HOOKGATE_QUEUE_TIMEOUT=300ms"}})
			test.spoil(server)
			keys := server.MustDo("DBSIZE")
			proxy.refuse.Store(false)
			ids := sendSome(t, g, "m", 10)
			g.awaitHealth(test.told)
			if status, body := g.request(http.MethodGet, "/readyz", ""); status != http.StatusOK {
				t.Errorf("the gate is not ready: %d %s", status, body)
			}
			ids = append(ids, sendSome(t, g, "n", 10)...)
			if h := g.health(); h.Status != "degraded" || h.Queue.Spooled != 20 {
				t.Errorf("the health is %+v, want 20 spooled", h)
			}
			if now := server.MustDo("DBSIZE"); now != keys {
				t.Errorf("Redis had %s keys and has %s", keys, now)
			}
			test.mend(server)
			g.await("the gate is well", func() bool { return g.health().Status == "ok" })
			g.awaitStored(ids)
		})
	}
}

// TestStartWithoutRedisOrSpool starts a gate without Redis and with the spool off. It answers 503
// with Retry-After until Redis is there.
func TestStartWithoutRedisOrSpool(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	server.Kill()
	g := startGate(t, startOptions{env: []string{"REDIS_URL=" + server.URL(),
		settingsFile(t, "spool: off\n")}})
	resp, err := http.Post(g.url+"/webhooks", "application/json", strings.NewReader(""))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("a webhook without a key is answered %v %v", resp, err)
	}
	resp.Body.Close()
	request, err := http.NewRequest(http.MethodPost, g.url+"/webhooks",
		strings.NewReader(`{"messageId":"m","eventType":"t"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+g.key(bearerKeyName))
	request.Header.Set("Content-Type", "application/json")
	resp, err = http.DefaultClient.Do(request)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable ||
		resp.Header.Get("Retry-After") == "" {
		t.Errorf("without Redis a webhook is answered %v %v", resp, err)
	}
	resp.Body.Close()
	if status, _ := g.request(http.MethodGet, "/readyz", ""); status != http.StatusServiceUnavailable {
		t.Errorf("without Redis the readiness is %d", status)
	}
	if code, _, errs := runBinary(t, nil, "drain", "--target", g.url, "--timeout",
		"200ms"); code != exitFail || !strings.Contains(errs, "it is unknown") {
		t.Errorf("without Redis drain ended with %d: %s", code, errs)
	}
	server.Restart()
	g.await("webhooks are taken", func() bool {
		status, _ := g.send(`{"messageId":"m","eventType":"t"}`)
		return status == http.StatusAccepted
	})
	g.awaitStored([]string{"m"})
}

// TestModeIsRemembered restarts a gate in read_only while Redis is away. The gate stays in
// read_only, and follows the mode in Redis once Redis is there.
func TestModeIsRemembered(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{AppendFsync: "always"})
	env := []string{"REDIS_URL=" + server.URL(), "HOOKGATE_QUEUE_TIMEOUT=300ms"}
	g := startGate(t, startOptions{env: env})
	g.await("the mode is set", func() bool {
		status, _ := g.request(http.MethodPost, "/admin/maintenance", `{"mode":"read_only"}`)
		return status == http.StatusOK
	})
	g.stop()
	server.Kill()
	g = startGate(t, startOptions{env: env, dir: g.dir})
	if status, body := g.send(`{"messageId":"m","eventType":"t"}`); status != http.StatusServiceUnavailable || g.health().Mode != "read_only" {
		t.Errorf("without Redis the mode is %s and a webhook is answered %d %s", g.health().Mode, status,
			body)
	}
	if status, body := g.request(http.MethodPost, "/admin/maintenance",
		`{"mode":"normal"}`); status != http.StatusServiceUnavailable {
		t.Errorf("without Redis the mode was set: %d %s", status, body)
	}
	server.Restart()
	server.MustDo("HSET", "hookgate:{meta}:settings", "mode", "normal")
	g.await("the mode is that of Redis", func() bool { return g.health().Mode == "normal" })
	sendSome(t, g, "m", 1)
}

// TestStartIsRefused checks that a wrong setting, or a server that answers and is misconfigured,
// ends the start with a message that names the problem.
func TestStartIsRefused(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	server.MustDo("CONFIG", "SET", "requirepass", "right-password")
	evicting := redistest.Start(t, redistest.Options{MaxMemoryPolicy: "allkeys-lru"})
	cluster, database := startPostgres(t, pgtest.Options{})
	if err := cluster.RequirePasswords(t.Context()); err != nil {
		t.Fatal(err)
	}
	withPassword := strings.Replace(cluster.URL(database), "@", ":wrong-password@", 1)
	redis := func(user string) string { return "REDIS_URL=redis://" + user + server.Addr() }
	for _, test := range []struct{ env, want string }{
		{redis(":wrong-password@"), "WRONGPASS"},
		{redis(""), "NOAUTH"},
		{redis("nobody:right-password@"), "WRONGPASS"},
		{redis(":right-password@") + "/99", "DB index is out of range"},
		{"REDIS_URL=" + evicting.URL(), "allkeys-lru"},
		{"REDIS_URL=redis://:secret@a/x", `database "x"`},
		{"DB_URL=" + withPassword + "&connect_timeout=60", "password authentication failed"},
		{"DB_URL=" + cluster.URL(database) + "&connect_timeout=60", "password"},
		{"DB_URL=postgres://h/name?sslmode=x", "sslmode"},
	} {
		// Long timeouts, so that a slow answer on a busy machine does not look like silence.
		env := []string{test.env, "HOOKGATE_QUEUE_TIMEOUT=30s", "HOOKGATE_REDIS_LEASE_TTL=60s"}
		code, _, errs := runBinary(t, env, "serve", "--listen", "127.0.0.1:0")
		if code != exitNoResult || !strings.Contains(errs, test.want) ||
			strings.Contains(errs, "password@") {
			t.Errorf("with %s serve ended with %d, want %q in:\n%s", test.env, code, test.want, errs)
		}
	}
}

// TestStartWithoutPostgres starts a gate while PostgreSQL is away. The gate acknowledges webhooks
// and answers reads with 503. When PostgreSQL is there the gate migrates it and stores everything.
func TestStartWithoutPostgres(t *testing.T) {
	t.Parallel()
	cluster, database := startPostgres(t, pgtest.Options{})
	if err := cluster.Kill(); err != nil {
		t.Fatal(err)
	}
	env := []string{"DB_URL=" + cluster.URL(database) + "&connect_timeout=1"}
	g := startGate(t, startOptions{env: env})
	ids := sendSome(t, g, "m", 20)
	if status, body := g.request(http.MethodGet, "/api/events",
		""); status != http.StatusServiceUnavailable || !strings.Contains(body,
		"see the log for the reason") {
		t.Errorf("without the database a read is answered %d %s", status, body)
	}
	if status, body := g.request(http.MethodGet, "/readyz", ""); status != http.StatusOK {
		t.Errorf("without the database the gate is not ready: %d %s", status, body)
	}
	if h := g.health(); h.Status != "degraded" || h.Store.Error == "" || *h.Queue.Depth != 20 {
		t.Errorf("without the database the health is %+v", h)
	}
	if err := cluster.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.awaitStored(ids)
	g.await("the gate is well", func() bool { return g.health().Status == "ok" })
}

// TestStartInSilence has a Redis and a PostgreSQL that accept connections and never answer. The
// gate starts and stops all the same, and keeps every acknowledged webhook.
func TestStartInSilence(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	env := []string{
		"REDIS_URL=redis://" + silent.Addr().String(), "HOOKGATE_QUEUE_TIMEOUT=300ms",
		"DB_URL=postgres://gate@" + silent.Addr().String() + "/gate?sslmode=disable&connect_timeout=1",
	}
	g := startGate(t, startOptions{env: env})
	sendSome(t, g, "m", 10)
	if h := g.health(); h.Status != "degraded" || h.Queue.Spooled != 10 || h.Store.Error == "" {
		t.Errorf("the health is %+v", h)
	}
	g.stop()
	server := redistest.Start(t, redistest.Options{})
	g = startGate(t, startOptions{env: []string{"REDIS_URL=" + server.URL()}, dir: g.dir})
	g.await("what was spooled is stored", func() bool { return g.health().Store.Events == 10 })
}

// TestSchemaMisconfigured starts a gate while PostgreSQL is away. PostgreSQL comes back with a
// schema that this version must not use. The gate does not touch it, names the reason in health and
// log, and takes webhooks. With the right schema it stores everything.
func TestSchemaMisconfigured(t *testing.T) {
	t.Parallel()
	cluster, _ := sharedPostgres(t)
	for name, test := range map[string]struct {
		settings string
		spoil    func(database string) error
		mend     func(database string) error
		told     string
	}{
		"older": {
			"database: {migrate: false}\n",
			func(string) error { return nil },
			func(database string) error {
				if code, _, errs := runBinary(t, []string{"DB_URL=" + cluster.URL(database)}, "migrate",
					"up"); code != 0 {
					return fmt.Errorf("migrate up ended with %d: %s", code, errs)
				}
				return nil
			},
			"older than this hookgate",
		},
		"newer": {
			"",
			func(database string) error {
				if code, _, errs := runBinary(t, []string{"DB_URL=" + cluster.URL(database)}, "migrate",
					"up"); code != 0 {
					return fmt.Errorf("migrate up ended with %d: %s", code, errs)
				}
				return cluster.Exec(t.Context(), database,
					"INSERT INTO hookgate.webhook_schema_versions VALUES (99999, 'more')")
			},
			func(database string) error {
				return cluster.Exec(t.Context(), database,
					"DELETE FROM hookgate.webhook_schema_versions WHERE version = 99999")
			},
			"newer than this hookgate",
		},
	} {
		t.Run(name, func(t *testing.T) {
			database := newDatabase(t, cluster)
			direct, err := url.Parse(cluster.URL(database))
			if err != nil {
				t.Fatal(err)
			}
			proxy := newSlowProxy(t, direct.Host)
			proxy.refuse.Store(true)
			direct.Host = proxy.address()
			g := startGate(t, startOptions{env: []string{
				"DB_URL=" + direct.String(), settingsFile(t, test.settings),
			}})
			if err := test.spoil(database); err != nil {
				t.Fatal(err)
			}
			proxy.refuse.Store(false)
			ids := sendSome(t, g, "m", 10)
			g.awaitHealth(test.told)
			if status, body := g.request(http.MethodGet, "/api/events",
				""); status != http.StatusServiceUnavailable || !strings.Contains(body, test.told) {
				t.Errorf("a read is answered %d %s", status, body)
			}
			if !strings.Contains(g.logs.String(), "its schema hookgate has version") {
				t.Errorf("the log does not tell of the schema:\n%s", tail(g.logs.String()))
			}
			if err := test.mend(database); err != nil {
				t.Fatal(err)
			}
			g.awaitStored(ids)
			g.await("the gate is well", func() bool { return g.health().Status == "ok" })
		})
	}
}

// TestPostgresTroubles causes a serialization failure, a deadlock, a statement timeout, and a
// server without free connections. The gate retries, counts the errors, logs their codes, and
// dead-letters nothing.
func TestPostgresTroubles(t *testing.T) {
	t.Parallel()
	cluster, database := startPostgres(t, pgtest.Options{Settings: []string{"max_connections=12",
		"superuser_reserved_connections=0"}})
	must := func(statements string) {
		t.Helper()
		if err := cluster.Exec(t.Context(), database, "SET search_path = hookgate; "+
			statements); err != nil {
			t.Fatal(err)
		}
	}
	g := startGate(t, startOptions{env: []string{
		"DB_URL=" + cluster.URL(database), "HOOKGATE_DATABASE_MAX_CONNECTIONS=3",
		"HOOKGATE_DATABASE_STATEMENT_TIMEOUT=1s", "HOOKGATE_QUEUE_TIMEOUT=5s",
	}})
	first := sendSome(t, g, "first", 1)
	g.awaitStored(first) // the tables exist
	// Sequences do not roll back with a transaction, so this one counts attempts.
	must(`CREATE SEQUENCE hookgate.troubles;
		CREATE FUNCTION hookgate.trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			CASE nextval('hookgate.troubles')
				WHEN 1 THEN RAISE 'trouble' USING ERRCODE = '40001';
				WHEN 2 THEN RAISE 'trouble' USING ERRCODE = '40P01';
				WHEN 3 THEN PERFORM pg_sleep(600);
				ELSE
			END CASE;
			RETURN NEW;
		END $$;
		CREATE TRIGGER trouble BEFORE INSERT ON hookgate.webhook_events EXECUTE FUNCTION hookgate.trouble()`)
	ids := append(first, sendSome(t, g, "m", 5)...)
	g.awaitStored(ids)
	must("DROP TRIGGER trouble ON hookgate.webhook_events")

	// Other clients use up all connections, those of the gate too.
	var crowd []*pgx.Conn
	leave := func() {
		for _, conn := range crowd {
			conn.Close(t.Context())
		}
		crowd = nil
	}
	defer leave()
	ids = append(ids, sendSome(t, g, "n", 5)...)
	g.await("the log tells of a server that is full", func() bool {
		if conn, err := pgx.Connect(t.Context(), cluster.URL(database)); err == nil {
			crowd = append(crowd, conn)
		}
		if len(crowd) > 0 {
			const terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE" +
				" application_name = 'hookgate'"
			if _, err := crowd[0].Exec(t.Context(), terminate); err != nil {
				t.Fatal(err)
			}
		}
		ids = append(ids, sendSome(t, g, fmt.Sprint("more-", len(ids)), 1)...)
		return strings.Contains(g.logs.String(), "SQLSTATE 53300")
	})
	ids = append(ids, sendSome(t, g, "last", 1)...)
	leave()
	g.awaitStored(ids)
	log := g.logs.String()
	for _, code := range []string{"40001", "40P01", "57014", "53300"} {
		if !strings.Contains(log, "SQLSTATE "+code) {
			t.Errorf("the log does not tell of %s", code)
		}
	}
	_, metrics := g.request(http.MethodGet, "/metrics", "")
	failures := 0
	if _, after, found := strings.Cut(metrics, "\nwebhook_batch_failures_total "); found {
		fmt.Sscan(after, &failures)
	}
	if failures < 4 {
		t.Errorf("the metrics count %d failures, want one for each trouble", failures)
	}
	if _, body := g.request(http.MethodGet, "/api/health", ""); !strings.Contains(body,
		`"dead_letters":0`) {
		t.Errorf("something was dead-lettered: %s", body)
	}
}
