package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hookgate/hookgate/api"
)

// running is a command of hookgate that runs for a while.
type running struct {
	cmd       *exec.Cmd
	out, errs *output
	ended     chan struct{}
}

// begin starts a command against a gate. The end of the test kills it.
func (g *gate) begin(args ...string) *running {
	g.t.Helper()
	r := &running{out: &output{}, errs: &output{}, ended: make(chan struct{})}
	r.cmd = exec.Command(binary, append(args, "--target", g.api(), "--data-dir", g.dir)...)
	r.cmd.Env = append(os.Environ(), g.env...)
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.errs
	must(g.t, r.cmd.Start())
	go func() {
		r.cmd.Wait()
		close(r.ended)
	}()
	g.t.Cleanup(func() { r.end(syscall.SIGKILL) })
	return r
}

// end sends a signal and returns the exit code.
func (r *running) end(s syscall.Signal) int {
	r.cmd.Process.Signal(s)
	<-r.ended
	return r.cmd.ProcessState.ExitCode()
}

// again kills the gate with SIGKILL and starts it on the same address.
func (g *gate) again(o startOptions) *gate {
	g.t.Helper()
	g.kill()
	o.dir, o.listen = g.dir, strings.TrimPrefix(g.url, "http://")
	return startGate(g.t, o)
}

// hookApp is an application that verifies GitHub. It answers the first request for every tenth
// event with 500.
type hookApp struct {
	t       *testing.T
	address string
	server  *http.Server

	mu    sync.Mutex // guards the fields below
	tried map[string]bool
	got   []string // ids of deliveries, "key/n", in the order taken
}

// start listens, on the address of before if there was one.
func (a *hookApp) start() {
	a.t.Helper()
	l, err := net.Listen("tcp", a.address)
	must(a.t, err)
	a.address, a.server = l.Addr().String(), &http.Server{Handler: a}
	go a.server.Serve(l)
	a.t.Cleanup(func() { a.server.Close() })
}

func (a *hookApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off
	}
	id := r.Header.Get("X-GitHub-Delivery")
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.Header.Get("X-Hub-Signature-256") != githubSignature(body) || r.URL.Path != "/webhooks" ||
		r.Header.Get("X-GitHub-Event") != "push" || string(body) != hookBody(id) ||
		r.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		a.t.Errorf("%s came as %s with %v", id, body, r.Header)
	}
	if strings.HasSuffix(id, "0") && !a.tried[id] {
		a.tried[id] = true
		http.Error(w, "not today", http.StatusInternalServerError)
		return
	}
	a.got = append(a.got, id)
}

func (a *hookApp) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	distinct := slices.Clone(a.got)
	slices.Sort(distinct)
	return len(slices.Compact(distinct))
}

func githubSignature(body []byte) string {
	mac := hmac.New(sha256.New, []byte(githubSecret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// hookBody has bytes that a JSON library would write in another way.
func hookBody(id string) string {
	key, _, _ := strings.Cut(id, "/")
	return fmt.Sprintf("{ \"id\":%q,\t\"text\":\"\\u0065\\/<&\", \"repository\":{\"full_name\":%q} }\r\n",
		id, key)
}

// TestForward forwards events to an application, and follows them, while the gate and the
// application are killed and started again. The application gets each event with the bytes and the
// signature of the sender, in order per key. After SIGINT the subscription is gone.
func TestForward(t *testing.T) {
	t.Parallel()
	o := startOptions{env: []string{"GITHUB_SECRET=" + githubSecret}, args: []string{"--config",
		writeConfig(t, "sources: {github: {kind: github, secrets: [env:GITHUB_SECRET]}}")}}
	g := startGate(t, o)
	sent := 0
	send := func(last int) {
		t.Helper()
		for ; sent < last; sent++ {
			id := fmt.Sprintf("%c/%d", 'a'+sent%3, sent)
			status, answer := g.request(http.MethodPost, "/webhooks/github", hookBody(id),
				"Content-Type", "application/json; charset=utf-8", "X-GitHub-Event", "push",
				"X-GitHub-Delivery", id, "X-Hub-Signature-256", githubSignature([]byte(hookBody(id))))
			if status != http.StatusAccepted {
				t.Fatalf("%s is answered %d %s", id, status, answer)
			}
		}
	}
	send(5)
	app := &hookApp{t: t, address: "127.0.0.1:0", tried: map[string]bool{}}
	app.start()
	to := "http://" + app.address + "/webhooks"
	forward := g.begin("forward", "--to", to, "--source", "github", "--since", "1h")
	follow := g.begin("events", "--follow", "--after", "0")
	await := func(n int) {
		t.Helper()
		g.await(fmt.Sprintf("the application has %d events", n), func() bool { return app.count() == n })
		g.await(fmt.Sprintf("%d events are printed", n), func() bool {
			return strings.Count(follow.out.String(), "\n") == n
		})
	}
	await(5)
	g = g.again(o)
	send(12)
	await(12)
	must(t, app.server.Close())
	send(15)
	g.await("forward says that nobody answers", func() bool {
		return strings.Contains(forward.errs.String(), to+" does not answer: ")
	})
	g = g.again(o)
	app.start()
	send(21)
	await(21)

	if code := forward.end(syscall.SIGINT); code != 0 {
		t.Errorf("forward ended with %d", code)
	}
	if code := follow.end(syscall.SIGTERM); code != 0 {
		t.Errorf("follow ended with %d: %s", code, follow.errs)
	}
	lines := forward.out.String()
	if strings.Count(lines, "  200  ") != len(app.got) || strings.Count(lines, "not today") != 3 ||
		!strings.Contains(forward.errs.String(), " 21 delivered in ") ||
		strings.Contains(forward.errs.String(), "not delivered") {
		t.Errorf("forward printed\n%s%s", lines, forward.errs)
	}
	if _, list, _ := g.hookgate("subscriptions", "list"); strings.Contains(list, "temporary") {
		t.Errorf("the subscription is not deleted: %s", list)
	}
	last := map[string]int{}
	for _, id := range app.got {
		key, number, _ := strings.Cut(id, "/")
		var n int
		fmt.Sscan(number, &n)
		if n < last[key] {
			t.Errorf("%s came after %s/%d", id, key, last[key])
		}
		last[key] = n
	}
	if code, _, errs := g.hookgate("forward", "--to", to, "--source", "gitlab"); code != 2 ||
		!strings.Contains(errs, "the gate has no source gitlab, only ") {
		t.Errorf("an unknown source: %d %s", code, errs)
	}
}

// TestPullExec kills hookgate pull in the middle of a batch, once with SIGKILL and once with a
// second SIGTERM, which kills the command too. Nothing is acknowledged, and the next process gets
// all events again. It has the token of a consumer.
func TestPullExec(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{args: []string{"--config", writeConfig(t,
		"subscriptions: {warehouse: {pull: {}, start: beginning}}")}})
	code, token, errs := g.hookgate("token", "create", "--name", "warehouse", "--role", "consumer",
		"--subscription", "warehouse", "--json")
	if code != 0 {
		t.Fatal(errs)
	}
	var made api.NewToken
	must(t, json.Unmarshal([]byte(token), &made))
	g.env = []string{"HOOKGATE_TOKEN=" + made.Text}
	g.sendKey("a", 1, 3)
	g.sendKey("b", 1, 2)
	dir := t.TempDir()
	first, finish := filepath.Join(dir, "first"), filepath.Join(dir, "finish")
	killed := g.begin("pull", "warehouse", "--lease", "1s", "--exec",
		"exec >/dev/null 2>&1; cat > "+first+"; until [ -e "+finish+" ]; do sleep 0.05; done")
	g.await("the command has the events", func() bool {
		text, _ := os.ReadFile(first)
		return strings.Count(string(text), "\n") == 5
	})
	killed.end(syscall.SIGKILL)
	must(t, os.WriteFile(finish, nil, 0o600)) // the command lives on, and nobody hears of its success
	pidFile := filepath.Join(dir, "pid")
	cut := g.begin("pull", "warehouse", "--lease", "1s", "--exec",
		"echo $$ > "+pidFile+".new; mv "+pidFile+".new "+pidFile+"; sleep 1000")
	var pid int
	g.await("the command runs", func() bool {
		text, _ := os.ReadFile(pidFile)
		n, _ := fmt.Sscan(string(text), &pid)
		return n == 1
	})
	cut.cmd.Process.Signal(syscall.SIGTERM)
	g.await("pull waits for the command", func() bool {
		return strings.Contains(cut.errs.String(), "finishing the batch of ")
	})
	if code := cut.end(syscall.SIGTERM); code != 128+int(syscall.SIGTERM) {
		t.Errorf("after a second signal pull ended with %d: %s", code, cut.errs)
	}
	g.await("the command is killed too", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
	second := filepath.Join(dir, "second")
	pull := g.begin("pull", "warehouse", "--wait", "1s", "--exec", "cat >> "+second)
	g.await("the events come again", func() bool {
		text, _ := os.ReadFile(second)
		return strings.Count(string(text), "\n") == 5
	})
	if code := pull.end(syscall.SIGTERM); code != 0 {
		t.Errorf("pull ended with %d: %s", code, pull.errs)
	}
	if code, out, errs := g.hookgate("pull", "warehouse", "--once", "--wait", "0s"); code != 0 ||
		out != "" {
		t.Errorf("a pull after all was acknowledged: %d %s%s", code, out, errs)
	}
}
