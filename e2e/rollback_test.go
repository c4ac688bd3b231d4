package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookgate/hookgate/internal/modeltest"
	"github.com/hookgate/hookgate/release/rollback"
)

// supervisor runs a gate whose program is a symbolic link, and restarts it whenever it ends, as
// systemd would.
type supervisor struct {
	*gate
	home string
}

// oldVersion is the version to which a supervisor can go back. newName is the name of the program
// under test.
const oldVersion, newName = "v1-test", "new"

// supervise starts the program under test, beside an old version.
func supervise(t *testing.T, env ...string) *supervisor {
	t.Helper()
	home := t.TempDir()
	addOld(t, home)
	return superviseIn(t, home, env...)
}

// addOld puts an old version of the program into a folder.
func addOld(t *testing.T, home string) (program string) {
	t.Helper()
	built, err := builtImage()
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(home, oldVersion)
	if err := os.Symlink(built, program); err != nil {
		t.Fatal(err)
	}
	return program
}

// superviseIn starts the program under test in a folder that has the old version.
func superviseIn(t *testing.T, home string, env ...string) *supervisor {
	t.Helper()
	if err := errors.Join(os.Symlink(binary, filepath.Join(home, newName)),
		os.Symlink(newName, filepath.Join(home, "current"))); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	admin := ""
	if slices.ContainsFunc(env, func(v string) bool {
		return strings.HasPrefix(v,
			"HOOKGATE_CANARY_UPSTREAM=")
	}) {
		second, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		second.Close()
		admin = "http://" + second.Addr().String()
		env = append(env, "HOOKGATE_ADMIN_LISTEN="+second.Addr().String())
	}
	s := &supervisor{home: home, gate: &gate{t: t, url: "http://" + address, admin: admin,
		dir: filepath.Join(home, "data"), env: env,
		out: &output{}, logs: &output{}, ended: make(chan struct{})}}
	s.script("supervise", `while :; do ./current serve --listen `+address+
		` --data-dir data & echo $! >pid; wait $!; done`)
	s.script("replace", `echo "$HOOKGATE_ROLLBACK_ID" >>runs
touch held
while [ -e hold ]; do sleep 0.02; done
program=`+newName+`
[ "$HOOKGATE_ROLLBACK_EXPECTED_VERSION" = `+oldVersion+` ] && program=`+oldVersion+`
ln -s "$program" next && mv -T next current
kill "$(cat pid)"
echo "$HOOKGATE_ROLLBACK_EXPECTED_VERSION is in place"`)
	s.cmd = exec.Command(filepath.Join(home, "supervise"))
	s.cmd.Dir = home
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.logs
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(s.kill)
	s.await("the gate answers", func() bool {
		return s.exists("data/keys/"+adminTokenName) &&
			s.health().Status == "ok"
	})
	return s
}

func (s *supervisor) path(name string) string { return filepath.Join(s.home, name) }

func (s *supervisor) script(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte("#!/bin/sh\ncd '"+s.home+"'\n"+text+"\n"),
		0o700); err != nil {
		s.t.Fatal(err)
	}
}

func (s *supervisor) exists(name string) bool {
	_, err := os.Stat(s.path(name))
	return err == nil
}

// version returns the version of the running gate, or nothing if it does not answer.
func (s *supervisor) version() string {
	var h struct{ Version string }
	if status, body := s.request(http.MethodGet, "/api/health", ""); status == http.StatusOK {
		json.Unmarshal([]byte(body), &h)
	}
	return h.Version
}

// barrier is a proxy in front of a gate. It can hold one call before it reaches the gate, or before
// the answer leaves.
type barrier struct {
	url string

	mu     sync.Mutex // guards the fields below
	skip   int        // matching calls to let through first
	method string
	match  string // in path and body of the call to hold; empty: none
	after  bool
	caught chan struct{}
}

func newBarrier(t *testing.T, to string) *barrier {
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	b := &barrier{}
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) {
		panic(http.ErrAbortHandler) // a gate that is down does not answer
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		held, after := b.take(r.Method, r.URL.Path+" "+string(body))
		if held != nil && after {
			forward.ServeHTTP(httptest.NewRecorder(), r)
		}
		if held != nil {
			close(held)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// hold arms the barrier for the next call with this method whose path and body contain match.
func (b *barrier) hold(method, match string, after bool) (caught <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.method, b.match, b.after, b.caught = method, match, after, make(chan struct{})
	if b.skip = 0; method == http.MethodGet {
		b.skip = 1 // hookgate rollback asks for the version before it begins
	}
	return b.caught
}

func (b *barrier) take(method, call string) (held chan struct{}, after bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.match == "" || method != b.method || !strings.Contains(call, b.match) {
		return nil, false
	}
	if b.skip--; b.skip >= 0 {
		return nil, false
	}
	b.match = ""
	return b.caught, b.after
}

// TestRollbackKilled rolls a gate back and forth between two builds under load. Each time hookgate
// rollback is killed with SIGKILL in another step: before a call of the step reaches the gate,
// after its effect, while the command runs, or after the command has ended unnoticed. Each time
// --resume completes the roll-back: the command has run once, and the expected version takes
// webhooks. Afterwards everything acknowledged is stored, once, and the audit passes.
func TestRollbackKilled(t *testing.T) {
	t.Parallel()
	s := supervise(t, "HOOKGATE_HTTP_RETRY_AFTER=1s")
	b := newBarrier(t, s.url)
	newVersion := s.version()
	stream := startStream(t, s.gate, 100)
	// Each is armed before the roll-back begins. The function that it returns waits for the time of
	// the kill.
	held := func(method, match string, after bool) func() func() {
		return func() func() {
			caught := b.hold(method, match, after)
			return func() {
				select {
				case <-caught:
				case <-time.After(waitFor):
					t.Fatalf("%s %s does not come", method, match)
				}
			}
		}
	}
	running := func() func() {
		return func() { s.await("the command runs", func() bool { return s.exists("held") }) }
	}
	type kill struct {
		name string
		arm  func() (until func())
		mode string // of the gate at the time of the kill
	}
	kills := []kill{
		{"announce, after", held("POST", "/admin/rollback {", true), "normal"},
		{"read_only, after", held("POST", `"read_only"`, true), "read_only"},
		{"command", running, "read_only"},
		{"command, over unseen", running, "read_only"},
		{"normal, before", held("POST", `"normal"`, false), "read_only"},
	}
	if modeltest.Soak() { // TestEveryCut of package release/rollback has all of them
		kills = append(kills,
			kill{"announce, before", held("POST", "/admin/rollback {", false), "normal"},
			kill{"read_only, before", held("POST", `"read_only"`, false), "normal"},
			kill{"drain", held("GET", "/api/health", false), "read_only"},
			kill{"normal, after", held("POST", `"normal"`, true), "normal"},
			kill{"record, before", held("POST", `"result"`, false), "normal"},
			kill{"record, after", held("POST", `"result"`, true), "normal"})
	}
	for n, kill := range kills {
		from, to := newVersion, oldVersion
		if n%2 == 1 {
			from, to = to, from
		}
		if v := s.version(); v != from {
			t.Fatalf("%s: the gate has version %s, want %s", kill.name, v, from)
		}
		os.Remove(s.path("held"))
		inCommand := strings.HasPrefix(kill.name, "command")
		if inCommand {
			os.WriteFile(s.path("hold"), nil, 0o600)
		}
		walk := exec.Command(binary, "rollback", "--target", b.url, "--data-dir", s.dir, "--yes",
			"--expect", to, "--reason", "test", "--", s.path("replace"))
		printed := &output{}
		walk.Stdout, walk.Stderr = printed, printed
		until := kill.arm()
		if err := walk.Start(); err != nil {
			t.Fatal(err)
		}
		until()
		walk.Process.Kill()
		walk.Wait()
		if m := s.health().Mode; m != kill.mode {
			t.Errorf("%s: when it is killed the mode is %q, want %q\n%s", kill.name, m, kill.mode, printed)
		}
		if code, _, errs := runBinary(t, nil, "rollback", "--target", b.url, "--data-dir", s.dir, "--yes",
			"--expect", to, "--", s.path("replace")); code != exitNoResult || !strings.Contains(errs,
			"has not ended") && !strings.Contains(errs, "already") {
			t.Errorf("%s: another one begins: %d %s", kill.name, code, errs)
		}
		if inCommand {
			os.Remove(s.path("hold"))
		}
		if kill.name == "command, over unseen" {
			s.await("the command has done its work", func() bool { return s.version() == to })
		}
		code, out, errs := runBinary(t, nil, "rollback", "--target", b.url, "--data-dir", s.dir,
			"--resume", "--json")
		var r rollback.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || r.State != "done" ||
			!r.WithinGoal || len(r.Steps) != len(rollback.Steps) {
			t.Fatalf("%s: resumed: exit code %d, %v\n%s%s\nlog:\n%s", kill.name, code, err, out, errs,
				tail(s.logs.String()))
		}
		if v, m := s.version(), s.health().Mode; v != to || m != "normal" {
			t.Fatalf("%s: the version is %s, the mode %s", kill.name, v, m)
		}
		runs, err := os.ReadFile(s.path("runs"))
		if count := strings.Count(string(runs), r.ID); err != nil || count != 1 {
			t.Errorf("%s: the command ran %d times: %v", kill.name, count, err)
		}
		t.Logf("%-20s killed, resumed, done: %v", kill.name, r.TotalMS)
	}
	stream.end()
	s.awaitDrained()
	auditStore(t, s.gate, stream.input, stream.ledger)
	var begun, done, modes int
	for _, a := range s.trail() {
		switch {
		case a.Action == "rollback" && a.Result == "begun":
			begun++
		case a.Action == "rollback_end" && strings.HasPrefix(a.Result, "done: version "):
			done++
		case a.Action == "maintenance" && strings.HasPrefix(a.Reason, "rollback ") && a.Result == "done":
			modes++
		}
	}
	if begun < len(kills) || done < len(kills) || modes < 2*len(kills) {
		t.Errorf("the admin trail has %d beginnings, %d ends and %d modes of %d roll-backs", begun, done,
			modes, len(kills))
	}
}

// TestRollbackStops checks that a roll-back that cannot continue says where and what to do, that
// its exit code shows it, and that the gate stays in read_only.
func TestRollbackStops(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	config := writeConfig(t, "rollback: {command: [/bin/sh, -c, 'echo cannot find v1; exit 4'],"+
		" expected_version: v1}")
	args := []string{"rollback", "--target", g.url, "--data-dir", g.dir, "--config", config}
	if code, _, errs := runBinary(t, nil, args...); code != exitNoResult ||
		!strings.Contains(errs, "--yes") {
		t.Errorf("without a terminal: %d %s", code, errs)
	}
	code, out, errs := runBinary(t, nil, append(args, "--yes")...)
	for _, want := range []string{"command    failed", "exit code 4",
		"what to do: Check what the command did", "--rerun-command", "read_only"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report does not have %q:\n%s", want, out)
		}
	}
	if code != exitFail || !strings.Contains(errs, "stopped at command") ||
		g.health().Mode != "read_only" {
		t.Errorf("exit code %d, mode %s: %s", code, g.health().Mode, errs)
	}
	code, out, _ = runBinary(t, nil, "rollback", "--target", g.url, "--data-dir", g.dir, "--abandon")
	if code != 0 || !strings.Contains(out, "abandoned after") || g.health().Mode != "read_only" {
		t.Errorf("exit code %d: %s", code, out)
	}
	ended := ""
	for _, a := range g.trail() {
		if a.Action == "rollback_end" && a.Result != "begun" {
			ended += a.Result + "\n"
		}
	}
	if !strings.HasPrefix(ended, "failed: stopped at command: it ended with exit code 4;"+
		" it printed cannot find v1\nfailed: abandoned") {
		t.Errorf("the trail says %q", ended)
	}
	g.kill()
	if code, _, errs := runBinary(t, nil, append(args, "--yes")...); code != exitNoResult ||
		!strings.Contains(errs, "--gate-down") {
		t.Errorf("with the gate down: %d %s", code, errs)
	}
	for _, bad := range [][]string{{"--rerun-command"}, {"--resume", "--expect", "v1"},
		{"--resume", "--abandon"}} {
		if code, _, errs := runBinary(t, nil, append(args, bad...)...); code != exitNoResult ||
			errs == "" {
			t.Errorf("%v: %d %s", bad, code, errs)
		}
	}
}

// TestRollbackWantsApproval has a gate that demands an approval before it records the beginning.
// The roll-back stops and changes nothing. --resume --approval continues it, with the reason that
// was given first. A script plays the gate.
func TestRollbackWantsApproval(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var calls, ids, reasons []string
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var body struct{ ID string }
		json.NewDecoder(r.Body).Decode(&body)
		version := newName
		if len(calls) > 2 {
			version = oldVersion
		}
		switch {
		case r.URL.Path == "/api/health":
			io.WriteString(w, `{"version":"`+version+`","queue":{"depth":0}}`)
			return
		case r.URL.Path == "/admin/rollback" && r.Header.Get("X-Approval") == "":
			w.WriteHeader(http.StatusAccepted)
			io.WriteString(w, `{"status":"approval_required","approval":{"id":"17","state":"pending"}}`)
		default:
			io.WriteString(w, `{}`)
		}
		calls = append(calls, r.URL.Path+" "+r.Header.Get("X-Approval"))
		reasons = append(reasons, r.Header.Get("X-Reason"))
		if body.ID != "" {
			ids = append(ids, body.ID)
		}
	}))
	defer gate.Close()
	env := []string{"HOOKGATE_TOKEN=a-token"}
	args := []string{"rollback", "--target", gate.URL, "--data-dir", t.TempDir()}
	code, out, errs := runBinary(t, env, append(args, "--yes", "--expect", oldVersion, "--reason",
		"it is slow", "--", "true")...)
	if code != exitFail || !strings.Contains(out, "hookgate approvals approve 17") ||
		!strings.Contains(out, "--resume --approval 17") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	code, out, errs = runBinary(t, env, append(args, "--resume", "--approval", "17")...)
	mu.Lock()
	defer mu.Unlock()
	if code != 0 || len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("with the approval of %v: %d %s%s", ids, code, out, errs)
	}
	for n, reason := range reasons {
		if !strings.HasSuffix(reason, "it is slow") {
			t.Errorf("the reason of the call %s is %q", calls[n], reason)
		}
	}
	if len(calls) < 4 || calls[0] != "/admin/rollback " || calls[1] != "/admin/rollback/"+ids[0]+" " ||
		calls[2] != "/admin/rollback 17" || calls[3] != "/admin/maintenance " {
		t.Errorf("the gate was called %q", calls)
	}
}
