package e2e

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/queue/spool/spoolfile"
)

// leftKeys is the number of ordering keys that leaveWebhooks uses.
const leftKeys = 80

// leaveWebhooks fills a spool file with webhooks, each of each of leftKeys keys, as a gate does
// that ends before it has moved any.
func leaveWebhooks(t *testing.T, path string, each int) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	q, err := spoolfile.Open(t.Context(), path, spoolfile.Options{})
	must(t, err)
	var all sync.WaitGroup
	for key := range leftKeys {
		all.Go(func() {
			for n := range each {
				now := time.Now().UTC().Truncate(time.Microsecond)
				if _, err := q.Append(t.Context(), &hookgate.Request{
					RequestID: hookgate.NewRequestID(now),
					Identity: hookgate.Identity{Source: "default", EventType: "t",
						MessageID: fmt.Sprintf("k%d-%d", key, n)},
					OrderingKey: fmt.Sprint("k", key), Sequence: int64(n), Body: []byte(`{}`), ReceivedAt: now,
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	must(t, q.Close())
}

// TestLeftovers starts a gate on the spool of another configuration: without a spool of its own, or
// with another backend behind it. The gate stores everything once, each key in order, and before
// later webhooks. Until then doctor and health report the leftovers.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	const keys, each = leftKeys, 20
	s := newShared(t)
	for _, test := range []struct {
		name string
		env  []string
		gone bool // the gate removes the empty file
	}{
		{"Redis, spool off", append(s.env(), "HOOKGATE_SPOOL=off"), false},
		{"embedded, spool off", []string{"HOOKGATE_SPOOL=off"}, true},
		{"PostgreSQL", []string{"DB_URL=" + s.postgres.URL(newDatabase(t, s.postgres))}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			file := filepath.Join(dir, "spool.db")
			leaveWebhooks(t, file, each)
			_, out, errs := runBinary(t, test.env, "doctor", "--data-dir", dir)
			if said := strings.Contains(out,
				fmt.Sprint(keys*each, " acknowledged webhooks wait in")); said != (test.name != "PostgreSQL") {
				t.Errorf("doctor says that webhooks wait: %v\n%s%s", said, out, errs)
			}
			g := startGate(t, startOptions{dir: dir, env: test.env})
			for key := range keys {
				body := fmt.Sprintf(`{"messageId":"k%d-%d","eventType":"t","orderingKey":"k%[1]d",`+
					`"sequence":%[2]d}`, key, each)
				g.await("webhooks are taken",
					func() bool { status, _ := g.send(body); return status == http.StatusAccepted })
			}
			g.awaitDrained()
			g.await("the gate is well", func() bool { return g.health().Status == "ok" })
			if h := g.health(); h.Store.Events != keys*(each+1) {
				t.Errorf("afterwards the health is %+v, want %d events", h, keys*(each+1))
			}
			for i, row := range rows(t, g) {
				if n := i % (each + 1); !strings.Contains(row, fmt.Sprintf("-%dk", n)) {
					t.Fatalf("%s is stored where number %d is due", row, n)
				}
			}
			g.kill()
			if records, err := spoolfile.Unreleased(t.Context(), file); err != nil || records != 0 {
				t.Errorf("%d records are left (error %v)", records, err)
			}
			if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) != test.gone {
				t.Errorf("the file is removed: %v, want %v", err, test.gone)
			}
			if _, out, _ := runBinary(t, test.env, "doctor", "--data-dir", dir); strings.Contains(out,
				"acknowledged webhooks wait in") {
				t.Errorf("doctor still sees them: %s", out)
			}
		})
	}
}

// earlierDataDir unpacks the data directory of a release with queue.db that was killed in the mode
// read_only, with the canary at 50 percent. Its store has the events old-0 to old-99 and new-0, and
// three dead letters, bad-0 to bad-2. In queue.db are 4,000 records: new-0 to new-3899, repetitions
// of old-0 to old-49, of new-0 to new-46 and of the dead letters.
func earlierDataDir(t *testing.T) string {
	t.Helper()
	file, err := os.Open("testdata/queue-4000.tar.gz")
	must(t, err)
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	must(t, err)
	dir := filepath.Join(t.TempDir(), "data")
	must(t, os.MkdirAll(dir, 0o700))
	for archive := tar.NewReader(unpacked); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		must(t, err)
		data, err := io.ReadAll(archive)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), data, 0o600))
	}
}

// TestUpgrade starts gates on the data directory of a release with queue.db, and kills some of them
// on the way. Everything acknowledged is stored once, in order, with its lineage. The mode, the
// canary and the audit chain continue, and queue.db is gone.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	for name, test := range map[string]struct {
		env   []string
		kills int
	}{
		"embedded":   {nil, 3},
		"PostgreSQL": {[]string{"DB_URL=" + s.postgres.URL(s.database)}, 2}, // store.db stays unchanged
		"Redis":      {s.env(), 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "Redis" {
				test.env = append(test.env, "DB_URL="+s.postgres.URL(newDatabase(t, s.postgres)))
			}
			dir := earlierDataDir(t)
			upstream := httptest.NewServer(http.NotFoundHandler())
			defer upstream.Close()
			env := append(test.env, "HOOKGATE_CANARY_UPSTREAM="+upstream.URL,
				"HOOKGATE_ADMIN_LISTEN=127.0.0.1:0")
			o := startOptions{dir: dir, env: env}
			for n := range test.kills {
				killStart(t, o, time.Duration(n*150)*time.Millisecond)
			}
			g := startGate(t, o)
			if h := g.health(); name != "Redis" && (h.Mode != "read_only" || *h.Queue.Depth != 0) {
				t.Errorf("when the gate listens the health is %+v", h)
			}
			if _, canary := g.request(http.MethodGet, "/admin/canary", ""); name != "Redis" &&
				!strings.Contains(canary, `"percent":50,`) {
				t.Errorf("the canary is %s", canary)
			}
			g.awaitDrained()
			if _, err := os.Stat(filepath.Join(dir, "queue.db")); (err == nil) != (name == "Redis") {
				t.Errorf("queue.db: %v", err)
			}
			checkUpgraded(t, g, name == "embedded")
			g.stop()
			g = startGate(t, o)
			if h := g.health(); name != "Redis" && h.Mode != "read_only" {
				t.Errorf("after another start the health is %+v", h)
			}
		})
	}
}

// killStart starts a gate and kills it after a time.
func killStart(t *testing.T, o startOptions, after time.Duration) {
	t.Helper()
	g := spawnGate(t, o)
	select {
	case <-time.After(after):
	case <-g.ended:
		t.Fatalf("the gate ended: %v\n%s%s", g.cmd.ProcessState, g.out, g.logs)
	}
	g.kill()
}

// checkUpgraded compares the store with the content that earlierDataDir describes.
func checkUpgraded(t *testing.T, g *gate, withStore bool) {
	t.Helper()
	events, dead := 3900, 0
	if withStore {
		events, dead = 4000, 3
	}
	status, body := g.request(http.MethodGet, "/api/events", "", "Accept", "application/x-ndjson")
	if status != http.StatusOK {
		t.Fatalf("read events: %d %s", status, body)
	}
	seen, last := map[string]bool{}, map[string]int64{}
	for line := range strings.Lines(body) {
		e := parseEvent(t, line)
		if seen[e.MessageID] {
			t.Errorf("%s is stored twice", e.MessageID)
		}
		seen[e.MessageID] = true
		if strings.HasPrefix(e.MessageID, "new-") {
			if before, ok := last[e.OrderingKey]; ok && e.Sequence != before+1 || !ok && e.Sequence != 0 {
				t.Errorf("%s of key %s is stored behind number %d", e.MessageID, e.OrderingKey, before)
			}
			last[e.OrderingKey] = e.Sequence
		}
	}
	if len(seen) != events {
		t.Errorf("%d events are stored, want %d", len(seen), events)
	}
	var h struct {
		Store struct{ Duplicates, Dead_letters int }
	}
	_, text := g.request(http.MethodGet, "/api/health", "")
	must(t, json.Unmarshal([]byte(text), &h))
	if h.Store.Dead_letters != dead {
		t.Errorf("%d dead letters are stored, want %d", h.Store.Dead_letters, dead)
	}
	if h.Store.Duplicates != 100 {
		t.Errorf("%d duplicates are stored, want those of 100 repetitions", h.Store.Duplicates)
	}
	for id, want := range map[string]int{"old-7": 2, "new-7": 2, "new-3000": 1} {
		if !withStore && id == "old-7" {
			continue
		}
		_, trail := g.request(http.MethodGet, "/api/trace/"+id, "")
		if n := strings.Count(trail, `"stages"`); n != want {
			t.Errorf("%s has %d requests, want %d: %s", id, n, want, trail)
		}
	}
	if code, out, errs := runBinary(t, g.env, "audit", "verify", "--data-dir", g.dir); code != 0 {
		t.Errorf("audit verify: exit code %d\n%s%s", code, out, errs)
	}
	// A repetition of an event that the earlier release stored is a duplicate.
	if withStore {
		g.request(http.MethodPost, "/admin/maintenance", `{"mode":"normal"}`)
		g.request(http.MethodPost, "/admin/canary", `{"percent":100}`)
		if status, body := g.send(`{"messageId":"old-7","eventType":"t",` +
			`"orderingKey":"k7"}`); status != http.StatusAccepted || !strings.Contains(body, "duplicate_detected") {
			t.Errorf("a repetition of what was stored before the upgrade is answered %d %s", status, body)
		}
		g.request(http.MethodPost, "/admin/maintenance", `{"mode":"read_only"}`)
	}
}
