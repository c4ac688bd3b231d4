package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/internal/pgtest"
)

// binary is the path of hookgate, built as users build it.
var binary string

func TestMain(m *testing.M) {
	if dir := os.Getenv(consumerVariable); dir != "" {
		os.Exit(runConsumer(dir))
	}
	if database := os.Getenv(handlerVariable); database != "" {
		os.Exit(runHandler(database, os.Args))
	}
	if config := os.Getenv(pullerVariable); config != "" {
		os.Exit(runPuller(config))
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "hookgate-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := build(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		clearEnvironment()
		defer endChromium()
		if err := runSideBySide(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return pgtest.Run(m).Run()
	}())
}

// runSideBySide allows two tests at a time for each processor, unless the command line sets a
// number. Most tests wait for a process, a disk or a clock.
func runSideBySide() error {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if set {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
}

// build makes binary. Users have no race detector in it; make soak has.
func build(dir string) error {
	binary = filepath.Join(dir, "hookgate")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-w", "-o", binary, "./cmd/hookgate")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if modeltest.Soak() {
		cmd = exec.Command("go", "build", "-trimpath", "-race", "-o", binary, "./cmd/hookgate")
	}
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build hookgate: %w\n%s", err, out)
	}
	return nil
}

// waitFor limits how long a test waits for a condition. Only a test that fails reaches it.
const waitFor = 3 * time.Minute

// gate is a hookgate process.
type gate struct {
	t   *testing.T
	url string
	// admin is the base URL of everything but webhooks, if it has a listener of its own.
	admin string
	dir   string
	env   []string // in addition to those of the test
	cmd   *exec.Cmd
	out   *output
	logs  *output
	// ended is closed when the process has ended; cmd.ProcessState is valid then.
	ended chan struct{}
}

// output collects the output of a process.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// startOptions are the options of startGate and spawnGate.
type startOptions struct {
	dir    string   // data directory; default: a new one
	listen string   // default: a free port on loopback
	args   []string // more arguments of serve
	env    []string
	prefix []string // a command that runs the gate, for example strace
	// program is the path of another build of hookgate; default: binary.
	program string
}

var (
	listensOn = regexp.MustCompile(`listens on (\S+)`)
	adminOn   = regexp.MustCompile(`metrics: only on (\S+)\.\n`)
)

// api is the base URL of everything but webhooks.
func (g *gate) api() string { return cmp.Or(g.admin, g.url) }

// at returns the URL of a path.
func (g *gate) at(path string) string {
	if strings.HasPrefix(path, "/webhooks") || path == "/livez" || path == "/readyz" {
		return g.url + path
	}
	return g.api() + path
}

// spawnGate starts a gate without waiting for it. The end of the test kills it.
func spawnGate(t *testing.T, o startOptions) *gate {
	t.Helper()
	if o.dir == "" {
		o.dir = filepath.Join(t.TempDir(), "data")
	}
	if o.listen == "" {
		o.listen = "127.0.0.1:0"
	}
	if o.program == "" {
		o.program = binary
	}
	args := append(o.prefix, o.program, "serve", "--data-dir", o.dir, "--listen", o.listen)
	args = append(args, o.args...)
	g := &gate{t: t, dir: o.dir, env: o.env, out: &output{}, logs: &output{},
		ended: make(chan struct{})}
	g.cmd = exec.Command(args[0], args[1:]...)
	g.cmd.Env = append(os.Environ(), o.env...)
	g.cmd.Stdout, g.cmd.Stderr = g.out, g.logs
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		g.cmd.Wait()
		close(g.ended)
	}()
	t.Cleanup(g.kill)
	return g
}

// startGate starts a gate and waits until it listens. The end of the test kills it.
func startGate(t *testing.T, o startOptions) *gate {
	t.Helper()
	g := spawnGate(t, o)
	g.awaitListening()
	return g
}

// awaitListening waits until the gate listens, and takes note of its address.
func (g *gate) awaitListening() {
	g.t.Helper()
	g.await("the gate listens", func() bool {
		if m := listensOn.FindStringSubmatch(g.out.String()); m != nil {
			g.url = "http://" + m[1]
			if m := adminOn.FindStringSubmatch(g.out.String()); m != nil {
				g.admin = "http://" + m[1]
			}
			return true
		}
		select {
		case <-g.ended:
			g.t.Fatalf("the gate ended: %v\n%s%s", g.cmd.ProcessState, g.out, g.logs)
		default:
		}
		return false
	})
}

// await waits until the condition is true.
func (g *gate) await(what string, condition func() bool) {
	g.t.Helper()
	// A pause grows with the wait, so that a long wait takes no processor time from the gate.
	pause := 2 * time.Millisecond
	for end := time.Now().Add(waitFor); !condition(); time.Sleep(pause) {
		pause = min(pause*5/4, 200*time.Millisecond)
		if time.Now().After(end) {
			g.t.Fatalf("not within %v: %s\nlog:\n%s", waitFor, what, tail(g.logs.String()))
		}
	}
}

func tail(log string) string { return log[max(0, len(log)-4000):] }

// kill ends the process group with SIGKILL: the gate and the command that runs it.
func (g *gate) kill() {
	syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
	<-g.ended
}

// stop ends the process with SIGTERM and checks that its exit code is 0.
func (g *gate) stop() {
	g.t.Helper()
	g.signal(syscall.SIGTERM)
	g.awaitEnd()
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		g.t.Fatalf("after SIGTERM the gate ended with %d\n%s", code, tail(g.logs.String()))
	}
}

func (g *gate) signal(s syscall.Signal) { syscall.Kill(g.cmd.Process.Pid, s) }

func (g *gate) awaitEnd() {
	g.t.Helper()
	select {
	case <-g.ended:
	case <-time.After(waitFor):
		g.t.Fatalf("the gate does not end\n%s", tail(g.logs.String()))
	}
}

func (g *gate) key(name string) string {
	g.t.Helper()
	key, err := dataDir(g.dir).readKey(name)
	if err != nil {
		g.t.Fatal(err)
	}
	return key
}

// notFollowing returns redirects instead of following them.
var notFollowing = &http.Client{CheckRedirect: func(*http.Request,
	[]*http.Request) error {
	return http.ErrUseLastResponse
}}

// request makes a request and returns the status and the body, or status 0 if the connection fails.
// It sends the admin token to the API unless header has an Authorization.
func (g *gate) request(method, path, body string, header ...string) (int, string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, g.at(path),
		strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if _, set := req.Header["Authorization"]; !set && path != "/api/health" &&
		(strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/admin/")) {
		req.Header.Set("Authorization", "Bearer "+g.key(adminTokenName))
	}
	resp, err := notFollowing.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	if resp.Header.Get("Content-Type") == "text/event-stream" {
		return resp.StatusCode, "" // the stream does not end
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// send posts a body to the default source with the bearer key.
func (g *gate) send(body string) (int, string) {
	g.t.Helper()
	return g.request(http.MethodPost, "/webhooks", body, "Authorization", "Bearer "+
		g.key(bearerKeyName))
}

type health struct {
	Status string
	Mode   string
	Queue  struct {
		Depth   *int64 // nil if the queue does not answer
		Spooled int64
		Error   string
		// Degraded is set while Depth does not include the records in Redis.
		Degraded string
	}
	Store struct {
		Events int64
		Error  string
	}
}

func (g *gate) health() (h health) {
	g.t.Helper()
	status, body := g.request(http.MethodGet, "/api/health", "")
	if status != http.StatusOK {
		return h
	}
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		g.t.Fatalf("health is %q: %v", body, err)
	}
	return h
}

// awaitDrained waits until the store has every acknowledged event.
func (g *gate) awaitDrained() {
	g.t.Helper()
	g.await("the queue drains", func() bool {
		q := g.health().Queue
		return q.Depth != nil && *q.Depth == 0 && q.Error == "" && q.Degraded == ""
	})
}

// runBinary runs hookgate with the arguments and returns its exit code and output.
func runBinary(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Dir = t.TempDir()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}
