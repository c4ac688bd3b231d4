package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a process that takes webhooks.
type server struct {
	cmd  *exec.Cmd
	url  string
	bare bool
}

var listensOn = regexp.MustCompile(`listens on (\S+)`)

// start starts a server with more environment and waits until it says where it listens.
func start(ctx context.Context, command, env []string) (*server, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(append(os.Environ(), "WEBHOOK_HMAC_SECRET="+secret), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := listensOn.FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, out)
			return &server{cmd, "http://" + m[1], command[1] == "bare"}, nil
		}
	}
	return nil, fmt.Errorf("%s ended before it listened: %w", command[0], cmd.Wait())
}

func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.cmd.Wait()
}

// drained waits until everything accepted is stored. The bare server stores nothing.
func (s *server) drained(ctx context.Context) error {
	if s.bare {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errNotDrained)
	defer cancel()
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/api/health", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		var health struct{ Queue struct{ Depth *int64 } }
		err = json.NewDecoder(resp.Body).Decode(&health)
		resp.Body.Close()
		if err != nil {
			return err
		}
		if d := health.Queue.Depth; d != nil && *d == 0 {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return context.Cause(ctx)
}

// memory reads a line of the process's status, in MiB.
func (s *server) memory(name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseFloat(kib, 64)
	return n / 1024, err
}
