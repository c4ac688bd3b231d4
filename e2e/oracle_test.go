package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	_ "modernc.org/sqlite"             // the driver sqlite

	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/pgtest"
	"github.com/hookgate/hookgate/load"
)

// auditStore compares the store of a gate with the webhooks sent to it and its acknowledgments.
// Every test that harms the gate ends with it:
//
//   - every acknowledged event is stored, once, with the bytes that were sent;
//   - nothing else is stored;
//   - events of a key are stored in the order sent;
//   - every acknowledged request has its lineage, duplicates too;
//   - the audit chain is intact.
//
// input has the webhooks of the replay, ledgerFile its ledger. The queue must have drained.
func auditStore(t *testing.T, g *gate, input []byte, ledgerFile string) {
	t.Helper()
	sent := map[string]string{} // message id to SHA-256 of the body
	for line := range bytes.Lines(input) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		var e struct{ MessageID string }
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(line)
		sent[e.MessageID] = hex.EncodeToString(sum[:])
	}
	acknowledged := map[string][]string{} // message id to request ids
	requests := 0
	f, err := os.Open(ledgerFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for a, err := range load.ReadLedger(f) {
		if err != nil {
			t.Fatalf("ledger: %v", err)
		}
		if a.Accepted() {
			acknowledged[a.MessageID] = append(acknowledged[a.MessageID], a.RequestID)
			requests++
		}
	}
	stored := auditEvents(t, g, sent)
	for id := range acknowledged {
		if !stored[id] {
			t.Errorf("%s was acknowledged and is not stored", id)
		}
	}
	auditLineage(t, g, acknowledged)
	if code, out, errs := runBinary(t, g.env, "audit", "verify", "--data-dir", g.dir); code != 0 {
		t.Errorf("audit verify: exit code %d\n%s%s", code, out, errs)
	}
	t.Logf("audited %d events, %d acknowledged in %d requests", len(stored), len(acknowledged),
		requests)
}

// auditEvents compares the stored events with those that were sent, and returns their message ids.
func auditEvents(t *testing.T, g *gate, sent map[string]string) map[string]bool {
	t.Helper()
	status, body := g.request(http.MethodGet, "/api/events", "", "Accept", "application/x-ndjson")
	if status != http.StatusOK {
		t.Fatalf("read events: %d %s", status, body)
	}
	stored := map[string]bool{}
	last := map[string]int64{}
	lines := bufio.NewScanner(strings.NewReader(body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		e := parseEvent(t, lines.Text())
		switch want, ok := sent[e.MessageID]; {
		case !ok:
			t.Errorf("%s is stored and was never sent", e.MessageID)
		case stored[e.MessageID]:
			t.Errorf("%s is stored twice", e.MessageID)
		case e.SHA256 != want:
			t.Errorf("%s has the digest %s, sent was %s", e.MessageID, e.SHA256, want)
		}
		stored[e.MessageID] = true
		if e.keyed() && e.Sequence <= last[e.OrderingKey] {
			t.Errorf("key %s: sequence %d is stored after %d", e.OrderingKey, e.Sequence,
				last[e.OrderingKey])
		}
		last[e.OrderingKey] = e.Sequence
	}
	return stored
}

// storedEvent is an event in the form of the read API.
type storedEvent struct {
	ID, Source, EventType, MessageID, OrderingKey, RequestID, SHA256 string
	Sequence, Size                                                   int64
	Partition                                                        int
}

// keyed reports whether the event has an ordering key of its own.
func (e storedEvent) keyed() bool { return e.OrderingKey != e.EventType }

func parseEvent(t *testing.T, line string) (e storedEvent) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatalf("event %s: %v", line, err)
	}
	return e
}

// sampleOfTraces is the number of traces of each kind that are always read over HTTP.
var sampleOfTraces = modeltest.Pick(20, 500)

// auditLineage checks that the trace of each acknowledged message id has the request, complete. It
// reads the lineage of all from the table webhook_audit_trail, which is cheap. Over HTTP it reads
// those that have a problem there, and of the others a sample for each list of stages.
func auditLineage(t *testing.T, g *gate, acknowledged map[string][]string) {
	t.Helper()
	whole := wholeTrails(t, g)
	asked := map[string]int{} // by the stages of a request
	ask := map[string][]string{}
	for id, requests := range acknowledged {
		for _, r := range requests {
			stages := whole[id][r]
			if asked[stages]++; stages == "" || asked[stages] <= sampleOfTraces {
				ask[id] = requests
			}
		}
	}
	auditTraces(t, g, ask)
}

// openStore opens the tables of a gate for reading.
func openStore(t *testing.T, g *gate) *sql.DB {
	t.Helper()
	driver, source := "sqlite", "file:"+filepath.Join(g.dir, "store.db")+"?mode=ro"
	for _, setting := range g.env {
		if url, ok := strings.CutPrefix(setting, "DB_URL="); ok {
			// It reads whole tables once, which takes less time than to compile the queries.
			driver, source = "pgx", pgtest.InSchema(url, "hookgate")+"&jit=off"
		}
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// wholeTrails reads the lineage of all requests from the store. It returns, by message id and
// request id, the stages of those that lineageProblem has no objection to.
func wholeTrails(t *testing.T, g *gate) map[string]map[string]string {
	t.Helper()
	rows, err := openStore(t, g).QueryContext(t.Context(),
		"SELECT message_id, request_id, stage, timestamp FROM webhook_audit_trail ORDER BY"+
			" message_id, request_id, ordinal")
	if err != nil {
		t.Fatalf("read the trail: %v", err)
	}
	defer rows.Close()
	whole := map[string]map[string]string{}
	persisted := map[string]int{}
	var id, request string
	var stages, all []string
	var last int64
	take := func() {
		text := strings.Join(stages, " ")
		if !wholeTrail.MatchString(text) {
			return
		}
		if strings.HasSuffix(text, " persisted") {
			persisted[id]++
		}
		if whole[id] == nil {
			whole[id] = map[string]string{}
		}
		whole[id][request] = strings.Join(all, " ")
	}
	for rows.Next() {
		var nextID, nextRequest, stage string
		var at int64
		if err := rows.Scan(&nextID, &nextRequest, &stage, &at); err != nil {
			t.Fatal(err)
		}
		if nextID != id || nextRequest != request {
			take()
			id, request, stages, all, last = nextID, nextRequest, nil, nil, 0
		}
		if at < last {
			stage = "earlier:" + stage
		}
		if all, last = append(all, stage), at; !slices.Contains(extraStages, stage) {
			stages = append(stages, stage)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("read the trail: %v", err)
	}
	take()
	for id := range whole {
		if persisted[id] != 1 {
			delete(whole, id)
		}
	}
	return whole
}

// auditTraces checks the lineage of these message ids over HTTP.
func auditTraces(t *testing.T, g *gate, acknowledged map[string][]string) {
	t.Helper()
	ids := make(chan string)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for id := range ids {
				if problem := lineageProblem(g, id, acknowledged[id]); problem != "" {
					t.Error(problem)
				}
			}
		})
	}
	for id := range acknowledged {
		ids <- id
	}
	close(ids)
	wg.Wait()
}

// wholeTrail matches the lineage of a request whose queue has drained. If a crash lost the release
// of a dead letter, the record is processed again.
var wholeTrail = regexp.MustCompile(`^received( replayed)? enqueued processed( dead_lettered` +
	` processed)? (persisted|duplicate|dead_lettered)$`)

// extraStages are stages that wholeTrail leaves out.
var extraStages = []string{"retried", "spooled", "delivered", "attempt_failed", "parked", "skipped",
	"redelivered"}

func lineageProblem(g *gate, id string, requests []string) string {
	status, body := g.request(http.MethodGet, "/api/trace/"+url.PathEscape(id), "")
	var t trace
	if status != http.StatusOK || json.Unmarshal([]byte(body), &t) != nil {
		return fmt.Sprintf("trace of %s: %d %s", id, status, body)
	}
	stages := map[string]string{}
	persisted := 0
	for _, r := range t.Requests {
		var names []string
		var before time.Time
		for _, s := range r.Stages {
			if s.Timestamp.Before(before) {
				return fmt.Sprintf("%s: stage %s of request %s is before the one before it", id, s.Stage,
					r.RequestID)
			}
			if before = s.Timestamp; !slices.Contains(extraStages, s.Stage) {
				names = append(names, s.Stage)
			}
		}
		stages[r.RequestID] = strings.Join(names, " ")
		if !wholeTrail.MatchString(stages[r.RequestID]) {
			return fmt.Sprintf("%s: request %s has the stages %q", id, r.RequestID, stages[r.RequestID])
		}
		if strings.HasSuffix(stages[r.RequestID], " persisted") {
			persisted++
		}
	}
	if persisted != 1 {
		return fmt.Sprintf("%s: %d requests are persisted, want 1: %s", id, persisted, body)
	}
	for _, r := range requests {
		if stages[r] == "" {
			return fmt.Sprintf("%s: acknowledged request %s has no trail", id, r)
		}
	}
	return ""
}
