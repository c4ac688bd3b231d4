package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// ward is one gate, or several on shared backends, whose store can be made to reject events.
type ward struct {
	t *testing.T
	// gates take calls. Each can retry dead letters of the others.
	gates []*gate
	// poison makes the store reject events whose message id begins with "bad". cure ends that.
	poison, cure func()
	// restart starts a killed gate again.
	restart func(*gate) *gate
}

// poisonFile makes the store of an embedded gate reject events whose message id begins with "bad".
// cureFile ends that.
func poisonFile(t *testing.T, g *gate) {
	t.Helper()
	changeFile(t, g, `CREATE TRIGGER poison BEFORE INSERT ON webhook_events WHEN NEW.message_id GLOB 'bad*'
		BEGIN SELECT raise(ABORT, 'poisoned by the test'); END`)
}

func cureFile(t *testing.T, g *gate) {
	t.Helper()
	changeFile(t, g, "DROP TRIGGER poison")
}

func changeFile(t *testing.T, g *gate, script string) {
	t.Helper()
	conn, err := sqlite.OpenConn(filepath.Join(g.dir, "store.db"), sqlite.OpenReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := sqlitex.ExecuteScript(conn, script, nil); err != nil {
		t.Fatal(err)
	}
}

// eachWard runs a test with an embedded gate and with Redis and PostgreSQL.
func eachWard(t *testing.T, test func(*ward)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		g := startGate(t, startOptions{})
		test(&ward{
			t: t, gates: []*gate{g, g},
			poison: func() { poisonFile(t, g) },
			cure:   func() { cureFile(t, g) },
			restart: func(g *gate) *gate {
				return startGate(t, startOptions{dir: g.dir, listen: strings.TrimPrefix(g.url, "http://")})
			},
		})
	})
	t.Run("Redis and PostgreSQL", func(t *testing.T) {
		t.Parallel()
		s := newShared(t)
		execute := func(script string) func() {
			return func() {
				t.Helper()
				if err := s.postgres.Exec(t.Context(), s.database, script); err != nil {
					t.Fatal(err)
				}
			}
		}
		test(&ward{
			t: t, gates: []*gate{s.start(roleIngest), s.start(roleWorker)},
			poison: execute("ALTER TABLE hookgate.webhook_events ADD CONSTRAINT poisoned CHECK" +
				" (message_id NOT LIKE 'bad%') NOT VALID"),
			cure: execute("ALTER TABLE hookgate.webhook_events DROP CONSTRAINT poisoned"),
			restart: func(g *gate) *gate {
				return startGate(t, startOptions{dir: g.dir, listen: strings.TrimPrefix(g.url, "http://"),
					env: s.env(), args: []string{"--role", roleIngest}})
			},
		})
	})
}

// dlq runs the command dlq against gate n.
func (w *ward) dlq(n int, args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	g := w.gates[n]
	return runBinary(w.t, nil, append(append([]string{"dlq"}, args...), "--target", g.url,
		"--data-dir", g.dir)...)
}

// mustDLQ is dlq and expects exit code 0.
func (w *ward) mustDLQ(n int, args ...string) string {
	w.t.Helper()
	code, out, errs := w.dlq(n, args...)
	if code != 0 {
		w.t.Fatalf("dlq %v ended with %d: %s%s", args, code, out, errs)
	}
	return out
}

// list returns the last dead letter of each message id.
func (w *ward) list(args ...string) map[string]letter {
	w.t.Helper()
	all := map[string]letter{}
	for line := range strings.Lines(w.mustDLQ(0, append([]string{"list", "--json", "--limit", "0"},
		args...)...)) {
		var l letter
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			w.t.Fatalf("%s: %v", line, err)
		}
		all[l.MessageID] = l
	}
	return all
}

// verified audits the store.
func (w *ward) verified() string {
	w.t.Helper()
	code, out, errs := runBinary(w.t, w.gates[0].env, "audit", "verify", "--data-dir", w.gates[0].dir)
	if code != 0 {
		w.t.Errorf("audit verify ended with %d: %s%s", code, out, errs)
	}
	return out
}

// stagesOf returns the stages of each request with a message id.
func (w *ward) stagesOf(id string) (all []string) {
	w.t.Helper()
	_, body := w.gates[0].request(http.MethodGet, "/api/trace/"+id, "")
	var found trace
	if err := json.Unmarshal([]byte(body), &found); err != nil {
		w.t.Fatalf("trace of %s: %s", id, body)
	}
	for _, r := range found.Requests {
		var names []string
		for _, s := range r.Stages {
			names = append(names, s.Stage)
		}
		all = append(all, strings.Join(names, " "))
	}
	return all
}

// TestDeadLetters takes dead letters through their life: listed, shown, retried without success,
// retried from two processes at once, by filter and all together, purged. Each retried one becomes
// one event with its lineage and its exact body, and the audit passes.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	eachWard(t, func(w *ward) {
		body := func(id, kind string) string {
			return fmt.Sprintf(`{"messageId":%q, "eventType":%q,"orderingKey":"k","odd":"\u0000 <é>" }`, id,
				kind)
		}
		send := func(id, kind string) {
			w.t.Helper()
			if status, answer := w.gates[0].send(body(id, kind)); status != http.StatusAccepted {
				w.t.Fatalf("%s is answered %d %s", id, status, answer)
			}
		}
		w.poison()
		for n := range 5 {
			send(fmt.Sprint("good-", n), "t-a")
			send(fmt.Sprint("bad-", n), "t-a")
			send(fmt.Sprint("bad-b", n), "t-b")
		}
		send("bad-0", "t-a") // a duplicate
		w.gates[0].awaitDrained()

		open := w.list()
		if len(open) != 10 || open["bad-0"].State != "open" || !strings.HasPrefix(open["bad-0"].Reason,
			"store event default/t-a/bad-0: ") &&
			!strings.HasPrefix(open["bad-0"].Reason, "ERROR: ") {
			w.t.Fatalf("open are %+v", open)
		}
		if out := w.mustDLQ(0, "list", "--type", "t-b"); strings.Count(out, "\n") != 6 ||
			!strings.Contains(out, "bad-b4") {
			w.t.Errorf("listed are\n%s", out)
		}
		if out := w.mustDLQ(1, "show", open["bad-0"].ID); !strings.Contains(out, "default/t-a/bad-0") ||
			!strings.Contains(out, "dead_lettered") ||
			!strings.Contains(out, "poisoned") {
			w.t.Errorf("shown is\n%s", out)
		}
		if out := w.mustDLQ(0, "show", "--body", open["bad-0"].ID); out != body("bad-0", "t-a") {
			w.t.Errorf("its body is %q", out)
		}

		// The store still rejects it: the retry makes a new dead letter that names the old one.
		out := w.mustDLQ(0, "retry", open["bad-0"].ID, "--reason", "too early")
		w.gates[0].awaitDrained()
		again := w.list()["bad-0"]
		if len(w.list()) != 10 || again.RetryOf != open["bad-0"].RequestID ||
			!strings.Contains(out, again.RequestID) {
			w.t.Errorf("after a replay in vain, which said %s, open are %+v", out, w.list())
		}
		if out := w.mustDLQ(0, "show", again.ID); strings.Count(out, "\nfailed ") != 2 ||
			!strings.Contains(out, "retry of "+again.RetryOf) {
			w.t.Errorf("its history is\n%s", out)
		}
		if l := w.list("--state", "superseded")["bad-0"]; l.RequestID != again.RetryOf {
			w.t.Errorf("superseded is %+v", l)
		}

		// The store accepts everything now. Two processes retry at once, more than once.
		w.cure()
		var all sync.WaitGroup
		for n := range 4 {
			all.Go(func() { w.mustDLQ(n%2, "retry", again.ID) })
		}
		all.Wait()
		w.gates[0].awaitDrained()
		trail := w.stagesOf("bad-0")
		persisted := 0
		for _, stages := range trail {
			if stages == "received replayed enqueued processed persisted" {
				persisted++
			}
		}
		if persisted != 1 || trail[0] != "received enqueued processed dead_lettered" {
			w.t.Errorf("the lineage is %q", trail)
		}
		status, page := w.gates[1].request(http.MethodGet, "/api/events?messageId=bad-0", "")
		var events struct {
			Events []struct{ ID, OrderingKey string }
		}
		if err := json.Unmarshal([]byte(page), &events); err != nil || len(events.Events) != 1 ||
			events.Events[0].OrderingKey != "k" {
			w.t.Fatalf("stored are %d %s", status, page)
		}
		if _, got := w.gates[0].request(http.MethodGet, "/api/events/"+events.Events[0].ID+"/body",
			""); got != body("bad-0", "t-a") {
			w.t.Errorf("its body is %q", got)
		}
		if _, answer := w.gates[0].send(body("bad-0", "t-a")); !strings.Contains(answer,
			"duplicate_detected") {
			w.t.Errorf("sent again it is answered %s", answer)
		}
		if code, out, errs := w.dlq(0, "retry", again.ID); code != 0 ||
			!strings.Contains(errs, "its event is stored") {
			w.t.Errorf("replayed once more it ends with %d: %s%s", code, out, errs)
		}

		// Retries by filter, and purges.
		if out := w.mustDLQ(1, "retry", "--type", "t-b", "--failed-with",
			"poisoned"); !strings.Contains(out, "5 retried") {
			w.t.Errorf("by filter: %s", out)
		}
		w.gates[0].awaitDrained()
		if code, _, errs := w.dlq(0, "purge", open["bad-4"].ID); code != exitFail ||
			!strings.Contains(errs, "--lose-events") {
			w.t.Errorf("a purge of an open one ended with %d: %s", code, errs)
		}
		w.mustDLQ(0, "purge", open["bad-4"].ID, "--lose-events", "--reason", "nobody wants it")
		if code, _, errs := w.dlq(0, "retry", open["bad-4"].ID); code != exitFail ||
			!strings.Contains(errs, "purged") {
			w.t.Errorf("a replay of a purged one ended with %d: %s", code, errs)
		}
		if out := w.mustDLQ(0, "retry", "--all", "--reason", "cured"); !strings.Contains(out,
			"3 retried") {
			w.t.Errorf("all: %s", out)
		}
		w.gates[0].awaitDrained()
		if left := w.list(); len(left) != 0 {
			w.t.Errorf("still open are %+v", left)
		}
		if out := w.mustDLQ(0, "purge", "--all"); !strings.Contains(out, "10 purged") { // two are of bad-0
			w.t.Errorf("the purge of what is stored: %s", out)
		}
		if trail := w.stagesOf("bad-4"); len(trail) != 1 ||
			!strings.HasSuffix(trail[0], "dead_lettered purged") {
			w.t.Errorf("the lineage of what was purged is %q", trail)
		}
		for _, id := range []string{"bad-1", "bad-2", "bad-3", "bad-b0", "bad-b1", "bad-b2", "bad-b3",
			"bad-b4"} {
			trail := w.stagesOf(id)
			if want := []string{"received enqueued processed dead_lettered purged",
				"received replayed enqueued processed persisted"}; !slices.Equal(trail, want) {
				w.t.Errorf("the lineage of %s is %q, want %q", id, trail, want)
			}
		}
		if out := w.verified(); !strings.Contains(out, "dead letters (11 purged)") {
			w.t.Errorf("the audit says %s", out)
		}
		_, actions, _ := runBinary(w.t, nil, "audit", "actions", "--target", w.gates[0].url, "--data-dir",
			w.gates[0].dir)
		for _, want := range []string{"dlq_retry", "dlq_purge", "nobody wants it", "cured",
			"done: 3 retried, 0 not"} {
			if !strings.Contains(actions, want) {
				w.t.Errorf("the admin trail lacks %q:\n%s", want, actions)
			}
		}
	})
}

// TestRetryKilled kills the gate with SIGKILL while it retries many dead letters, and then retries
// them again. Each is stored once, and the lineage of all requests is complete.
func TestRetryKilled(t *testing.T) {
	t.Parallel()
	eachWard(t, func(w *ward) {
		const many = 120
		acknowledged := map[string][]string{}
		w.poison()
		for n := range many {
			id := fmt.Sprint("bad-", n)
			status, answer := w.gates[0].send(fmt.Sprintf(
				`{"messageId":%q,"eventType":"t","orderingKey":"k%d"}`, id, n%20))
			var accepted struct{ RequestID string }
			if err := json.Unmarshal([]byte(answer), &accepted); err != nil ||
				status != http.StatusAccepted {
				w.t.Fatalf("%d %s", status, answer)
			}
			acknowledged[id] = []string{accepted.RequestID}
		}
		w.gates[0].awaitDrained()
		if open := w.list(); len(open) != many {
			w.t.Fatalf("%d are open, want %d", len(open), many)
		}
		w.cure()

		// Retries run 10 at a time. The gate is killed after a third of them.
		victim, third := w.gates[0], make(chan struct{})
		var replaying sync.WaitGroup
		replaying.Go(func() {
			after := ""
			for calls := 0; ; calls++ {
				status, answer := victim.request(http.MethodPost, "/admin/dlq/retry",
					fmt.Sprintf(`{"all":true,"limit":10%s}`, after))
				if calls == many/10/3 {
					close(third)
				}
				var page struct{ Next string }
				if status != http.StatusAccepted || json.Unmarshal([]byte(answer), &page) != nil ||
					page.Next == "" {
					return
				}
				after = fmt.Sprintf(`,"after":%q`, page.Next)
			}
		})
		<-third
		victim.kill()
		replaying.Wait()
		w.gates[0] = w.restart(victim)
		w.mustDLQ(0, "retry", "--all")
		w.gates[0].awaitDrained()

		if open := w.list(); len(open) != 0 {
			w.t.Errorf("%d are still open", len(open))
		}
		stored := map[string]int{}
		_, events := w.gates[0].request(http.MethodGet, "/api/events", "", "Accept",
			"application/x-ndjson")
		for line := range strings.Lines(events) {
			stored[parseEvent(w.t, line).MessageID]++
		}
		for id := range acknowledged {
			if stored[id] != 1 {
				w.t.Errorf("%s is stored %d times", id, stored[id])
			}
		}
		auditLineage(w.t, w.gates[0], acknowledged)
		w.verified()
	})
}

// TestRetryContinues checks that a retry of many dead letters continues where the last answer says,
// also after the queue was full, and that it gives up if there is no progress. A script plays the
// gate, because a test cannot control when a real queue is full.
func TestRetryContinues(t *testing.T) {
	t.Parallel()
	one := func(id int) string {
		return fmt.Sprintf(`{"id":"%d","requestId":"r%[1]d","retryOf":"d%[1]d","jobId":"0:0-%[1]d"}`, id)
	}
	full := `{"status":"error","error":"the queue is at its high-water mark","requestId":"x",` +
		`"retried":[%s],"skipped":[],"next":"%s"}`
	for _, test := range []struct {
		name string
		// answers are those of the gate, as status and body. The last is repeated. after is what each
		// call must contain.
		answers  []string
		after    []string
		code     int
		out, err string
	}{
		{"to the end",
			[]string{"202 {\"retried\":[" + one(1) + "],\"skipped\":[],\"next\":\"1.5\"}", "503 " +
				fmt.Sprintf(full, one(2), "2.5"),
				"503 " + fmt.Sprintf(full, "", "2.5"), "200 {\"retried\":[" + one(3) +
					`],"skipped":[{"id":"4","state":"stored","reason":"its event is stored"}]}`},
			[]string{"", "1.5", "2.5", "2.5"}, 0, "3 retried\n", "4: not retried: its event is stored\n"},
		{"cannot all be retried", []string{`200 {"retried":[],"skipped":[{"id":"4","state":"open",` +
			`"reason":"no identity"}]}`}, []string{""},
			exitFail, "0 retried\n", "1 could not be retried"},
		{"stuck", []string{"202 {\"retried\":[" + one(1) + "],\"skipped\":[],\"next\":\"1.5\"}", "503 " +
			fmt.Sprintf(full, "", "1.5")},
			slices.Concat([]string{""}, slices.Repeat([]string{"1.5"}, retryRefusals)), exitFail, "",
			"1 retried, then: the gate answers 503"},
		{"broken", []string{`500 {"error":"broken"}`}, []string{""}, exitNoResult, "", "broken"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var after []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var body struct {
					All   bool
					After string
				}
				if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !body.All ||
					r.URL.Path != "/admin/dlq/retry" || r.Header.Get("X-Reason") != "why" {
					t.Errorf("asked for %s with %+v (error %v)", r.URL, body, err)
				}
				status, answer, _ := strings.Cut(test.answers[min(len(after), len(test.answers)-1)], " ")
				after = append(after, body.After)
				code, err := strconv.Atoi(status)
				if err != nil {
					t.Error(err)
				}
				w.WriteHeader(code)
				io.WriteString(w, answer)
			}))
			defer server.Close()
			code, out, errs := runBinary(t, []string{"ADMIN_TOKEN=x"}, "dlq", "retry", "--all", "--reason",
				"why", "--target", server.URL)
			if code != test.code || out != test.out || !strings.Contains(errs, test.err) {
				t.Errorf("ended with %d: %q and %q, want %d: %q and %q", code, out, errs, test.code, test.out,
					test.err)
			}
			if !slices.Equal(after, test.after) {
				t.Errorf("the calls go on behind %q, want %q", after, test.after)
			}
		})
	}
}
