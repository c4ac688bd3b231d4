package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	queuesqlite "github.com/hookgate/hookgate/queue/sqlite"
)

// leftKeys is the number of ordering keys that leaveWebhooks uses.
const leftKeys = 80

// leaveWebhooks fills the file of a queue as a gate does that ends before it has stored anything:
// so many webhooks of each of leftKeys keys, in the mode buffer.
func leaveWebhooks(t *testing.T, path string, each int, o queuesqlite.Options) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	q, err := queuesqlite.Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for key := range leftKeys {
		all.Go(func() {
			for n := range each {
				now := time.Now().UTC().Truncate(time.Microsecond)
				if _, err := q.Append(t.Context(), &hookgate.Delivery{
					RequestID:   hookgate.NewRequestID(now),
					Identity:    hookgate.Identity{Source: "default", EventType: "t", MessageID: fmt.Sprintf("k%d-%d", key, n)},
					OrderingKey: fmt.Sprint("k", key), Sequence: int64(n), Body: []byte(`{}`), ReceivedAt: now,
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if !o.KeepDuplicates { // a queue and no spool
		if err := q.SetMode(t.Context(), hookgate.ModeBuffer); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLeftovers: what one configuration has acknowledged and not stored is stored by the next one,
// which keeps its webhooks elsewhere: everything once, each key in order, before what comes later,
// and also if the process is killed on the way. Until then doctor and health say so.
func TestLeftovers(t *testing.T) {
	const keys, each = leftKeys, 50
	s := newShared(t)
	kept := queuesqlite.Options{KeepDuplicates: true}
	for _, test := range []struct {
		name, file string
		options    queuesqlite.Options
		env        []string
		kill       bool
	}{
		{"embedded to Redis and PostgreSQL", "queue.db", queuesqlite.Options{}, s.env(), true},
		{"spool to failover off", "spool.db", kept, append(s.env(), "HOOKGATE_FAILOVER=off"), false},
		{"spool to embedded", "spool.db", kept, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			leaveWebhooks(t, filepath.Join(dir, test.file), each, test.options)
			env := test.env
			if env != nil {
				env = append(env, "DB_URL="+s.postgres.URL(newDatabase(t, s.postgres)), "HOOKGATE_REDIS_PREFIX="+strings.ReplaceAll(test.name, " ", "-"))
			}
			start := func() *gate { return startGate(t, startOptions{dir: dir, env: env}) }
			if _, out, errs := runBinary(t, env, "doctor", "--data-dir", dir); !strings.Contains(out, fmt.Sprint(keys*each, " acknowledged webhooks wait in")) {
				t.Errorf("doctor says nothing: %s%s", out, errs)
			}
			g := start()
			if !strings.Contains(g.logs.String(), "earlier configuration") {
				t.Errorf("the log says nothing:\n%s", tail(g.logs.String()))
			}
			if said := strings.Contains(g.logs.String(), "mode of an earlier configuration"); said != (test.file == "queue.db") {
				t.Errorf("that the mode is another now is in the log: %v", said)
			}
			if test.kill {
				g.kill() // while it moves them
				g = start()
			}
			for key := range keys {
				body := fmt.Sprintf(`{"messageId":"k%d-%d","eventType":"t","orderingKey":"k%[1]d","sequence":%[2]d}`, key, each)
				if status, answer := g.send(body); status != http.StatusAccepted {
					t.Fatalf("a webhook is answered %d %s", status, answer)
				}
			}
			g.awaitDrained()
			if h := g.health(); h.Status != "ok" || h.Store.Events != keys*(each+1) {
				t.Errorf("afterwards the health is %+v, want %d events", h, keys*(each+1))
			}
			for i, row := range rows(t, g) {
				if n := i % (each + 1); !strings.Contains(row, fmt.Sprintf("-%dk", n)) {
					t.Fatalf("%s is stored where number %d is due", row, n)
				}
			}
			g.kill()
			if records, _, err := queuesqlite.Unreleased(t.Context(), filepath.Join(dir, test.file)); err != nil || records != 0 {
				t.Errorf("%d records are left (error %v)", records, err)
			}
			if _, out, _ := runBinary(t, env, "doctor", "--data-dir", dir); strings.Contains(out, "acknowledged webhooks wait in") {
				t.Errorf("doctor still sees them: %s", out)
			}
		})
	}
}
