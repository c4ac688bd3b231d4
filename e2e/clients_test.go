package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate/api"
	"github.com/hookgate/hookgate/internal/modeltest"
)

// exampleClient is a program of examples/consumers as a process, which pulls the events of the
// subscription of its name.
type exampleClient struct {
	t       *testing.T
	name    string
	command []string
	env     []string
	// database is the file in which it has its effects.
	database string
	effects  func(t *testing.T, database string) []clientEffect
	cmd      *exec.Cmd
	out      *output
}

// clientEffect is the effect of an event.
type clientEffect struct{ Event, Key string }

// exampleClients makes the three programs ready to run.
func exampleClients(t *testing.T) []*exampleClient {
	t.Helper()
	dir, err := filepath.Abs("../examples/consumers")
	must(t, err)
	built := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	run("go", "build", "-ldflags", "-w", "-o", filepath.Join(built, "consumer"), "./go")
	// Node 22 strips the types itself. tsc also checks them.
	modules, err := filepath.Abs(filepath.Join(packagesDir, "node_modules"))
	must(t, err)
	run(filepath.Join(modules, ".bin", "tsc"), "--strict", "--erasableSyntaxOnly", "--noEmitOnError",
		"--skipLibCheck", "--target", "es2023", "--module", "esnext", "--moduleResolution", "bundler",
		"--types", "node", "--typeRoots", filepath.Join(modules, "@types"), "--outDir", built,
		"typescript/consumer.ts")
	must(t, os.Rename(filepath.Join(built, "consumer.js"), filepath.Join(built, "consumer.mjs")))
	clients := []*exampleClient{
		{name: "go", command: []string{filepath.Join(built, "consumer")}, effects: tableEffects},
		{name: "python", command: []string{"python3", filepath.Join(dir, "python", "consumer.py")},
			effects: tableEffects},
		{name: "typescript", command: []string{"node", filepath.Join(built, "consumer.mjs")},
			effects: journalEffects},
	}
	memory := memoryDir(t)
	for _, c := range clients {
		c.t, c.out, c.database = t, &output{}, filepath.Join(memory, c.name)
	}
	return clients
}

// memoryDir returns a new folder in memory. The programs sync each event to the disk, which makes
// no difference to a test that kills processes.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hookgate-test-")
	if err != nil {
		return t.TempDir() // not Linux
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// tableEffects reads the effects of a client with a database.
func tableEffects(t *testing.T, database string) (all []clientEffect) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+database)
	must(t, err)
	defer db.Close()
	rows, err := db.QueryContext(context.Background(), "SELECT event, key FROM effects ORDER BY rowid")
	must(t, err)
	defer rows.Close()
	for rows.Next() {
		var e clientEffect
		must(t, rows.Scan(&e.Event, &e.Key))
		all = append(all, e)
	}
	must(t, rows.Err())
	return all
}

// journalEffects reads the effects of a client with a journal.
func journalEffects(t *testing.T, database string) (all []clientEffect) {
	t.Helper()
	data, err := os.ReadFile(database)
	must(t, err)
	for line := range bytes.Lines(data) {
		var entry struct{ Effect clientEffect }
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("the journal has the line %q: %v", line, err)
		}
		all = append(all, entry.Effect)
	}
	return all
}

func (c *exampleClient) start() {
	c.t.Helper()
	c.cmd = exec.Command(c.command[0], c.command[1:]...)
	c.cmd.Env = append(append(os.Environ(), "DATABASE="+c.database), c.env...)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// kill ends the process with SIGKILL.
func (c *exampleClient) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

// stop ends the process with SIGTERM. It must have acknowledged everything that it had.
func (c *exampleClient) stop(g *gate) {
	c.t.Helper()
	c.cmd.Process.Signal(syscall.SIGTERM)
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("%s: after SIGTERM: %v\n%s", c.name, err, c.out)
	}
	if s, ok := g.subscription(c.name); !ok || s.Leased > 0 {
		c.t.Errorf("%s: after SIGTERM the subscription is %+v", c.name, s)
	}
}

// ackTrap is a proxy of the gate. While it is set, it holds back the acknowledgements of a
// subscription.
type ackTrap struct {
	gate *httputil.ReverseProxy
	mu   sync.Mutex
	set  string        // a subscription
	hit  chan struct{} // closed when it holds one back
}

func (p *ackTrap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	trapped := p.set != "" && r.URL.Path == "/api/subscriptions/"+p.set+"/ack"
	if trapped {
		p.set = ""
		close(p.hit)
	}
	p.mu.Unlock()
	if !trapped {
		p.gate.ServeHTTP(w, r)
		return
	}
	io.Copy(io.Discard, r.Body) // the server notices the end of the client only after the body
	<-r.Context().Done()
}

// await returns when the proxy has held back an acknowledgement of a subscription.
func (p *ackTrap) await(t *testing.T, subscription string) {
	t.Helper()
	p.mu.Lock()
	p.set, p.hit = subscription, make(chan struct{})
	p.mu.Unlock()
	select {
	case <-p.hit:
	case <-time.After(waitFor):
		t.Fatalf("%s acknowledges nothing", subscription)
	}
}

// TestExampleClients runs the programs of examples/consumers against the gate under load, and kills
// each of them and the gate with SIGKILL: at random moments, and when a program has had effects
// whose acknowledgement has not arrived. A program that gets SIGTERM ends with code 0 and leaves no
// lease. One event always fails: it becomes a dead letter and holds up no other key. In the end
// each program has had the effect of every other event exactly once, and of each key in order.
func TestExampleClients(t *testing.T) {
	t.Parallel()
	clients := exampleClients(t)
	config := filepath.Join(t.TempDir(), "hookgate.yaml")
	var text bytes.Buffer
	text.WriteString("subscriptions:\n")
	// On a slow machine a lease may end while its program works. That must not repeat for so long that
	// an event becomes a dead letter.
	for _, c := range clients {
		fmt.Fprintf(&text, "  %s: {pull: {}, start: beginning, "+
			"retry: {first: 100ms, max: 1s, for: 20s}, then: dead_letter}\n", c.name)
	}
	must(t, os.WriteFile(config, text.Bytes(), 0o600))
	options := startOptions{env: []string{"HOOKGATE_CONFIG=" + config}}
	g := startGate(t, options)
	options.dir, options.listen = g.dir, strings.TrimPrefix(g.url, "http://")
	target, err := url.Parse(g.url)
	must(t, err)
	trap := &ackTrap{gate: httputil.NewSingleHostReverseProxy(target)}
	trap.gate.ErrorLog = log.New(io.Discard, "", 0) // while the gate is away it answers 502
	proxy := httptest.NewServer(trap)
	t.Cleanup(proxy.Close)
	for _, c := range clients {
		c.env = []string{"HOOKGATE_URL=" + proxy.URL, "HOOKGATE_SUBSCRIPTION=" + c.name,
			"HOOKGATE_TOKEN=" + g.newConsumerToken(c.name, c.name), "LEASE_SECONDS=3"}
		c.start()
		t.Cleanup(func() { c.kill() })
	}
	stream := startStreamOf(t, g, modeltest.Pick(25.0, 100), &stream{mixed: true})
	for _, body := range []string{
		`{"messageId":"poison","eventType":"order.paid","orderingKey":"customer-poison"}`,
		`{"messageId":"behind","eventType":"order.paid","orderingKey":"customer-poison","payload":1}`,
	} {
		if status, answer := g.send(body); status != http.StatusAccepted {
			t.Fatalf("%s is answered %d %s", body, status, answer)
		}
	}
	for _, c := range clients {
		g.awaitSubscription(c.name, "the program works", func(s api.Subscription) bool {
			return s.LastDeliveredAt != nil
		})
		c.stop(g)
		c.start()
	}
	const gateOf = 7 // one kill in so many is that of the gate
	next := 0
	stream.whileSending(modeltest.Pick(gateOf, 105), 300*time.Millisecond, func(n int) {
		if n%gateOf == gateOf/2 {
			g.kill()
			g = startGate(t, options)
			return
		}
		c := clients[next%len(clients)]
		if next++; next%2 == 0 {
			trap.await(t, c.name)
		}
		c.kill()
		c.start()
	})
	g.awaitDrained()
	events, ok := g.logBehind("")
	if !ok {
		t.Fatal("the log cannot be read")
	}
	for _, c := range clients {
		g.awaitSubscription(c.name, "everything is settled", func(s api.Subscription) bool {
			return s.Cursor == s.End && s.Waiting == 0 && s.Held == 0 && s.Leased == 0
		})
		if s, _ := g.subscription(c.name); s.Dead != 1 || s.Parked != 0 {
			t.Errorf("%s: %d dead letters and %d parked events, want 1 and 0", c.name, s.Dead, s.Parked)
		}
		c.stop(g)
		c.audit(events)
	}
}

// audit compares the effects with the events of the log.
func (c *exampleClient) audit(events []storedEvent) {
	c.t.Helper()
	keys := map[string]string{} // by event
	for _, e := range events {
		if keys[e.ID] = "e:" + e.ID; e.keyed() {
			keys[e.ID] = "k:" + e.OrderingKey
		}
		if e.MessageID == "poison" {
			delete(keys, e.ID)
		}
	}
	problems := &problems{t: c.t, of: c.name}
	last := map[string]int64{}
	effects := c.effects(c.t, c.database)
	for _, e := range effects {
		id, err := strconv.ParseInt(e.Event, 10, 64)
		if err != nil || keys[e.Event] != e.Key {
			problems.add("%+v is a second effect, or it has no event with this key", e)
		}
		delete(keys, e.Event)
		if id < last[e.Key] {
			problems.add("the effect of %+v comes after that of %d", e, last[e.Key])
		}
		last[e.Key] = id
	}
	for id, key := range keys {
		problems.add("no effect of event %s of key %s", id, key)
	}
	problems.end()
	c.t.Logf("%s: audited %d effects", c.name, len(effects))
}

// TestExampleClientsAreShort checks what examples/consumers/README.md says about the programs.
func TestExampleClientsAreShort(t *testing.T) {
	for _, file := range []string{"go/main.go", "python/consumer.py", "typescript/consumer.ts"} {
		text, err := os.ReadFile(filepath.Join("../examples/consumers", file))
		must(t, err)
		if lines := bytes.Count(text, []byte("\n")); lines >= 60 {
			t.Errorf("%s has %d lines, want less than 60", file, lines)
		}
	}
}
