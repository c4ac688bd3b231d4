// Package redistest runs real Redis servers for tests: alone, as a cluster and under a sentinel.
// They listen on free ports of the loopback address, keep their files in the temporary folder of
// the test and end with the test.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/hookgate/hookgate/internal/certtest"
)

// startTimeout bounds the wait for a server to answer. It only ends tests that fail.
const startTimeout = 3 * time.Minute

// Options of a server. Zero fields take the defaults of redis-server, except that it writes nothing
// to disk.
type Options struct {
	// AppendFsync, if not empty, turns the append-only file on: "always", "everysec" or "no".
	AppendFsync string
	// MaxMemory and MaxMemoryPolicy are the settings with these names, such as "100mb" and
	// "allkeys-lru".
	MaxMemory       string
	MaxMemoryPolicy string
	// TLS opens a second port with TLS and a certificate of a CA of its own; see TLSURL.
	TLS bool
	// Extra are further lines of the configuration file.
	Extra []string
}

// Server is a redis-server process. Its methods are for the goroutine of the test.
type Server struct {
	t     testing.TB
	dir   string
	port  int
	tls   tls
	extra []string // arguments after the configuration file
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has been waited for
}

// tls is the second port of a server, if it has one.
type tls struct {
	port  int
	files certtest.Files
}

// Start starts a server and waits until it answers.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	lines := []string{`save ""`, "rdbcompression no"}
	if o.AppendFsync != "" {
		lines = append(lines, "appendonly yes", "appendfsync "+o.AppendFsync)
	}
	if o.MaxMemory != "" {
		lines = append(lines, "maxmemory "+o.MaxMemory)
	}
	if o.MaxMemoryPolicy != "" {
		lines = append(lines, "maxmemory-policy "+o.MaxMemoryPolicy)
	}
	lines = append(lines, o.Extra...)
	if !o.TLS {
		return start(t, freePort(t), lines)
	}
	files, err := certtest.Make(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	second := tls{freePort(t), files}
	s := start(t, freePort(t), append(lines, "tls-port "+strconv.Itoa(second.port),
		"tls-auth-clients no",
		"tls-ca-cert-file "+files.CA, "tls-cert-file "+files.Cert, "tls-key-file "+files.Key))
	s.tls = second
	return s
}

// start runs redis-server with a configuration file of the given lines.
func start(t testing.TB, port int, lines []string, extra ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), port: port, extra: extra}
	lines = append([]string{
		"bind 127.0.0.1", "port " + strconv.Itoa(port), "dir " + s.dir, "daemonize no",
		"logfile " + filepath.Join(s.dir, "log"),
	}, lines...)
	if err := os.WriteFile(s.config(), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	s.run()
	return s
}

func (s *Server) config() string { return filepath.Join(s.dir, "redis.conf") }

func (s *Server) run() {
	s.t.Helper()
	s.exec()
	s.Await("PONG", "PING")
}

// exec starts the process.
func (s *Server) exec(more ...string) {
	s.t.Helper()
	cmd := exec.Command("redis-server", slices.Concat([]string{s.config()}, s.extra, more)...)
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("start redis-server: %v (make tools installs it)", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the test ends it on purpose
		close(ended)
	}()
	s.cmd, s.ended = cmd, ended
}

// Addr returns the server's host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns the server's address as a redis:// URL.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// TLSURL returns the rediss:// URL of the port with TLS, and the file of the CA to trust.
func (s *Server) TLSURL(userinfo string) (url, ca string) {
	return "rediss://" + userinfo + "@" + net.JoinHostPort("127.0.0.1", strconv.Itoa(s.tls.port)),
		s.tls.files.CA
}

// Kill ends the process with SIGKILL, like a crash. It does nothing if there is no process.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop shuts the process down.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

func (s *Server) end(signal syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(signal) // the process may have ended by itself
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-s.ended:
	case <-time.After(startTimeout):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	s.cmd = nil
}

// Restart starts the process again after Kill or Stop, with the same port, settings and files.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.run()
}

// RestartLoading starts the process again, like Restart. It returns while the server loads its
// append-only file and answers LOADING, which lasts until EndLoading. The server must have such a
// file.
func (s *Server) RestartLoading() {
	s.t.Helper()
	// The server pauses at each of these keys, and answers commands in between.
	s.MustDo("EVAL", "for i = 1, 500 do redis.call('SET', 'filler:' .. i, string.rep('x',"+
		" 2000)) end return 1", "0")
	s.MustDo("BGREWRITEAOF")
	s.Await("aof_rewrites:1", "INFO", "persistence")
	s.Await("aof_rewrite_in_progress:0", "INFO", "persistence")
	s.Kill()
	s.exec("--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024")
	s.Await("LOADING", "PING")
}

// EndLoading lets a server load without pauses, and waits until it has loaded.
func (s *Server) EndLoading() {
	s.t.Helper()
	s.MustDo("CONFIG", "SET", "key-load-delay", "0")
	s.Await("PONG", "PING")
}

// Hang stops the process with SIGSTOP: it keeps its connections and answers nothing.
func (s *Server) Hang() { s.signal(syscall.SIGSTOP) }

// Resume ends Hang.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Fatalf("signal redis-server: %v", err)
	}
}

func (s *Server) client() (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{s.Addr()}, ForceSingleClient: true, DisableCache: true, DisableRetry: true,
		PipelineMultiplex: -1, ReadBufferEachConn: 1 << 12, WriteBufferEachConn: 1 << 12,
		Dialer: net.Dialer{Timeout: time.Second},
	})
}

// Do runs one command over a connection of its own and returns its answer as text.
func (s *Server) Do(args ...string) (string, error) {
	client, err := s.client()
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	answer, err := client.Do(ctx, client.B().Arbitrary(args...).Build()).ToMessage()
	if err != nil {
		return "", err
	}
	if n, err := answer.ToInt64(); err == nil {
		return strconv.FormatInt(n, 10), nil
	}
	if text, err := answer.ToString(); err == nil {
		return text, nil
	}
	return answer.String(), nil
}

// MustDo is Do for commands that must succeed.
func (s *Server) MustDo(args ...string) string {
	s.t.Helper()
	answer, err := s.Do(args...)
	if err != nil {
		s.t.Fatalf("redis %s: %v", strings.Join(args, " "), err)
	}
	return answer
}

// Await repeats a command until its answer, or the error in the answer, contains want.
func (s *Server) Await(want string, args ...string) {
	s.t.Helper()
	for end := time.Now().Add(startTimeout); ; time.Sleep(5 * time.Millisecond) {
		answer, err := s.Do(args...)
		if err == nil && strings.Contains(answer, want) || err != nil &&
			strings.Contains(err.Error(), want) {
			return
		}
		select {
		case <-s.ended:
			err = errors.New("the process has ended")
		default:
			if time.Now().Before(end) {
				continue
			}
		}
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		s.t.Fatalf("redis at %s: %s answers %q and %v, want %q; its log:\n%s",
			s.Addr(), strings.Join(args, " "), answer, err, want, log)
	}
}

// freePort returns a free port whose cluster bus port, 10,000 higher, is free too.
func freePort(t testing.TB) int {
	t.Helper()
	for range 200 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port > 65535-10000 {
			port -= 15000
		}
		if free(port) && free(port+10000) {
			return port
		}
	}
	t.Fatal("no free port for redis-server")
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
