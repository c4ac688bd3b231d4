package e2e

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestFirstStart checks that the first start makes keys that only their owner can read. The curl
// line and the trace line that it prints work as pasted.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	for _, name := range []string{bearerKeyName, hmacSecretName, adminTokenName} {
		path := dataDir(g.dir).keyFile(name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, want 600", path, info.Mode().Perm())
		}
		if !strings.Contains(g.out.String(), path) {
			t.Errorf("the start does not tell of %s:\n%s", path, g.out)
		}
		if key := g.key(name); strings.Contains(g.out.String()+g.logs.String(), key) {
			t.Errorf("%s stands in the output or in the log", name)
		}
	}
	g.await("the start prints what to do", func() bool {
		return strings.Contains(g.out.String(),
			"hookgate trace")
	})
	commands := regexp.MustCompile(`(?m)^  ((?:curl|hookgate) (?:.*\\\n)*.*)$`).
		FindAllStringSubmatch(g.out.String(), -1)
	if len(commands) != 2 {
		t.Fatalf("the start prints %d commands to paste, want 2:\n%s", len(commands), g.out)
	}
	if out := paste(t, commands[0][1]); !strings.Contains(out, "202 Accepted") ||
		!strings.Contains(out, `"status":"accepted"`) {
		t.Errorf("the curl line prints\n%s", out)
	}
	g.awaitDrained()
	if out := paste(t, commands[1][1]); !strings.Contains(out, "persisted") {
		t.Errorf("the trace line prints\n%s", out)
	}
	g.stop()
	again := startGate(t, startOptions{dir: g.dir})
	if strings.Contains(again.out.String(), "Made ") {
		t.Errorf("the second start makes keys again:\n%s", again.out)
	}
}

// TestFilesAreTheOwners checks that only the user of the gate can read its files, in a folder that
// others can enter.
func TestFilesAreTheOwners(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	g := startGate(t, startOptions{dir: dir})
	files := 0
	err := filepath.WalkDir(g.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == g.dir {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		files++
		return err
	})
	if err != nil || files < 5 {
		t.Errorf("%d files, %v", files, err)
	}
}

// paste runs a command line in a shell with hookgate on the PATH.
func paste(t *testing.T, line string) string {
	t.Helper()
	cmd := exec.Command("bash", "-c", line)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v", line, err)
	}
	return string(out)
}

// TestOneProcess checks that a second gate in the same data directory is refused with the pid of
// the first, and that the lock ends with its holder, even after SIGKILL.
func TestOneProcess(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	code, _, errs := runBinary(t, nil, "serve", "--data-dir", g.dir, "--listen", "127.0.0.1:0")
	if code != exitNoResult || !strings.Contains(errs, fmt.Sprintf("pid %d ", g.cmd.Process.Pid)) ||
		!strings.Contains(errs, g.dir) {
		t.Errorf("a second gate ended with %d: %s", code, errs)
	}
	g.kill()
	startGate(t, startOptions{dir: g.dir}).stop()
}

// TestHangup checks that SIGHUP, which asks some programs to reload their settings, does not end
// the gate, and that the log says so.
func TestHangup(t *testing.T) {
	g := startGate(t, startOptions{})
	for n := range 2 {
		must(t, g.cmd.Process.Signal(syscall.SIGHUP))
		g.await("the log tells of SIGHUP", func() bool {
			return strings.Count(g.logs.String(),
				"SIGHUP changes nothing") > n
		})
	}
	if status, _ := g.request(http.MethodGet, "/livez", ""); status != 200 {
		t.Errorf("after SIGHUP /livez answers %d", status)
	}
	g.stop()
}

// slowRequest begins a webhook and leaves its body unfinished. finish sends the rest and returns
// the status line of the answer.
func slowRequest(t *testing.T, g *gate) (finish func() string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	const begin, rest = `{"messageId":"slow",`, `"eventType":"t"}`
	fmt.Fprintf(conn, "POST /webhooks HTTP/1.1\r\nHost: x\r\nAuthorization:"+
		" Bearer %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		g.key(bearerKeyName), len(begin)+len(rest))
	// The gate asks for the body when it processes the request.
	asked := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	if _, err := io.ReadFull(conn, asked); err != nil {
		t.Fatalf("the gate does not ask for the body: %v", err)
	}
	fmt.Fprint(conn, begin)
	return func() string {
		fmt.Fprint(conn, rest)
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		status, _, _ := strings.Cut(string(answer), "\r\n")
		return status
	}
}

// TestShutdown checks that after SIGTERM the request in flight finishes, no new one is accepted,
// and the exit code is 0. The last acknowledged event is there after the next start.
func TestShutdown(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	finish := slowRequest(t, g)
	g.signal(syscall.SIGTERM)
	g.await("the gate takes no more connections", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if status := finish(); status != "HTTP/1.1 202 Accepted" {
		t.Errorf("the request in flight is answered %q", status)
	}
	g.awaitEnd()
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the gate ends with %d\n%s", code, g.logs)
	}
	g = startGate(t, startOptions{dir: g.dir})
	g.awaitDrained()
	if status, body := g.request(http.MethodGet, "/api/events?messageId=slow", ""); status != 200 ||
		!strings.Contains(body, `"messageId":"slow"`) {
		t.Errorf("the event is answered %d %s", status, body)
	}
}

// TestSecondSignal checks that a second signal ends the gate at once while a request delays its
// end.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	slowRequest(t, g)
	g.signal(syscall.SIGINT)
	g.await("the gate shuts down", func() bool {
		return strings.Contains(g.logs.String(),
			"shutting down")
	})
	g.signal(syscall.SIGINT)
	g.awaitEnd()
	if code := g.cmd.ProcessState.ExitCode(); code == 0 {
		t.Error("cut off by a second signal the gate ends with 0")
	}
}

// TestMaintenance checks that in read_only webhooks get 503 with Retry-After, also after a restart,
// until the mode is normal again.
func TestMaintenance(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{})
	maintain := func(args ...string) string {
		code, out, errs := runBinary(t, nil, append([]string{"maintenance", "--target", g.url,
			"--data-dir", g.dir}, args...)...)
		if code != 0 {
			t.Fatalf("maintenance %v: %d %s", args, code, errs)
		}
		return strings.TrimSpace(out)
	}
	if mode := maintain("read_only"); mode != "read_only" {
		t.Errorf("the mode is %q", mode)
	}
	for range 2 {
		if status, body := g.send(`{"messageId":"a","eventType":"t"}`); status != http.StatusServiceUnavailable {
			t.Errorf("in read_only a webhook is answered %d %s", status, body)
		}
		if mode := maintain(); mode != "read_only" {
			t.Errorf("the mode is %q", mode)
		}
		g.stop()
		g = startGate(t, startOptions{dir: g.dir})
	}
	maintain("normal")
	if status, body := g.send(`{"messageId":"a","eventType":"t"}`); status != http.StatusAccepted {
		t.Errorf("in normal mode a webhook is answered %d %s", status, body)
	}
}

// TestSameIDElsewhere checks that one message id with two types and two sources makes three events.
func TestSameIDElsewhere(t *testing.T) {
	t.Parallel()
	g := startGate(t, startOptions{args: []string{"--config", writeConfig(t, `
sources:
  partner:
    kind: envelope
    bearer_keys: [partner-key-1, partner-key-2]
`)}})
	for _, body := range []string{`{"messageId":"a","eventType":"t"}`,
		`{"messageId":"a","eventType":"u"}`, `{"messageId":"a","eventType":"t"}`} {
		if status, answer := g.send(body); status != http.StatusAccepted {
			t.Fatalf("%s is answered %d %s", body, status, answer)
		}
	}
	for _, key := range []string{"partner-key-1", "partner-key-2"} {
		status, answer := g.request(http.MethodPost, "/webhooks/partner",
			`{"messageId":"a","eventType":"t"}`, "Authorization", "Bearer "+key)
		if status != http.StatusAccepted {
			t.Fatalf("with %s: %d %s", key, status, answer)
		}
	}
	g.awaitDrained()
	_, body := g.request(http.MethodGet, "/api/events?messageId=a", "", "Accept",
		"application/x-ndjson")
	if n := strings.Count(body, "\n"); n != 3 {
		t.Errorf("%d events are stored, want 3:\n%s", n, body)
	}
	// The key of one source does not authenticate for another.
	if status, _ := g.request(http.MethodPost, "/webhooks/partner", `{}`, "Authorization", "Bearer "+
		g.key(bearerKeyName)); status != http.StatusUnauthorized {
		t.Errorf("the default source's key is answered %d by another source", status)
	}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hookgate.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
