package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hookgate/hookgate/guard"
	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/load"
)

// guardStatus returns the state of the guard.
func (g *gate) guardStatus() guard.Status {
	g.t.Helper()
	var h struct{ Guard guard.Status }
	_, body := g.request(http.MethodGet, "/api/health", "")
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		g.t.Fatalf("health is %q: %v", body, err)
	}
	return h.Guard
}

// attempts reads a ledger.
func attempts(t *testing.T, ledgerFile string) (all []load.Attempt) {
	t.Helper()
	f, err := os.Open(ledgerFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for a, err := range load.ReadLedger(f) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return all
}

// took returns how long the attempt itself took, without the waits before it.
func took(a load.Attempt) time.Duration {
	return a.Due.Add(time.Duration(a.LatencyUS) * time.Microsecond).Sub(a.Sent)
}

// figures describes how long the attempts took for which f is true.
func figures(all []load.Attempt, f func(load.Attempt) bool) string {
	var times []time.Duration
	for _, a := range all {
		if f(a) {
			times = append(times, took(a))
		}
	}
	if len(times) == 0 {
		return "none"
	}
	slices.Sort(times)
	at := func(q float64) time.Duration {
		return times[int(q*float64(len(times)-1))].Round(
			10 * time.Microsecond)
	}
	return fmt.Sprintf("%d, P50 %v, P99 %v, max %v", len(times), at(0.5), at(0.99), at(1))
}

// memoryPeak returns the largest resident memory of the process, in MiB.
func (g *gate) memoryPeak() int {
	g.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		g.t.Fatal(err)
	}
	return kib / 1024
}

// TestBreaker locks the store while webhooks arrive. The spool fills to the mark, the
// breaker opens, and the gate answers 503 and keeps the spooled webhooks. Without the lock the
// breaker closes and the gate stores everything acknowledged. The log shows how long accepted
// webhooks took before, during and after.
func TestBreaker(t *testing.T) {
	t.Parallel()
	cluster, database := sharedPostgres(t)
	highWater, before := modeltest.Pick(300, 3000), modeltest.Pick(50, 500)
	g := startGate(t, startOptions{env: []string{
		"DB_URL=" + cluster.URL(database), "HOOKGATE_QUEUE_HIGH_WATER=" + fmt.Sprint(highWater),
		"HOOKGATE_HTTP_RETRY_AFTER=1s",
		"HOOKGATE_GUARD_DEPTH_LIMIT=40",
	}})
	stream := startStream(t, g, 500)
	g.await("some is stored", func() bool {
		_, body := g.request(http.MethodGet, fmt.Sprint("/api/events?limit=", before), "")
		return strings.Contains(body, `"next"`)
	})

	conn, err := pgx.Connect(t.Context(), cluster.TablesURL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(),
		"BEGIN; LOCK TABLE hookgate.webhook_log IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	locked := time.Now()
	g.await("the breaker opens", func() bool { return g.guardStatus().Breaker == guard.Open })
	opened := time.Now()
	if status, body := g.request(http.MethodGet, "/readyz",
		""); status != http.StatusServiceUnavailable || !strings.Contains(body, "breaker") {
		t.Errorf("while the breaker is open /readyz answers %d %s", status, body)
	}
	if status, _ := g.request(http.MethodGet, "/admin/maintenance", ""); status != http.StatusOK {
		t.Errorf("while the breaker is open /admin answers %d", status)
	}
	if status, body := g.send(`{"messageId":"refused","eventType":"t"}`); status != http.StatusServiceUnavailable {
		t.Errorf("while the breaker is open a webhook is answered %d %s", status, body)
	}
	depth := *g.health().Queue.Depth
	if depth < int64(highWater)*4/10 {
		t.Errorf("the breaker is open at a depth of %d", depth)
	}
	if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	g.await("the breaker closes", func() bool { return g.guardStatus().Breaker == guard.Closed })
	closed := time.Now()
	sent := g.health().Store.Events
	g.await("webhooks are stored as before", func() bool { return g.health().Store.Events > sent+50 })
	stream.end()
	g.awaitDrained()

	all := attempts(t, stream.ledger)
	accepted := func(from, to time.Time) string {
		return figures(all, func(a load.Attempt) bool {
			return a.Accepted() && a.Sent.After(from) &&
				a.Sent.Before(to)
		})
	}
	t.Logf("open %v after the lock, closed %v after its end; accepted before: %s; until open: %s;"+
		" until closed: %s; after: %s; refused: %s",
		opened.Sub(locked).Round(time.Millisecond), closed.Sub(freed).Round(time.Millisecond),
		accepted(time.Time{}, locked),
		accepted(locked, opened), accepted(opened, closed), accepted(closed, time.Now()),
		figures(all, func(a load.Attempt) bool { return !a.Accepted() }))
	refused := 0
	for _, a := range all {
		if !a.Accepted() {
			if refused++; a.Status != http.StatusServiceUnavailable {
				t.Errorf("an attempt ended with %d %s", a.Status, a.Error)
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	for _, line := range []string{"breaker opened", "breaker admits webhooks again",
		"breaker closed"} {
		if !strings.Contains(g.logs.String(), line) {
			t.Errorf("the log does not tell that the %s", line)
		}
	}
	auditStore(t, g, stream.input, stream.ledger)
}

// TestOverload sends from 500 connections at full speed to a gate with a limit on its latency. It
// rejects only with 503, stores everything acknowledged, and its memory stays bounded.
func TestOverload(t *testing.T) {
	t.Parallel()
	var input bytes.Buffer
	if err := (load.Generator{Count: overloadEvents, Keys: 5000, Size: 400, Seed: 7}).
		Generate(t.Context(), &input); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	events, ledger := filepath.Join(dir, "events.ndjson"), filepath.Join(dir, "ledger.ndjson")
	if err := os.WriteFile(events, input.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startGate(t, startOptions{env: []string{
		"HOOKGATE_GUARD_IN_FLIGHT_MAX=250",
		"HOOKGATE_GUARD_IN_FLIGHT_LATENCY=20ms", "HOOKGATE_LOG_LEVEL=error",
	}})
	replay := exec.Command(binary, "replay", "--input", events, "--target", g.url, "--output", ledger,
		"--data-dir", g.dir,
		"--rate-limit", "0", "--concurrency", "500", "--retries", "0", "--timeout", "1m")
	out, err := replay.CombinedOutput()
	if err != nil && replay.ProcessState == nil {
		t.Fatal(err)
	}
	peak := g.memoryPeak()
	g.awaitDrained()
	all := attempts(t, ledger)
	refused := 0
	for _, a := range all {
		switch {
		case a.Accepted():
		case a.Status == http.StatusServiceUnavailable:
			refused++
		default:
			t.Errorf("an attempt ended with %d %s", a.Status, a.Error)
		}
	}
	if len(all) != overloadEvents {
		t.Errorf("%d attempts, want %d:\n%s", len(all), overloadEvents, out)
	}
	if refused == 0 || refused == len(all) {
		t.Errorf("%d of %d were refused", refused, len(all))
	}
	if peak > 500 {
		t.Errorf("the gate has taken %d MiB", peak)
	}
	t.Logf("accepted: %s; refused: %s; at most %d MiB; bound in flight at the end %d\n%s",
		figures(all, load.Attempt.Accepted),
		figures(all, func(a load.Attempt) bool { return !a.Accepted() }), peak,
		g.guardStatus().InFlightLimit, out)
	auditStore(t, g, input.Bytes(), ledger)
}

// overloadEvents is the number of events that TestOverload sends.
var overloadEvents = modeltest.Pick(6_000, 60_000)
