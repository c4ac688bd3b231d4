package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/internal/redistest"
)

// eventsBehind returns the message ids after the event with the id cursor, or all, and the id of
// the last.
func (g *gate) eventsBehind(cursor string) (messages []string, last string) {
	g.t.Helper()
	path := "/api/events"
	if cursor != "" {
		path += "?after=" + cursor
	}
	status, body := g.request(http.MethodGet, path, "", "Accept", "application/x-ndjson")
	if status != http.StatusOK {
		g.t.Fatalf("read events: %d %s", status, body)
	}
	for line := range strings.Lines(body) {
		e := parseEvent(g.t, line)
		messages, last = append(messages, e.MessageID), e.ID
	}
	return messages, last
}

// TestStoreRestored replaces the store by an older copy and then by an empty one. When senders
// repeat their webhooks, the gate stores the missing events, and none twice. A reader that
// continues after the last id that it saw misses nothing. With Redis as the queue, log and health
// report the change.
func TestStoreRestored(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{kindDirect, kindRedis} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			storeRestored(t, kind)
		})
	}
}

func storeRestored(t *testing.T, kind string) {
	redisURL := ""
	if kind == kindRedis {
		redisURL = redistest.Start(t, redistest.Options{}).URL()
	}
	cluster, _ := startPostgres(t, pgtest.Options{})
	run := func(t *testing.T, keep, restore, lose func(dir string), env func() []string) {
		dir := filepath.Join(t.TempDir(), "data")
		start := func() *gate {
			return startGate(t, startOptions{dir: dir, env: append(env(), "REDIS_URL="+redisURL,
				"HOOKGATE_REDIS_PREFIX="+filepath.Base(t.Name()))})
		}
		ids := func(from, to int) (all []string) {
			for n := from; n < to; n++ {
				all = append(all, fmt.Sprint("m-", n))
			}
			return all
		}
		send := func(g *gate, from, to int) {
			t.Helper()
			for _, id := range ids(from, to) {
				if status, body := g.send(fmt.Sprintf(`{"messageId":%q,"eventType":"t"}`,
					id)); status != http.StatusAccepted {
					t.Fatalf("%s is answered %d %s", id, status, body)
				}
			}
			g.awaitDrained()
		}
		replaced := func(g *gate) {
			t.Helper()
			if kind == kindDirect {
				return // nothing else remembers the old content
			}
			if !strings.Contains(g.logs.String(), "claims from before are ignored") {
				t.Errorf("the log says nothing:\n%s", tail(g.logs.String()))
			}
			g.awaitHealth("store_replaced")
		}
		g := start()
		send(g, 0, 10)
		g.stop()
		keep(dir)
		g = start()
		send(g, 10, 20)
		_, cursor := g.eventsBehind("")
		if strings.Contains(g.logs.String(), "claims from before are ignored") {
			t.Errorf("a store that goes on is taken for another:\n%s", tail(g.logs.String()))
		}
		g.stop()
		restore(dir)
		g = start()
		replaced(g)
		send(g, 0, 25) // the senders repeat everything and add something new
		got, last := g.eventsBehind(cursor)
		if fmt.Sprint(got) != fmt.Sprint(ids(10, 25)) {
			t.Errorf("behind the cursor are %v, want %v", got, ids(10, 25))
		}
		if all, _ := g.eventsBehind(""); len(all) != 25 {
			t.Errorf("stored are %v, want 25 events", all)
		}
		g.stop()
		lose(dir)
		g = start()
		replaced(g)
		send(g, 0, 30)
		if got, _ = g.eventsBehind(last); fmt.Sprint(got) != fmt.Sprint(ids(0, 30)) {
			t.Errorf("behind the cursor are %v, want %v", got, ids(0, 30))
		}
	}
	t.Run("SQLite", func(t *testing.T) {
		copyFile := func(from, to string) {
			data, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(to, data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		remove := func(dir string) {
			files, _ := filepath.Glob(filepath.Join(dir, "store.db*"))
			for _, file := range files {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
		}
		run(t, func(dir string) { copyFile(filepath.Join(dir, "store.db"), filepath.Join(dir, "kept")) },
			func(dir string) {
				remove(dir)
				copyFile(filepath.Join(dir, "kept"),
					filepath.Join(dir, "store.db"))
			},
			remove, func() []string { return nil })
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		database := newDatabase(t, cluster)
		keep := func(string) {
			if err := cluster.Exec(t.Context(), "postgres", "CREATE DATABASE kept TEMPLATE "+
				database); err != nil {
				t.Fatal(err)
			}
		}
		run(t, keep, func(string) { database = "kept" },
			func(string) { database = newDatabase(t, cluster) },
			func() []string { return []string{"DB_URL=" + cluster.URL(database)} })
	})
}
