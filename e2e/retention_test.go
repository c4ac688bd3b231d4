package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/hookgate/hookgate"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/load"
	"github.com/hookgate/hookgate/store/postgres"
	storesqlite "github.com/hookgate/hookgate/store/sqlite"
)

// TestRetention sends a stream to a gate that keeps bodies for two seconds and lineage for four.
// The audit passes meanwhile and afterwards. Nothing is removed before its time, and everything
// after it, except a dead letter. The audit still finds rows that somebody else removes.
func TestRetention(t *testing.T) {
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "data")
		path := dataDir(dir).storeFile()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := storesqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		leaveDeadLetter(t, s)
		testRetention(t, startOptions{dir: dir}, func(script string) error {
			conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
			if err != nil {
				return err
			}
			return errors.Join(sqlitex.ExecuteScript(conn,
				"INSERT INTO webhook_retention VALUES ('not me'); "+script+
					"; DELETE FROM webhook_retention;", nil), conn.Close())
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		c, name := sharedPostgres(t)
		s, err := postgres.Open(t.Context(), postgres.Config{URL: c.URL(name)})
		if err != nil {
			t.Fatal(err)
		}
		leaveDeadLetter(t, s)
		testRetention(t, startOptions{env: []string{"DB_URL=" + c.URL(name)}}, func(script string) error {
			conn, err := pgx.Connect(context.Background(), c.TablesURL(name))
			if err != nil {
				return err
			}
			_, err = conn.PgConn().Exec(context.Background(), "SET session_replication_role = replica; "+
				script).ReadAll()
			return errors.Join(err, conn.Close(context.Background()))
		})
	})
}

// leaveDeadLetter stores a dead letter and an event beside it, and closes the store.
func leaveDeadLetter(t *testing.T, s interface {
	hookgate.Store
	Close() error
}) {
	t.Helper()
	epoch, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	record := func(id string) hookgate.Record {
		return hookgate.Record{Request: hookgate.Request{
			RequestID: hookgate.NewRequestID(at), Identity: hookgate.Identity{Source: "default",
				EventType: "t", MessageID: id},
			OrderingKey: "k", Sequence: hookgate.NoSequence, Body: []byte("{}"), ReceivedAt: at,
		}, EnqueuedAt: at}
	}
	_, err = s.Apply(t.Context(), &hookgate.Batch{
		Records: []hookgate.Record{record("beside")}, Dead: []hookgate.DeadLetter{{Record: record("dead"),
			Reason: "at fault"}},
		Epochs: map[int]hookgate.Epoch{0: epoch}, Worker: "w", ProcessedAt: at, Attempts: 1,
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}

func testRetention(t *testing.T, o startOptions, execute func(string) error) {
	const keepEvents, keepTrail = 2 * time.Second, 4 * time.Second
	o.env = append(o.env, "HOOKGATE_QUEUE_CLAIM_TTL=1s", "HOOKGATE_RETENTION_EVENTS="+
		keepEvents.String(), "HOOKGATE_RETENTION_TRAIL="+keepTrail.String())
	g := startGate(t, o)
	verify := func() (code int, found struct {
		Entries, Events, DeadLetters int64
		Removed                      struct{ Events, Bodies int64 }
	}) {
		t.Helper()
		code, out, errs := runBinary(t, g.env, "audit", "verify", "--data-dir", g.dir, "--json")
		if err := json.Unmarshal([]byte(out), &found); err != nil {
			t.Fatalf("audit verify: %d %s%s", code, out, errs)
		}
		return code, found
	}
	s := startStream(t, g, 300)
	s.whileSending(modeltest.Pick(3, 10), time.Second, func(int) {
		if code, found := verify(); code != 0 {
			t.Errorf("under load the audit ends with %d: %+v", code, found)
		}
	})
	g.awaitDrained()

	// Each acknowledged request either has its lineage or was old enough to be removed.
	last := map[string]time.Time{} // time of the last answer by message id
	ledger, err := os.Open(s.ledger)
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	for a, err := range load.ReadLedger(ledger) {
		if err != nil {
			t.Fatal(err)
		}
		if answered := a.Due.Add(time.Duration(a.LatencyUS) * time.Microsecond); a.Accepted() &&
			answered.After(last[a.MessageID]) {
			last[a.MessageID] = answered
		}
	}
	states := map[string]int{}
	for i, id := range slices.Sorted(maps.Keys(last)) {
		if i%4 != 0 {
			continue // a quarter of them is enough, and quick
		}
		asked := time.Now()
		switch state, problem := lineageUnderRetention(g, id, keepEvents); {
		case problem != "":
			t.Error(problem)
		// The ledger's clock starts before the store's.
		case state == "gone" && asked.Sub(last[id]) < keepTrail-time.Second:
			t.Errorf("%s is gone %v after its last answer", id, asked.Sub(last[id]))
		default:
			states[state]++
		}
	}
	t.Logf("right after the stream: %v", states)
	// Reads of the store by another process are slow, so the test first reads the lineage of some of
	// the last events.
	ids := slices.SortedFunc(maps.Keys(last),
		func(a, b string) int { return last[a].Compare(last[b]) })
	for _, id := range ids[len(ids)-20:] {
		g.await(id+" has gone", func() bool {
			state, _ := lineageUnderRetention(g, id, keepEvents)
			return state == "gone"
		})
	}
	g.await("all events and their lineage have gone, but for the dead letter", func() bool {
		_, found := verify()
		return found.Entries == 1
	})
	code, found := verify()
	// A repetition after the removal of its event is a new event.
	if code != 0 || found.Removed.Events < int64(len(last)) || found.DeadLetters != 1 ||
		found.Events != 0 || found.Removed.Bodies != 0 {
		t.Errorf("at the end the audit finds %+v (exit code %d)", found, code)
	}
	if _, body := g.request(http.MethodGet, "/api/events", ""); !strings.Contains(body,
		`"events":[]`) {
		t.Errorf("events are left: %s", body)
	}
	if _, body := g.request(http.MethodGet, "/api/trace/dead", ""); !strings.Contains(body,
		"dead_lettered") {
		t.Errorf("the trace of the dead letter is %s", body)
	}
	_, metrics := g.request(http.MethodGet, "/metrics", "")
	if want := fmt.Sprintf(`webhook_retention_removed_total{kind="events"} %d`,
		found.Removed.Events); !strings.Contains(metrics, want+"\n") {
		t.Errorf("the metrics do not have %s", want)
	}
	if _, health := g.request(http.MethodGet, "/api/health", ""); !strings.Contains(health,
		`"dead_letters":1`) {
		t.Errorf("health is %s", health)
	}
	g.stop()
	if err := execute("DELETE FROM webhook_gaps WHERE to_id = (SELECT max(to_id) FROM" +
		" webhook_gaps)"); err != nil {
		t.Fatal(err)
	}
	if code, _ := verify(); code != exitFail {
		t.Errorf("a gap that is not written down leaves the audit with exit code %d, want %d", code,
			exitFail)
	}
}

// lineageUnderRetention returns the state of an event: whole, its body removed in time, only
// repetitions left, or gone.
func lineageUnderRetention(g *gate, id string, keepEvents time.Duration) (state, problem string) {
	status, body := g.request(http.MethodGet, "/api/trace/"+url.PathEscape(id), "")
	var t trace
	if status != http.StatusOK || json.Unmarshal([]byte(body), &t) != nil {
		return "", fmt.Sprintf("trace of %s: %d %s", id, status, body)
	}
	if len(t.Requests) == 0 {
		return "gone", ""
	}
	state = "repeated" // nothing is left of the event itself
	for _, r := range t.Requests {
		var persisted time.Time
		for _, s := range r.Stages {
			switch s.Stage {
			case "persisted":
				persisted = s.Timestamp
				if state == "repeated" {
					state = "whole"
				}
			case "removed":
				state = "removed"
				if kept := s.Timestamp.Sub(persisted); kept < keepEvents {
					return "", fmt.Sprintf("%s was kept for %v, want %v", id, kept, keepEvents)
				}
			}
		}
	}
	if state == "whole" {
		// Its body may have been removed since.
		if status, body = g.request(http.MethodGet, "/api/events?messageId="+url.QueryEscape(id),
			""); status != http.StatusOK {
			return "", fmt.Sprintf("event %s: %d %s", id, status, body)
		}
		if !strings.Contains(body, `"messageId"`) {
			return lineageUnderRetention(g, id, keepEvents)
		}
	}
	return state, ""
}
