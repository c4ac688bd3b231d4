package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/pgtest"
)

// TestReadableAt202 checks that every process can read an event and its lineage as soon as the 202
// arrives, and that every process answers a repetition as a duplicate.
func TestReadableAt202(t *testing.T) {
	t.Parallel()
	cluster, database := sharedPostgres(t)
	for name, env := range map[string][]string{
		"embedded": nil,
		"PostgreSQL": {"DB_URL=" + cluster.URL(database), "ADMIN_TOKEN=the-same-for-all-processes",
			"WEBHOOK_BEARER_KEY=a-key-for-all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			takes := startGate(t, startOptions{env: env})
			reads := takes
			header := []string{"Authorization", "Bearer " + takes.key2(bearerKeyName, env)}
			admin := []string{"Authorization", "Bearer " + takes.key2(adminTokenName, env)}
			if env != nil {
				reads = startGate(t, startOptions{env: env, args: []string{"--role", roleIngest}})
			}
			var all sync.WaitGroup
			for sender := range 8 {
				all.Go(func() {
					for n := range 25 {
						id := fmt.Sprintf("m-%d-%d", sender, n)
						body := fmt.Sprintf(`{"messageId":%q,"eventType":"t","orderingKey":"k%d"}`, id, sender)
						if status, answer := takes.request(http.MethodPost, "/webhooks", body,
							header...); status != http.StatusAccepted {
							t.Errorf("%s is answered %d %s", id, status, answer)
							return
						}
						if events := reads.readable("/api/events?messageId="+id, admin...); !strings.Contains(events, `"messageId":"`+id+`"`) {
							t.Errorf("%s is acknowledged and not among the events: %s", id, events)
						}
						if trail := reads.readable("/api/trace/"+id, admin...); !strings.Contains(trail, `"stage":"persisted"`) {
							t.Errorf("%s is acknowledged, and its lineage is %s", id, trail)
						}
						if _, answer := reads.request(http.MethodPost, "/webhooks", body,
							header...); !strings.Contains(answer, "duplicate_detected") {
							t.Errorf("the repetition of %s is answered %s", id, answer)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// key2 returns a key from the environment, or else from the data directory.
func (g *gate) key2(name string, env []string) string {
	g.t.Helper()
	variable := map[string]string{bearerKeyName: "WEBHOOK_BEARER_KEY=",
		adminTokenName: "ADMIN_TOKEN="}[name]
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, variable); ok {
			return value
		}
	}
	return g.key(name)
}

// TestPostgresAlone kills the gate and PostgreSQL in turn under load. The gate spools while
// PostgreSQL is away. auditStore checks the result.
func TestPostgresAlone(t *testing.T) {
	t.Parallel()
	postgres, database := startPostgres(t, pgtest.Options{})
	o := startOptions{env: []string{"DB_URL=" + postgres.URL(database),
		"HOOKGATE_QUEUE_TIMEOUT=300ms"}}
	g := startGate(t, o)
	o.dir, o.listen = g.dir, strings.TrimPrefix(g.url, "http://")
	stream := startStream(t, g, 300)
	stream.whileSending(modeltest.Pick(10, 40), 200*time.Millisecond, func(n int) {
		if n%2 == 0 {
			g.kill()
			g = startGate(t, o)
			return
		}
		must(t, postgres.Kill())
		g.await("the gate spools", func() bool { return g.health().Queue.Spooled > 0 })
		must(t, postgres.Restart(t.Context()))
	})
	g.await("the gate is well again", func() bool { return g.health().Status == "ok" })
	g.awaitDrained()
	t.Logf("%+v", stream.summary)
	auditStore(t, g, stream.input, stream.ledger)
}

// TestStoreLocked locks store.db with a transaction and then with a VACUUM. The gate spools and
// acknowledges webhooks. Health, metrics and log say what a 202 is worth. Afterwards the gate
// stores everything, in order.
func TestStoreLocked(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{env: []string{"HOOKGATE_QUEUE_TIMEOUT=300ms"}})
	stream := startStream(t, g, 500)
	g.await("something is stored", func() bool { return g.health().Store.Events > 100 })
	conn, err := sqlite.OpenConn(dataDir(g.dir).storeFile(), sqlite.OpenReadWrite)
	must(t, err)
	defer conn.Close()
	conn.SetBusyTimeout(waitFor)
	must(t, sqlitex.ExecuteTransient(conn, "BEGIN EXCLUSIVE", nil))
	g.await("the gate spools", func() bool { return g.health().Queue.Spooled > 200 })
	if h := g.health(); h.Status != "degraded" || !strings.Contains(h.Queue.Degraded,
		"a 202 is worth this machine's disk") {
		t.Errorf("while it spools the health is %+v", h)
	}
	if status, body := g.request(http.MethodGet, "/readyz", ""); status != http.StatusOK {
		t.Errorf("while it spools the gate is not ready: %d %s", status, body)
	}
	if _, metrics := g.request(http.MethodGet, "/metrics", ""); !strings.Contains(metrics,
		"webhook_queue_degraded 1") {
		t.Error("the metrics do not tell of the spool")
	}
	if !strings.Contains(g.logs.String(), "spooled on this machine") {
		t.Error("the log does not tell of the spool")
	}
	must(t, sqlitex.ExecuteTransient(conn, "COMMIT", nil))
	must(t, sqlitex.ExecuteTransient(conn, "VACUUM", nil))
	g.await("the gate is well again", func() bool { return g.health().Status == "ok" })
	stream.end()
	g.awaitDrained()
	auditStore(t, g, stream.input, stream.ledger)
}

// TestBuffer checks that in mode buffer the gate spools webhooks and stores none, also after a
// restart. Without a spool it answers 503.
func TestBuffer(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{"spool": nil, "no spool": {"HOOKGATE_SPOOL=off"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startGate(t, startOptions{env: env})
			g.request(http.MethodPost, "/admin/maintenance", `{"mode":"buffer"}`)
			want := http.StatusAccepted
			if env != nil {
				want = http.StatusServiceUnavailable
			}
			for n := range 5 {
				if status, body := g.send(fmt.Sprintf(`{"messageId":"m-%d","eventType":"t"}`,
					n)); status != want {
					t.Errorf("in buffer a webhook is answered %d %s", status, body)
				}
			}
			g.stop()
			g = startGate(t, startOptions{dir: g.dir, env: env})
			if h := g.health(); h.Mode != "buffer" || h.Store.Events != 0 || env == nil &&
				h.Queue.Spooled != 5 {
				t.Errorf("after a restart in buffer the health is %+v", h)
			}
			g.request(http.MethodPost, "/admin/maintenance", `{"mode":"normal"}`)
			g.await("webhooks are taken", func() bool {
				status, _ := g.send(`{"messageId":"last","eventType":"t"}`)
				return status == http.StatusAccepted
			})
			g.awaitDrained()
			if got := len(rows(t, g)); env == nil && got != 6 || env != nil && got != 1 {
				t.Errorf("%d events are stored", got)
			}
		})
	}
}

// TestMinFreeDisk checks that with less free space than queue.min_free_disk webhooks get 503 and
// are not spooled.
func TestMinFreeDisk(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{env: []string{"HOOKGATE_QUEUE_MIN_FREE_DISK=1000TiB",
		"WORKER_COUNT=2"}})
	if !strings.Contains(g.logs.String(), `"settings":"worker.count"`) {
		t.Errorf("the log does not name the setting without effect:\n%s", tail(g.logs.String()))
	}
	if status, body := g.send(`{"messageId":"m","eventType":"t"}`); status != http.StatusServiceUnavailable {
		t.Errorf("a webhook is answered %d %s", status, body)
	}
	if h := g.health(); h.Store.Events != 0 || h.Queue.Spooled != 0 {
		t.Errorf("the health is %+v", h)
	}
	if _, metrics := g.request(http.MethodGet, "/metrics", ""); !strings.Contains(metrics,
		`webhook_refusals_total{reason="queue_full"} 1`) {
		t.Error("the metrics do not count a refusal for want of room")
	}
}

// TestSharedMode checks that processes on one PostgreSQL follow a mode that is set at one of them.
func TestSharedMode(t *testing.T) {
	t.Parallel()
	cluster, database := sharedPostgres(t)
	env := []string{"DB_URL=" + cluster.URL(database), "ADMIN_TOKEN=the-same-for-all-processes"}
	admin := []string{"Authorization", "Bearer the-same-for-all-processes"}
	one, two := startGate(t, startOptions{env: env}),
		startGate(t, startOptions{env: env, args: []string{"--role", roleIngest}})
	for _, mode := range []string{"read_only", "buffer", "normal"} {
		status, body := one.request(http.MethodPost, "/admin/maintenance", fmt.Sprintf(`{"mode":%q}`,
			mode), admin...)
		if status != http.StatusOK {
			t.Fatalf("maintenance %s: %d %s", mode, status, body)
		}
		two.await("the other process follows", func() bool { return two.health().Mode == mode })
	}
	var h struct{ Queue struct{ Kind string } }
	_, body := two.request(http.MethodGet, "/api/health", "")
	if err := json.Unmarshal([]byte(body), &h); err != nil || h.Queue.Kind != kindDirect {
		t.Errorf("the health names the queue %q (%v)", h.Queue.Kind, err)
	}
}

// readable returns the answer of a GET. It repeats the call after a 503: on a busy machine the time
// for a page can end before the database has answered.
func (g *gate) readable(path string, header ...string) string {
	for tries := 0; ; tries++ {
		status, answer := g.request(http.MethodGet, path, "", header...)
		if status < http.StatusInternalServerError || tries == 100 {
			return answer
		}
	}
}
